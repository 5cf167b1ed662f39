//! Listeners as files describe them.

use crate::config::tests::{refused, settings};

/// Every key away from its default, each number its own: a key that went to a wrong field would show.
#[test]
fn listeners_are_shown_as_the_file_that_sets_them() {
    let text = r#"[[listener]]
url = "tcp://[::]:1"
anonymous = false
connections_max = 41
versions = ["3.1", "5.0"]
backlog = 42
allow = ["192.0.2.0/24", "2001:db8::/32"]
deny = ["192.0.2.7"]
proxy_protocol_from = ["10.0.0.0/8"]
no_delay = false
tcp_keep_alive_s = 43
tcp_user_timeout_ms = 44
username_from_cert = "cn"

[[listener]]
url = "https://broker.example:0"
redirect = "other \"quoted\" \\ \u0001:1"
redirect_permanent = true
anonymous = true
connections_max = "unlimited"
versions = ["3.1.1"]
backlog = 4_096
allow = []
deny = []
proxy_protocol_from = []
no_delay = true
tcp_keep_alive_s = 0
tcp_user_timeout_ms = 0
paths = []
origins = ["https://*.example.org", "null"]
trusted_proxies = ["::1"]
static_dir = "public"
bundle = true
username_from_cert = "san"
min_tls = "1.3"
handshake_timeout_ms = 45
handshakes_max = 46
client_ca = "ca.pem"
require_client_cert = true
crl = "crl.pem"
[[listener.certificate]]
cert = "a.pem"
key = "a.key"
[[listener.certificate]]
cert = "b.pem"
key = "b.key"

[[listener]]
url = "unix:///run/pantala.sock"
anonymous = "auto"
connections_max = "unlimited"
versions = ["5.0"]
backlog = 47
owner = "root"
group = "7"
mode = "600"
"#;
    let shown = settings(text).to_string();
    assert_eq!(shown[..shown.find("\n[cores]").unwrap()].trim(), text.trim());
}

#[test]
fn keys_of_other_listeners_are_refused_and_say_whose_they_are() {
    refused(
        r#"[[listener]]
url = "tcp://h:1"
key = "k"
paths = ["/mqtt"]
bundle = true
mode = "600"
username_from_cert = "cn"

[[listener]]
url = "ws://h:2"
static_dir = "public"

[[listener]]
url = "unix:///s"
no_delay = true
deny = []

[[listener]]
url = "tls://h:3"
cert = "c"
crl = "r"

[[listener]]
url = "tcp://h:4"
proxy_protocol_from = ["10.0.0.0/8"]
username_from_cert = "san"
"#,
        r#"p.toml:3:7: listener.key: given "k", expected a tls://, wss:// or https:// listener for it
p.toml:4:9: listener.paths: given ["/mqtt"], expected a ws://, wss://, http:// or https:// listener for it
p.toml:5:10: listener.bundle: given true, expected a ws://, wss://, http:// or https:// listener for it
p.toml:6:8: listener.mode: given "600", expected a unix:// listener for it
p.toml:7:22: listener.username_from_cert: given "cn", expected client_ca or proxy_protocol_from beside it, which say whose certificates count
p.toml:11:14: listener.static_dir: given "public", expected an http:// or https:// listener for it
p.toml:15:12: listener.no_delay: given true, expected a listener with a port for it
p.toml:16:8: listener.deny: given [], expected a listener with a port for it
p.toml:20:8: listener.cert: given "c", expected key beside it
p.toml:21:7: listener.crl: given "r", expected client_ca beside it, which says whose certificates are accepted
p.toml:26:22: listener.username_from_cert: given "san", expected "cn", the only name that load balancers tell, or client_ca beside it
11 mistakes; nothing was started"#,
    );
}

#[test]
fn lists_say_what_they_are_made_of() {
    refused(
        r#"[[listener]]
url = "ws://h:1"
versions = ["3.0"]
allow = ["192.0.2.7/24"]
deny = "192.0.2.7"
paths = ["mqtt"]
origins = ["example.org"]
"#,
        r#"p.toml:3:12: listener.versions: given ["3.0"], expected a list out of "3.1", "3.1.1" and "5.0"
p.toml:4:9: listener.allow: given ["192.0.2.7/24"], expected in each place the first address of the network before the slash: 192.0.2.0/24
p.toml:5:8: listener.deny: given "192.0.2.7", expected a list of networks, such as ["192.0.2.0/24", "2001:db8::/32"]
p.toml:6:9: listener.paths: given ["mqtt"], expected a list of paths, such as ["/mqtt"]; [] is any
p.toml:7:11: listener.origins: given ["example.org"], expected a list of origins, such as ["https://example.org", "https://*.example.org"]; [] is any
5 mistakes; nothing was started"#,
    );
}
