//! What to do, from the command line.

use crate::clock::{Clock, nanos};
use crate::tls::{Terms, TermsError};
use clap::{Arg, ArgAction, Parser, ValueEnum};
use pantala::codec::Version;
use pantala::types::QoS;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Puts load on an MQTT broker and checks that nothing is lost, repeated or out of order.
///
/// Publisher p publishes to topic p modulo TOPICS, subscriber s subscribes to topic s modulo TOPICS. So
/// `--publishers 1 --subscribers 100` is a fan-out, `--publishers 100 --subscribers 1` a fan-in, and
/// `--publishers 50 --subscribers 50 --topics 50` are fifty pairs.
///
/// Closed loop (the default): every publisher keeps --inflight messages on their way. A message is on its way until all of
/// its subscribers have it and, with QoS 1 and 2, the broker has acknowledged it.
/// Open loop (--rate): messages are sent at fixed times, and latency counts from the time at which a message should have
/// been sent, so that a stall shows in all messages that it holds up.
///
/// A scenario is a set of options with a name, or in a TOML file; `pantala-load scenarios` tells what there is. Options
/// behind its name win over it.
///
/// The end: when the time is over, the run waits until every message has come or nothing has come for --quiet seconds.
/// Then all clients ping, because what was still on its way to a client comes before the answer.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "pantala-load",
    version,
    // What a scenario says, later options say differently.
    args_override_self = true,
    override_usage = "pantala-load [run [SCENARIO]] [OPTIONS]\n       pantala-load scenarios\n       \
         pantala-load compare BROKER BROKER... [--run 'SCENARIO [OPTIONS]']...\n       \
         pantala-load canonical\n       pantala-load report FILE... [--output FILE]",
    // Its short form is that of --mqtt, as in mosquitto_pub.
    disable_version_flag = true,
    arg = Arg::new("version").long("version").action(ArgAction::Version).help("Print version"),
    after_help = EXAMPLES
)]
pub(crate) struct Args {
    /// The broker's address.
    #[arg(long, default_value = "127.0.0.1:1883", value_name = "ADDRESS:PORT")]
    pub(crate) broker: SocketAddr,
    /// The broker's address is that of a ws:// listener: MQTT goes through WebSockets at /mqtt, each packet in a frame.
    #[arg(long, default_missing_value = "true", default_value_t = false, num_args = 0..=1, require_equals = true, value_name = "BOOL", hide_default_value = true, hide_possible_values = true)]
    pub(crate) websocket: bool,
    /// The broker's address is that of a tls:// listener, or with --websocket of a wss:// one.
    #[arg(long, default_missing_value = "true", default_value_t = false, num_args = 0..=1, require_equals = true, value_name = "BOOL", hide_default_value = true, hide_possible_values = true)]
    pub(crate) tls: bool,
    /// Trust the authorities in this PEM file.
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca: Option<PathBuf>,
    /// Take any certificate.
    #[arg(long, requires = "tls", conflicts_with = "ca", default_missing_value = "true", default_value_t = false, num_args = 0..=1, require_equals = true, value_name = "BOOL", hide_default_value = true, hide_possible_values = true)]
    insecure: bool,
    /// The name that the broker's certificate has to have. [default: its address]
    #[arg(long, value_name = "NAME", requires = "tls")]
    server_name: Option<String>,
    /// Make a full handshake for every connection.
    #[arg(long, requires = "tls", default_missing_value = "true", default_value_t = false, num_args = 0..=1, require_equals = true, value_name = "BOOL", hide_default_value = true, hide_possible_values = true)]
    no_resumption: bool,
    /// Connections that publish.
    #[arg(long, short, default_value_t = 1)]
    pub(crate) publishers: u16,
    /// Connections that subscribe.
    #[arg(long, short, default_value_t = 1)]
    pub(crate) subscribers: u16,
    /// Topics.
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) topics: u16,
    /// Each subscriber subscribes to all topics, by a wildcard.
    #[arg(long, default_missing_value = "true", default_value_t = false, num_args = 0..=1, require_equals = true, value_name = "BOOL", hide_default_value = true, hide_possible_values = true)]
    pub(crate) all_topics: bool,
    /// The subscribers of a topic share one subscription, so that one of them gets a message; with --all-topics all do.
    #[arg(long, default_missing_value = "true", default_value_t = false, num_args = 0..=1, require_equals = true, value_name = "BOOL", hide_default_value = true, hide_possible_values = true)]
    pub(crate) share: bool,
    /// Connections that are opened per second. [default: as many as the broker takes]
    #[arg(long, value_name = "RATE", value_parser = positive)]
    pub(crate) connect_rate: Option<f64>,
    /// QoS of publishers and subscribers.
    #[arg(long, short, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Version of the protocol.
    #[arg(long, short = 'V', value_enum, default_value_t = Mqtt::V311)]
    mqtt: Mqtt,
    /// Bytes of each payload, at least 16.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=16_000_000))]
    pub(crate) payload: u32,
    /// Closed loop: messages of each publisher on their way at once.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=32_000))]
    pub(crate) inflight: u16,
    /// Open loop: messages per second of all publishers together.
    #[arg(long, conflicts_with = "inflight", value_parser = positive)]
    pub(crate) rate: Option<f64>,
    /// Seconds to measure.
    #[arg(long, short, default_value_t = 10.0, value_parser = positive)]
    pub(crate) duration: f64,
    /// Messages to publish and measure, in place of --duration.
    #[arg(long, conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) messages: Option<u64>,
    /// Seconds to run before measuring.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub(crate) warmup: f64,
    /// Seconds without a delivery or acknowledgement after which what is missing at the end counts as lost.
    #[arg(long, default_value_t = 5.0, value_parser = positive)]
    pub(crate) quiet: f64,
    /// Idle connections: opens so many and, after --warmup, watches them for --duration. With --pid it measures the broker's memory for
    /// each and its CPU time.
    #[arg(long, value_name = "CONNECTIONS", conflicts_with_all = ["publishers", "subscribers", "rate", "messages"])]
    pub(crate) idle: Option<u32>,
    /// Retained messages: has so many retained, one to a topic, and lets every subscriber ask for all of them at once. With
    /// --pid it measures what each costs the broker.
    #[arg(long, value_name = "MESSAGES", conflicts_with_all = ["idle", "publishers", "topics", "rate", "messages"],
        value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(crate) retained: Option<u32>,
    /// Idle connections subscribe to nothing; otherwise each subscribes to a topic of its own.
    #[arg(long, requires = "idle", default_missing_value = "true", default_value_t = false, num_args = 0..=1, require_equals = true, value_name = "BOOL", hide_default_value = true, hide_possible_values = true)]
    pub(crate) bare: bool,
    /// Filters that others subscribe to before the run and that match none of its topics, 10,000 of each client.
    #[arg(long, value_name = "FILTERS", default_value_t = 0, conflicts_with_all = ["idle", "retained"],
        value_parser = clap::value_parser!(u32).range(..=100_000_000))]
    pub(crate) ballast: u32,
    /// Further subscribers to each topic that never read. What a broker does with them is its own business: the run says what
    /// it costs the others.
    #[arg(long, value_name = "SUBSCRIBERS", default_value_t = 0, conflicts_with_all = ["idle", "retained"])]
    pub(crate) slow: u16,
    /// Keep alive of all connections, in seconds; 0 turns it off.
    #[arg(long, default_value_t = 60)]
    pub(crate) keep_alive: u16,
    /// The subscribers' sessions outlive their connections (clean session 0; in 5.0 for a day), so that a broker with a store
    /// keeps what they are owed.
    #[arg(long, conflicts_with = "idle", default_missing_value = "true", default_value_t = false, num_args = 0..=1, require_equals = true, value_name = "BOOL", hide_default_value = true, hide_possible_values = true)]
    pub(crate) persistent: bool,
    /// Source addresses to connect from to a broker on 127.0.0.1: that one and those after it. One has room for about
    /// 28,000 connections. [default: as many as are needed]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=i64::from(SOURCES_MAX)))]
    sources: Option<u8>,
    /// Run on this processor only.
    #[arg(long, value_name = "PROCESSOR")]
    pub(crate) cpu: Option<usize>,
    /// The broker's process: its CPU time and memory are measured.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// The scenario that these options come from.
    #[arg(long, hide = true)]
    pub(crate) scenario: Option<String>,
    /// The scenario is a tenth of its size, for want of descriptors.
    #[arg(long, hide = true)]
    pub(crate) tenth: bool,
    /// No progress line.
    #[arg(long)]
    pub(crate) silent: bool,
}

const EXAMPLES: &str = "Examples:
  pantala-load --subscribers 100                                     one publisher, 100 subscribers
  pantala-load -p 50 -s 50 -t 50 -q 1 --inflight 64 --pid 4711       50 pairs, QoS 1, the broker's CPU per message
  pantala-load -p 10 -s 10 -t 10 --rate 20000                        latency at 20,000 messages per second
  pantala-load --idle 10000 --pid 4711                               memory of an idle connection
  pantala-load run pairs-qos1 --broker 192.0.2.7:1883                a scenario, with another broker

Exit codes: 0 all is well; 1 messages were lost, repeated, out of order, altered or not acknowledged; 2 the run could
not be made.";

/// Connections from one source address, safely below the kernel's range of ports.
const PER_SOURCE: u32 = 25_000;
const SOURCES_MAX: u32 = 250;

/// What is enough for any run and keeps sums of times in nanoseconds within 64 bits.
const SECONDS_MAX: f64 = 1e9;

fn seconds(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=SECONDS_MAX).contains(&number) {
        Ok(number)
    } else {
        Err(format!("not from 0 to {SECONDS_MAX:e}"))
    }
}

fn positive(text: &str) -> Result<f64, String> {
    seconds(text).and_then(|number| if number > 0.0 { Ok(number) } else { Err("not above 0".to_owned()) })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mqtt {
    #[value(name = "3.1")]
    V31,
    #[value(name = "3.1.1")]
    V311,
    #[value(name = "5")]
    V5,
}

impl Args {
    pub(crate) fn qos(&self) -> QoS {
        QoS::from_bits(self.qos).unwrap_or(QoS::AtMostOnce)
    }

    /// The version of the protocol as people call it.
    pub(crate) fn mqtt_name(&self) -> &'static str {
        match self.mqtt {
            Mqtt::V31 => "3.1",
            Mqtt::V311 => "3.1.1",
            Mqtt::V5 => "5",
        }
    }

    pub(crate) fn version(&self) -> Version {
        match self.mqtt {
            Mqtt::V31 => Version::V31,
            Mqtt::V311 => Version::V311,
            Mqtt::V5 => Version::V5,
        }
    }

    /// How TLS is spoken, if it is.
    ///
    /// # Errors
    /// The authorities cannot be read, or there is nobody to trust.
    pub(crate) fn terms(&self) -> Result<Option<Terms>, TermsError> {
        if !self.tls {
            return Ok(None);
        }
        let name = self.server_name.clone().unwrap_or_else(|| self.broker.ip().to_string());
        let protocol: &[u8] = if self.websocket { b"http/1.1" } else { b"mqtt" };
        Terms::new(self.ca.as_deref(), self.insecure, !self.no_resumption, &name, protocol).map(Some)
    }

    /// Waits until it is the turn of a connection, where they are opened at a rate that began with the clock.
    #[expect(clippy::disallowed_methods, reason = "nothing else is to be done before all are open")]
    pub(crate) fn await_turn(&self, connection: u32, clock: Clock) {
        if let Some(rate) = self.connect_rate {
            let due = nanos(f64::from(connection) / rate);
            std::thread::sleep(Duration::from_nanos(due.saturating_sub(clock.nanos())));
        }
    }

    /// How many connections a run with messages has.
    pub(crate) fn connections(&self) -> u32 {
        u32::from(self.publishers) + u32::from(self.subscribers)
    }

    /// The source address of a connection, of so many: 0 stands for 127.0.0.1, 1 for the one after it.
    pub(crate) fn source(&self, connection: u32, connections: u32) -> u8 {
        let needed = connections.div_ceil(PER_SOURCE).clamp(1, SOURCES_MAX);
        let sources = self.sources.map_or(needed, u32::from);
        u8::try_from(connection % sources).unwrap_or(u8::MAX)
    }

    /// How many subscriptions there are, where those that share one count once.
    pub(crate) fn groups(&self) -> u16 {
        match (self.share, self.all_topics) {
            (false, _) => self.subscribers,
            (true, true) => self.subscribers.min(1),
            (true, false) => self.subscribers.min(self.topics),
        }
    }

    /// Which of them is a subscriber's.
    pub(crate) fn group_of(&self, subscriber: u16) -> u16 {
        match (self.share, self.all_topics) {
            (false, _) => subscriber,
            (true, true) => 0,
            (true, false) => subscriber % self.topics,
        }
    }

    /// How often a message of a topic is to be delivered.
    pub(crate) fn deliveries_of(&self, topic: u16) -> u16 {
        match self.all_topics {
            true => self.groups(),
            false => share(self.groups(), topic, self.topics),
        }
    }
}

/// How many of `0..count` are `topic` modulo `topics`.
pub(crate) fn share(count: u16, topic: u16, topics: u16) -> u16 {
    count / topics + u16::from(topic < count % topics)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parsed(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("pantala-load").chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_examples_in_the_help_can_be_run() {
        let lines = EXAMPLES.lines().filter_map(|line| line.trim().strip_prefix("pantala-load "));
        let lines: Vec<_> = lines.map(|line| line.split("    ").next().unwrap_or(line)).collect();
        assert_eq!(lines.len(), 5);
        for line in lines {
            let words = std::iter::once("pantala-load").chain(line.split_whitespace());
            let words = crate::scenario::expand(words.map(Into::into).collect(), u64::MAX).unwrap();
            assert!(Args::try_parse_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn what_makes_no_run_is_refused() {
        for line in [
            "--rate 0",
            "--rate -1",
            "--rate NaN",
            "--rate inf",
            "--rate 5 --inflight 3",
            "--duration 0",
            "--duration 1e300",
            "--warmup -1",
            "--messages 0",
            "--messages 5 --duration 3",
            "--payload 15",
            "--inflight 0",
            "--topics 0",
            "--qos 3",
            "-V 4",
            "--idle 5 --publishers 3",
            "--bare",
            "--broker localhost",
            "--ca file",
            "--insecure",
            "--tls --ca file --insecure",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn both_capital_v_and_the_version_work() {
        assert_eq!(parsed("-V 5").unwrap().version(), Version::V5);
        assert_eq!(parsed("--mqtt 3.1").unwrap().version(), Version::V31);
        assert_eq!(parsed("--version").unwrap_err().kind(), clap::error::ErrorKind::DisplayVersion);
    }

    #[test]
    fn subscribers_are_dealt_to_topics_in_turn() {
        for (count, topics) in [(100, 1), (50, 50), (7, 3), (1, 4)] {
            for topic in 0..topics {
                let dealt = (0..count).filter(|s| s % topics == topic).count();
                assert_eq!(usize::from(share(count, topic, topics)), dealt);
            }
        }
    }

    #[test]
    fn connections_come_from_as_many_addresses_as_their_ports_need() {
        let args = parsed("").unwrap();
        assert!((0..25_000).all(|n| args.source(n, 25_000) == 0));
        for connections in [25_001, 100_000, 1_000_000] {
            let mut used = [0u32; 256];
            (0..connections).for_each(|n| used[usize::from(args.source(n, connections))] += 1);
            assert!(used.iter().all(|&count| count <= 25_000));
        }
        let args = parsed("--sources 3").unwrap();
        assert_eq!([0, 1, 2, 3].map(|n| args.source(n, 4)), [0, 1, 2, 0]);
    }
}
