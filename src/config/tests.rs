//! Configurations in, settings or the exact words of their mistakes out.

use super::*;

/// A process that may run on four cores.
fn allowed() -> CoreList {
    "0-3".parse().unwrap()
}

fn resolve(text: &str, overrides: &Overrides) -> Result<Config, Mistakes> {
    Config::resolve(Some(File { name: "p.toml", bytes: text.as_bytes() }), overrides, &allowed())
}

fn file(text: &str) -> Result<Config, Mistakes> {
    resolve(text, &Overrides::default())
}

/// The settings of a file that is right.
pub(super) fn settings(text: &str) -> Config {
    file(text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// The words for a file that is wrong.
#[track_caller]
pub(super) fn refused(text: &str, words: &str) {
    assert_eq!(file(text).expect_err("has mistakes").to_string(), words);
}

/// Lines that set something.
fn bare(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn default_toml_holds_every_key_with_its_default() {
    assert_eq!(settings(DEFAULT_TOML), Config::default());
    assert_eq!(bare(DEFAULT_TOML), bare(&Config::default().to_string()));
}

#[test]
fn every_key_of_default_toml_has_a_sentence_above_it() {
    let lines: Vec<&str> = DEFAULT_TOML.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[1].contains(" = ") && !pair[1].starts_with('#')) {
        assert!(pair[0].starts_with("# "), "{}", pair[1]);
    }
}

#[test]
fn whom_the_process_becomes_is_shown_where_it_is_set() {
    let text = "[process]\nuser = \"pantala\"\ngroup = \"4711\"\n";
    let config = settings(text);
    assert_eq!(config.process.user.as_deref(), Some("pantala"));
    assert!(config.to_string().ends_with(text), "{config}");
    assert!(!Config::default().to_string().contains("[process]"));
}

#[test]
fn settings_are_shown_as_the_file_that_sets_them() {
    // Every key away from its default, each number its own: a key that went to a wrong field would show.
    let text = r#"
[[listener]]
url = "tcp://[::]:1"
anonymous = true
connections_max = 41
versions = ["5.0"]
backlog = 42
allow = []
deny = []
proxy_protocol_from = []
no_delay = false
tcp_keep_alive_s = 43
tcp_user_timeout_ms = 44

[cores]
list = "0,2,3"
shards = 7

[store]
enabled = false
path = "/srv/\"p\""
durability = "os"
bytes_max = 31
reserve_bytes = 20_000_032
segment_bytes = 2_000_033
checkpoint_bytes = 2_000_034

[session]
expiry_max_s = "never"
expiry_default_s = 26
keep_alive_max_s = 11
subscriptions_max = 12
inflight_max = 13
receive_max = 14
queue_messages_max = 15
queue_bytes_max = 16
overflow = "drop_oldest"
queue_memory_bytes = 2_027
queue_qos0 = true
queued_message_expiry_default_s = 28

[limits]
packet_bytes_max = 2_000
connect_bytes_max = 1_999
connect_timeout_ms = 17
connections_max = 23
connections_per_address_max = 61
connections_per_user_max = 62
attempts_per_s = 63
attempts_burst = 64
penalty_s = 65
publishes_per_s = 66
publish_bytes_per_s = 67
publish_exceeded = "disconnect"
topic_bytes_max = 68
topic_levels_max = 18
output_bytes_max = 19_000
sessions_max = 20
retained_messages_max = 21
retained_bytes_max = 22

[mqtt]
topic_alias_max = 24
topic_alias_out_max = 25
qos_max = 1
retain = false
wildcard_subscriptions = false
subscription_ids = false
shared_subscriptions = false
share_balance = "sticky"
response_information = "answers/"
server_reference = "other:1883"

[[user]]
name = "a"
scram_sha_256 = "SCRAM-SHA-256$4096:c2FsdA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

[[auth]]
password_file = "users \"1\""

[[auth]]
password_file = "more"

[[auth]]
jwks_file = "keys.json"
issuer = "us"
audience = "them"

[[auth]]
http_url = "http://h:1/auth"
timeout_ms = 54
connections_max = 55
remembered_s = 56

[acl]
file = "rules"

[logins]
threads = 51
waiting_max = 52
remembered_s = 53

[sys]
interval_s = 0

[log]
level = "debug"
format = "json"
"#;
    assert_eq!(settings(text).to_string().trim(), text.trim());
    let limits = settings(text).limits;
    assert_eq!((limits.session_expiry_max, limits.keep_alive_max_s, limits.inflight_max), (None, 11, 13));
    assert_eq!((limits.retained_messages_max, limits.retained_bytes_max, limits.sessions_max), (21, 22, 20));
}

#[test]
fn a_text_that_mqtt_cannot_carry_and_a_half_redirect_are_refused() {
    refused(
        "[[listener]]\nurl = \"tcp://h:1\"\nredirect_permanent = true\n[mqtt]\nserver_reference = \"\"\nretain = 1\nresponse_information = \"a\\u0000\"\n",
        r#"p.toml:3:22: listener.redirect_permanent: given true, expected redirect beside it
p.toml:5:20: mqtt.server_reference: given "", expected another server, such as "broker.example:1883"
p.toml:6:10: mqtt.retain: given 1, expected true or false
p.toml:7:24: mqtt.response_information: given "a\u0000", expected the beginning of response topics, such as "answers/"
4 mistakes; nothing was started"#,
    );
}

#[test]
fn users_have_a_name_of_their_own_and_a_verifier() {
    let key = "A".repeat(43);
    let good = format!("scram_sha_256 = \"SCRAM-SHA-256$4096:c2FsdA==${key}=:{key}=\"\n");
    let text = format!(
        "[[user]]\nname = \"a\"\n{good}[[user]]\nname = \"a\"\n{good}[[user]]\nname = \"\"\n{good}[[user]]\nname = \"b\"\nscram_sha_256 = \"secret\"\n[[user]]\n"
    );
    refused(
        &text,
        r#"p.toml:5:8: user.name: given "a", expected each user once
p.toml:8:8: user.name: given "", expected a name without characters that SASLprep (RFC 4013) changes or forbids
p.toml:12:17: user.scram_sha_256: given "secret", expected SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>
p.toml:13:1: user.scram_sha_256: missing, expected scram_sha_256 = "SCRAM-SHA-256$..."
p.toml:13:1: user.name: missing, expected name = "..."
5 mistakes; nothing was started"#,
    );
}

#[test]
fn an_empty_file_changes_nothing() {
    assert_eq!(settings(""), Config::default());
    assert_eq!(settings("# nothing\n[limits]\n[log]\n"), Config::default());
}

#[test]
fn the_ends_of_a_range_are_in_it() {
    let limits = settings("[limits]\ntopic_levels_max = 1024\npacket_bytes_max = 268_435_460").limits;
    assert_eq!((limits.topic_levels_max, limits.packet_bytes_max), (1_024, 268_435_460));
    let limits = settings("[limits]\npacket_bytes_max = 0x100").limits;
    assert_eq!((limits.packet_bytes_max, limits.connect_bytes_max), (256, 256), "CONNECT is never larger");
}

#[test]
fn all_mistakes_are_listed_at_once_in_the_order_of_the_file() {
    refused(
        r#"colour = "green"
[[listener]]
url = "tls://0.0.0.0:8883"
backlogs = 5

[[listener]]

[cores]
list = "0-7"
shards = 0

[session]
overflow = "drop"

[limits]
packet_byte_max = 1024
topic_levels_max = 1_025
connect_timeout_ms = "10 s"
output_bytes_max = -1

[sys]
interval_s = 1.5

[logs]
level = "info"
"#,
        r#"p.toml:1:1: colour: unknown key; known here: listener, cores, store, session, limits, mqtt, user, auth, acl, logins, sys, log, process
p.toml:2:1: listener.cert: missing, expected cert = "FILE"
p.toml:2:1: listener.key: missing, expected key = "FILE"
p.toml:4:1: listener.backlogs: unknown key; did you mean backlog?
p.toml:6:1: listener.url: missing, expected url = "tcp://HOST:PORT"
p.toml:9:8: cores.list: given "0-7", expected cores that this process may run on (0-3), so not 4-7
p.toml:10:10: cores.shards: given 0, expected a whole number from 1 to 256, or "auto"
p.toml:13:12: session.overflow: given "drop", expected one of "drop_newest", "drop_oldest", "hold", "disconnect", "drop-newest", "drop-oldest"
p.toml:16:1: limits.packet_byte_max: unknown key; did you mean packet_bytes_max?
p.toml:17:20: limits.topic_levels_max: given 1_025, expected a whole number from 1 to 1_024
p.toml:18:22: limits.connect_timeout_ms: given "10 s", expected a whole number of milliseconds from 1 to 3_600_000
p.toml:19:20: limits.output_bytes_max: given -1, expected a whole number of bytes from 4_096 to 1_073_741_824
p.toml:22:14: sys.interval_s: given 1.5, expected a whole number of seconds from 0 to 86_400
p.toml:24:2: logs: unknown key; did you mean log?
14 mistakes; nothing was started"#,
    );
}

#[test]
fn wrong_shapes_are_refused() {
    refused(
        "limits = 3\nsys = []\nstore = \"disk\"\nlistener = []\n[cores]\nlist = 2\n[log]\nlevel = [\n]\nformat = {}\n",
        r#"p.toml:1:10: limits: given 3, expected a table: [limits]
p.toml:2:7: sys: given [], expected a table: [sys]
p.toml:3:9: store: given "disk", expected a table: [store]
p.toml:4:12: listener: given [], expected one table for each: [[listener]]
p.toml:6:8: cores.list: given 2, expected core numbers such as "0-3,6", or "all"; to set how many shards run, use shards
p.toml:8:9: log.level: given an array, expected one of "off", "error", "warn", "info", "debug", "trace"
p.toml:10:10: log.format: given a table, expected one of "text", "json"
7 mistakes; nothing was started"#,
    );
    refused(
        "[listener]\nurl = \"tcp://0.0.0.0:1883\"\n",
        "p.toml:1:1: listener: given a table, expected one table for each: [[listener]]\n\
         1 mistake; nothing was started",
    );
    refused(
        "listener = [\"tcp://0.0.0.0:1883\"]\n",
        "p.toml:1:13: listener: given \"tcp://0.0.0.0:1883\", expected one table for each: [[listener]]\n\
         1 mistake; nothing was started",
    );
}

#[test]
fn what_is_not_toml_is_told_once_per_line_and_the_rest_is_still_checked() {
    refused(
        "[sys\ninterval_s = 5\n[limits]\npacket_bytes_max = \npacket_bytes_max = 6\nevery = 1\n[log]\nlevel = 'loud\n",
        r#"p.toml:1:5: not TOML: unclosed table, expected `]`
p.toml:4:20: not TOML: string values must be quoted, expected literal string
p.toml:5:1: not TOML: duplicate key
p.toml:6:1: limits.every: unknown key; known here: packet_bytes_max, connect_bytes_max, connect_timeout_ms, connections_max, connections_per_address_max, connections_per_user_max, attempts_per_s, publishes_per_s, publish_bytes_per_s, attempts_burst, penalty_s, publish_exceeded, topic_bytes_max, topic_levels_max, output_bytes_max, sessions_max, retained_messages_max, retained_bytes_max
p.toml:8:14: not TOML: invalid literal string, expected `'`
5 mistakes; nothing was started"#,
    );
    refused(
        "[limits]\npacket_bytes_max = 6_\n= 3\ntopic_levels_max = 5 6\n[limits]\nx = 2\n",
        r#"p.toml:2:21: not TOML: `_` may only go between digits
p.toml:3:1: not TOML: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`
p.toml:4:20: not TOML: string values must be quoted, expected literal string
p.toml:5:2: not TOML: duplicate key
p.toml:6:1: limits.x: unknown key; known here: packet_bytes_max, connect_bytes_max, connect_timeout_ms, connections_max, connections_per_address_max, connections_per_user_max, attempts_per_s, publishes_per_s, publish_bytes_per_s, attempts_burst, penalty_s, publish_exceeded, topic_bytes_max, topic_levels_max, output_bytes_max, sessions_max, retained_messages_max, retained_bytes_max
5 mistakes; nothing was started"#,
    );
}

#[test]
fn a_key_on_a_line_that_is_not_toml_is_not_called_missing() {
    refused(
        "[[listener]]\nurl: \"tcp://0.0.0.0:1883\"\n",
        "p.toml:2:6: not TOML: key with no value, expected `=`\n1 mistake; nothing was started",
    );
}

#[test]
fn long_values_are_cut_in_messages() {
    let long = "x".repeat(100);
    refused(
        &format!("[log]\nlevel = \"{long}\"\nformat = \"\"\"a\nb\"\"\"\n"),
        &format!(
            "p.toml:2:9: log.level: given \"{}..., expected one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \
             \"trace\"\np.toml:3:10: log.format: given \"\"\"a..., expected one of \"text\", \"json\"\n\
             2 mistakes; nothing was started",
            &long[..56]
        ),
    );
}

#[test]
fn text_that_is_not_utf8_is_refused_where_it_starts() {
    let bytes = b"[log]\nlevel = \"\xff\"\n";
    let file = File { name: "p.toml", bytes };
    let mistakes = Config::resolve(Some(file), &Overrides::default(), &allowed()).unwrap_err();
    assert_eq!(
        mistakes.to_string(),
        "p.toml:2:10: not TOML: not UTF-8 text from here on\n1 mistake; nothing was started"
    );
}

#[test]
fn a_store_is_kept_unless_it_is_said_otherwise() {
    assert!(Config::default().store.is_kept());
    assert!(!settings("[store]\nenabled = false\n").store.is_kept());
    assert!(!settings("[store]\ndurability = \"none\"\n").store.is_kept());
    let text = "[store]\npath = \"/srv/p\"\ndurability = \"os\"\n";
    let Store { path, durability, .. } = settings(text).store;
    assert_eq!((path, durability), (Some(PathBuf::from("/srv/p")), Durability::Os));
    let no_store = Overrides { no_store: true, ..Overrides::default() };
    assert!(!resolve(text, &no_store).unwrap().store.is_kept());
}

#[test]
fn connect_cannot_be_allowed_more_than_any_packet() {
    refused(
        "[limits]\nconnect_bytes_max = 2000\npacket_bytes_max = 1000\n",
        "p.toml:2:21: limits.connect_bytes_max: given 2000, expected at most packet_bytes_max, 1_000\n\
         1 mistake; nothing was started",
    );
}

#[test]
fn the_reserve_holds_what_the_store_may_still_write() {
    refused(
        "[store]\nreserve_bytes = 1000\n",
        "p.toml:2:17: store.reserve_bytes: given 1000, expected reserve_bytes to be at least 268_435_456, three times segment_bytes and twice checkpoint_bytes\n1 mistake; nothing was started",
    );
    refused(
        "[store]\nsegment_bytes = 67_108_865\n",
        "p.toml:2:17: store.segment_bytes: given 67_108_865, expected reserve_bytes to be at least 268_435_459, \
         three times segment_bytes and twice checkpoint_bytes\n1 mistake; nothing was started",
    );
    let least = "reserve_bytes = 5_242_880\nsegment_bytes = 1_048_576\ncheckpoint_bytes = 1_048_576";
    settings(&format!("[store]\n{least}"));
}

#[test]
fn a_listener_stands_once_but_free_ports_as_often_as_wanted() {
    refused(
        "[[listener]]\nurl = \"tcp://h:1\"\n[[listener]]\nurl = \"tcp://H:1\"\n",
        "p.toml:4:7: listener.url: given \"tcp://H:1\", expected each listener once\n\
         1 mistake; nothing was started",
    );
    let twice = "[[listener]]\nurl = \"tcp://h:0\"\n".repeat(2);
    assert_eq!(settings(&twice).listeners.len(), 2);
}

#[test]
fn the_command_line_wins_over_the_file() {
    let text =
        "[[listener]]\nurl = \"tcp://h:1\"\n[cores]\nlist = \"0\"\nshards = 2\n[log]\nlevel = \"warn\"\n";
    let overrides = Overrides {
        anonymous: true,
        listen: vec!["tcp://[::1]:2".to_owned(), "tcp://[::1]:3".to_owned()],
        cores: Some("all".to_owned()),
        shards: Some(9),
        log_level: Some(LogLevel::Trace),
        log_format: Some(LogFormat::Json),
        data: Some(PathBuf::from("/srv/d")),
        no_store: false,
    };
    let config = resolve(text, &overrides).unwrap();
    let listeners: Vec<_> = config.listeners.iter().map(|listener| listener.url.to_string()).collect();
    assert_eq!(listeners, ["tcp://[::1]:2", "tcp://[::1]:3"]);
    assert_eq!(config.cores, Cores { list: None, shards: Some(9) });
    assert_eq!(config.log, Log { level: LogLevel::Trace, format: LogFormat::Json });
    assert_eq!((config.store.is_kept(), config.store.path), (true, Some(PathBuf::from("/srv/d"))));
    assert_eq!(resolve(text, &Overrides::default()).unwrap().log.level, LogLevel::Warn);
}

#[test]
fn mistakes_of_the_file_and_of_the_command_line_come_together() {
    let overrides = Overrides {
        listen: vec!["wss://h:1".to_owned(), "tcp://h:1".to_owned(), "tcp://h:1".to_owned()],
        cores: Some("9".to_owned()),
        ..Overrides::default()
    };
    assert_eq!(
        resolve("[sys]\ninterval = 1\n", &overrides).unwrap_err().to_string(),
        r#"p.toml:2:1: sys.interval: unknown key; did you mean interval_s?
--listen: given "wss://h:1", expected a listener without TLS; a file can say which cert and key wss://h:1 has
--listen: given "tcp://h:1", expected each listener once
--cores: given "9", expected cores that this process may run on (0-3), so not 9
4 mistakes; nothing was started"#
    );
}
