//! What to do, from the command line.

use clap::{Parser, ValueEnum};
use pantala::codec::Version;
use pantala::types::QoS;
use std::net::SocketAddr;

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
#[derive(Clone, Debug, Parser)]
#[command(version, disable_version_flag = true, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The broker's address.
    #[arg(long, default_value = "127.0.0.1:1883", value_name = "ADDRESS:PORT")]
    pub(crate) broker: SocketAddr,
    /// Connections that publish.
    #[arg(long, short, default_value_t = 1)]
    pub(crate) publishers: u16,
    /// Connections that subscribe.
    #[arg(long, short, default_value_t = 1)]
    pub(crate) subscribers: u16,
    /// Topics.
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) topics: u16,
    /// QoS of publishers and subscribers.
    #[arg(long, short, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Version of the protocol.
    #[arg(long, value_enum, default_value_t = Mqtt::V311)]
    mqtt: Mqtt,
    /// Bytes of each payload, at least 16.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=16_000_000))]
    pub(crate) payload: u32,
    /// Closed loop: messages of each publisher on their way at once.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=32_000))]
    pub(crate) inflight: u16,
    /// Open loop: messages per second of all publishers together.
    #[arg(long, conflicts_with = "inflight")]
    pub(crate) rate: Option<f64>,
    /// Seconds to measure.
    #[arg(long, short, default_value_t = 10.0)]
    pub(crate) duration: f64,
    /// Seconds to run before measuring.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) warmup: f64,
    /// Seconds without a delivery after which what is missing at the end counts as lost.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) quiet: f64,
    /// Idle connections: opens so many, each with one subscription, and watches them. With --pid it measures the broker's
    /// memory for each and its CPU time.
    #[arg(long, value_name = "CONNECTIONS")]
    pub(crate) idle: Option<u32>,
    /// Keep alive of all connections, in seconds; 0 turns it off.
    #[arg(long, default_value_t = 60)]
    pub(crate) keep_alive: u16,
    /// Source addresses to connect from, 127.0.0.1 and up: one has room for about 28,000 connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=250))]
    pub(crate) sources: u8,
    /// Run on this processor only.
    #[arg(long, value_name = "PROCESSOR")]
    pub(crate) cpu: Option<usize>,
    /// The broker's process: its CPU time and memory are measured.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress line.
    #[arg(long)]
    pub(crate) silent: bool,
    /// Print the version of this program.
    #[arg(long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

const EXAMPLES: &str = "Examples:
  pantala-load --subscribers 100                                     one publisher, 100 subscribers
  pantala-load -p 50 -s 50 -t 50 -q 1 --inflight 64 --pid 4711       50 pairs, QoS 1, the broker's CPU per message
  pantala-load -p 10 -s 10 -t 10 --rate 20000                        latency at 20,000 messages per second
  pantala-load --idle 10000 --pid 4711                               memory of an idle connection

Exit codes: 0 all is well; 1 messages were lost, repeated or out of order; 2 the run could not be made.";

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

    pub(crate) fn version(&self) -> Version {
        match self.mqtt {
            Mqtt::V31 => Version::V31,
            Mqtt::V311 => Version::V311,
            Mqtt::V5 => Version::V5,
        }
    }

    /// How many subscribers a topic has.
    pub(crate) fn subscribers_of(&self, topic: u16) -> u16 {
        share(self.subscribers, topic, self.topics)
    }
}

/// How many of `0..count` are `topic` modulo `topics`.
fn share(count: u16, topic: u16, topics: u16) -> u16 {
    count / topics + u16::from(topic < count % topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Args::command().debug_assert();
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
}
