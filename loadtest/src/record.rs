//! A run as machines read it: one JSON object.
//!
//! `schema` is 1 and grows when a field changes its meaning or goes; further fields may come. Times are in the unit of their
//! name. What could not be measured, such as the broker's CPU time without `--pid`, is not there.
//!
//! | field | what it is |
//! |---|---|
//! | `generator`, `unix_s` | what made it, and when it ended |
//! | `scenario`, `tenth` | the scenario's name or file, and whether it was made a tenth as large for want of descriptors |
//! | `broker` | the broker's name, where it was started for a comparison |
//! | `publishers` ... `websocket` | the settings; `inflight` of a closed loop, `rate` (messages per second) of an open one |
//! | `seconds` | how long was measured |
//! | `published`, `delivered` | messages in that time, and `_per_s` |
//! | `behind` | open loop: messages that were due at the end and could not be sent |
//! | `lost` ... `stray` | what went wrong in the whole run; stray messages were altered, or not asked for |
//! | `latency_p50_us` ... `latency_max_us` | from the time at which a message should have been sent to its delivery |
//! | `ack_p50_us` ... `ack_max_us` | QoS 1 and 2: to PUBACK or PUBCOMP |
//! | `latency_us` | all latencies: pairs of a value, to one percent, and how often it was measured |
//! | `samples` | each second: `at_s` since the measurement began, messages `published` and `delivered` and `broker_cpu_us` in it |
//! | `broker_cpu_us_per_delivery`, `broker_cpu_cores` | the broker's CPU time for each delivery, and for each second |
//! | `broker_resident_bytes` | its resident memory at the end |
//! | `own_cpu_cores` | the load generator's CPU time for each second |
//! | `idle` | idle connections that were opened |
//! | `opening_s`, `broker_cpu_us_per_connection` | how long that took, and the broker's CPU time for each |
//! | `bytes_per_connection`, `broker_cpu_percent` | its memory for each, and its CPU time while they were idle |
//! | `retained`, `replayed` | messages that were retained, and those that came to subscribers of all of them |
//! | `stored_per_s`, `replayed_per_s` | how fast that was |
//! | `broker_cpu_us_per_stored`, `broker_cpu_us_per_replayed`, `bytes_per_retained` | what each cost the broker |

use crate::args::Args;
use crate::clock::unix_seconds;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The version of what is described above.
pub(crate) const SCHEMA: u32 = 1;

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    pub(crate) schema: u32,
    pub(crate) generator: String,
    pub(crate) unix_s: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scenario: Option<String>,
    pub(crate) tenth: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) broker: Option<String>,
    #[serde(flatten)]
    pub(crate) settings: Settings,
    pub(crate) seconds: f64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) messages: Option<Messages>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) idle: Option<Idle>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) retained: Option<Retained>,
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    pub(crate) publishers: u16,
    pub(crate) subscribers: u16,
    pub(crate) topics: u16,
    pub(crate) all_topics: bool,
    pub(crate) share: bool,
    pub(crate) persistent: bool,
    pub(crate) qos: u8,
    pub(crate) mqtt: String,
    pub(crate) payload: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inflight: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<f64>,
    pub(crate) keep_alive: u16,
    pub(crate) tls: bool,
    pub(crate) websocket: bool,
}

/// What came of messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Messages {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) published_per_s: f64,
    pub(crate) delivered_per_s: f64,
    pub(crate) behind: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) unacknowledged: u64,
    pub(crate) stray: u64,
    pub(crate) latency_p50_us: f64,
    pub(crate) latency_p99_us: f64,
    pub(crate) latency_p99_9_us: f64,
    pub(crate) latency_max_us: f64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) acknowledged: Option<Acknowledged>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) broker_cpu_us_per_delivery: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) broker_cpu_cores: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) broker_resident_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) own_cpu_cores: Option<f64>,
    pub(crate) latency_us: Vec<(f64, u64)>,
    pub(crate) samples: Vec<Sample>,
}

/// How long acknowledgements took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Acknowledged {
    pub(crate) ack_p50_us: f64,
    pub(crate) ack_p99_us: f64,
    pub(crate) ack_p99_9_us: f64,
    pub(crate) ack_max_us: f64,
}

/// A second of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) at_s: f64,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) broker_cpu_us: Option<f64>,
}

/// What came of connections that do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) idle: u32,
    pub(crate) opening_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) broker_cpu_us_per_connection: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_per_connection: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) broker_cpu_percent: Option<f64>,
}

/// What came of retained messages.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Retained {
    pub(crate) retained: u32,
    pub(crate) replayed: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) stray: u64,
    pub(crate) stored_per_s: f64,
    pub(crate) replayed_per_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) broker_cpu_us_per_stored: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) broker_cpu_us_per_replayed: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_per_retained: Option<f64>,
}

impl Messages {
    /// What was lost, repeated, out of order, not acknowledged or stray.
    pub(crate) fn faults(&self) -> u64 {
        self.lost + self.duplicated + self.reordered + self.unacknowledged + self.stray
    }
}

impl Retained {
    fn faults(&self) -> u64 {
        self.lost + self.duplicated + self.stray
    }
}

impl Record {
    /// What was lost, repeated, out of order, not acknowledged or stray, of whatever kind the run was.
    pub(crate) fn faults(&self) -> u64 {
        self.messages.as_ref().map_or(0, Messages::faults)
            + self.retained.as_ref().map_or(0, Retained::faults)
    }

    /// A run with these settings that has just ended, without what came of it.
    pub(crate) fn of(args: &Args, seconds: f64) -> Self {
        Self {
            schema: SCHEMA,
            generator: concat!("pantala-load ", env!("CARGO_PKG_VERSION")).to_owned(),
            unix_s: unix_seconds(),
            scenario: args.scenario.clone(),
            tenth: args.tenth,
            settings: Settings::of(args),
            seconds,
            ..Self::default()
        }
    }

    /// One line of JSON.
    pub(crate) fn line(&self) -> String {
        // Names are text and numbers are finite or left out.
        serde_json::to_string(self)
            .map_or_else(|error| format!("{{\"error\":\"{error}\"}}\n"), |json| json + "\n")
    }
}

impl Settings {
    fn of(args: &Args) -> Self {
        let closed = args.rate.is_none() && args.idle.is_none();
        let none = args.idle.is_some();
        Self {
            publishers: if none { 0 } else { args.publishers },
            subscribers: if none { 0 } else { args.subscribers },
            topics: args.topics,
            all_topics: args.all_topics,
            share: args.share,
            persistent: args.persistent,
            qos: args.qos() as u8,
            mqtt: args.mqtt_name().to_owned(),
            payload: args.payload,
            inflight: closed.then_some(args.inflight),
            rate: args.rate,
            keep_alive: args.keep_alive,
            tls: args.tls,
            websocket: args.websocket,
        }
    }
}

/// All values of a histogram in nanoseconds, as microseconds to one percent and how often each was recorded.
pub(crate) fn pairs(latencies: &Histogram<u64>) -> Vec<(f64, u64)> {
    let mut pairs: Vec<(f64, u64)> = Vec::new();
    for step in latencies.iter_recorded() {
        let micros = micros(step.value_iterated_to());
        match pairs.last_mut() {
            Some((last, count)) if micros < *last * 1.01 => *count += step.count_at_value(),
            _ => pairs.push((micros, step.count_at_value())),
        }
    }
    pairs
}

/// Nanoseconds as microseconds, to a tenth.
#[expect(clippy::cast_precision_loss, reason = "for people and plots")]
pub(crate) fn micros(nanos: u64) -> f64 {
    (nanos as f64 / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::latencies;
    use clap::Parser;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let args = Args::parse_from(["pantala-load", "-p", "2", "-s", "8", "-q", "1", "--rate", "50"]);
        let mut record = Record::of(&args, 2.5);
        record.messages = Some(Messages {
            published: 7,
            latency_us: vec![(1.5, 3), (2.5, 4)],
            acknowledged: Some(Acknowledged {
                ack_p50_us: 1.0,
                ack_p99_us: 2.0,
                ack_p99_9_us: 3.0,
                ack_max_us: 4.0,
            }),
            samples: vec![Sample { at_s: 1.0, published: 7, delivered: 8, broker_cpu_us: None }],
            ..Messages::default()
        });
        let read: Record = serde_json::from_str(&record.line()).unwrap();
        assert_eq!(read, record);
        assert_eq!(read.settings.rate, Some(50.0));
        assert!(!record.line().contains("null") && !record.line().contains("inflight"));
    }

    #[test]
    fn idle_connections_have_a_record_of_their_own_kind() {
        let args = Args::parse_from(["pantala-load", "--idle", "5"]);
        let idle = Idle {
            idle: 5,
            opening_s: 0.5,
            broker_cpu_us_per_connection: Some(38.0),
            bytes_per_connection: None,
            broker_cpu_percent: None,
        };
        let record = Record { idle: Some(idle), ..Record::of(&args, 1.0) };
        let read: Record = serde_json::from_str(&record.line()).unwrap();
        assert_eq!(read, record);
        assert!(read.messages.is_none() && read.settings.publishers == 0);
    }

    #[test]
    fn pairs_hold_all_values_to_one_percent() {
        let mut all = latencies();
        (1..=10_000u64).for_each(|micros| all.record(micros * 1_000).unwrap());
        let pairs = pairs(&all);
        assert_eq!(pairs.iter().map(|(_, count)| count).sum::<u64>(), 10_000);
        assert!(pairs.len() < 700 && pairs.is_sorted_by(|a, b| a.0 < b.0), "{}", pairs.len());
        let below =
            |bound: f64| pairs.iter().filter(|(at, _)| *at <= bound).map(|(_, count)| count).sum::<u64>();
        assert!((4_950..=5_100).contains(&below(5_000.0)), "{}", below(5_000.0));
    }
}
