//! What came of it, for people, and as a record for machines.

use crate::args::Args;
use crate::check::Faults;
use crate::record::{Acknowledged, Idle, Messages, Record, Sample, micros, pairs};
use hdrhistogram::Histogram;
use std::fmt::Write;

/// A run with messages.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) seconds: f64,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    /// Open loop: messages that were due and could not be sent.
    pub(crate) behind: u64,
    /// Of deliveries, in nanoseconds.
    pub(crate) latencies: Histogram<u64>,
    /// Of PUBACK or PUBCOMP, in nanoseconds.
    pub(crate) acknowledgements: Histogram<u64>,
    pub(crate) faults: Faults,
    pub(crate) broker_cpu_nanos: Option<u64>,
    pub(crate) broker_resident: Option<u64>,
    pub(crate) own_cpu_nanos: Option<u64>,
    pub(crate) samples: Vec<Sample>,
}

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn float(count: u64) -> f64 {
    count as f64
}

impl Outcome {
    fn per_second(&self, count: u64) -> f64 {
        float(count) / self.seconds
    }

    fn micros_per_delivery(&self) -> Option<f64> {
        let nanos = self.broker_cpu_nanos.filter(|_| self.delivered > 0)?;
        Some(float(nanos) / 1e3 / float(self.delivered))
    }

    fn busy(&self, nanos: u64) -> f64 {
        float(nanos) / 1e9 / self.seconds
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "published    {:>14.0} /s", self.per_second(self.published));
        if self.behind > 0 {
            let _ = writeln!(
                out,
                "behind       {:>14} messages that were due and could not be sent",
                self.behind
            );
        }
        let _ = writeln!(out, "delivered    {:>14.0} /s", self.per_second(self.delivered));
        for (name, quantile) in QUANTILES {
            let micros = float(self.latencies.value_at_quantile(quantile)) / 1e3;
            let _ = writeln!(out, "latency {name:<5}{micros:>14.1} us");
        }
        for (name, quantile) in QUANTILES.into_iter().filter(|_| !self.acknowledgements.is_empty()) {
            let micros = float(self.acknowledgements.value_at_quantile(quantile)) / 1e3;
            let _ = writeln!(out, "ack {name:<9}{micros:>14.1} us");
        }
        let faults = self.faults.each().map(|(name, count)| format!("{name} {count}"));
        let _ = writeln!(out, "{}", faults.join(", "));
        if let (Some(micros), Some(nanos)) = (self.micros_per_delivery(), self.broker_cpu_nanos) {
            let _ = writeln!(
                out,
                "broker CPU   {micros:>14.3} us per delivered message, {:.0} % of a core",
                100.0 * self.busy(nanos)
            );
        }
        if let Some(resident) = self.broker_resident {
            let _ = writeln!(out, "broker memory{:>14.1} MiB", float(resident) / 1_048_576.0);
        }
        if let Some(nanos) = self.own_cpu_nanos {
            let _ = writeln!(out, "own CPU      {:>14.0} % of a core", 100.0 * self.busy(nanos));
        }
        out
    }

    /// For machines.
    pub(crate) fn record(&self, args: &Args) -> Record {
        let [latency_p50_us, latency_p99_us, latency_p99_9_us, latency_max_us] = quantiles(&self.latencies);
        let acknowledged = (!self.acknowledgements.is_empty()).then(|| {
            let [ack_p50_us, ack_p99_us, ack_p99_9_us, ack_max_us] = quantiles(&self.acknowledgements);
            Acknowledged { ack_p50_us, ack_p99_us, ack_p99_9_us, ack_max_us }
        });
        let Faults { lost, duplicated, reordered, unacknowledged, stray } = self.faults;
        let messages = Messages {
            published: self.published,
            delivered: self.delivered,
            published_per_s: self.per_second(self.published),
            delivered_per_s: self.per_second(self.delivered),
            behind: self.behind,
            lost,
            duplicated,
            reordered,
            unacknowledged,
            stray,
            latency_p50_us,
            latency_p99_us,
            latency_p99_9_us,
            latency_max_us,
            acknowledged,
            broker_cpu_us_per_delivery: self.micros_per_delivery(),
            broker_cpu_cores: self.broker_cpu_nanos.map(|nanos| self.busy(nanos)),
            broker_resident_bytes: self.broker_resident,
            own_cpu_cores: self.own_cpu_nanos.map(|nanos| self.busy(nanos)),
            latency_us: pairs(&self.latencies),
            samples: self.samples.clone(),
        };
        Record { messages: Some(messages), ..Record::of(args, self.seconds) }
    }
}

fn quantiles(of: &Histogram<u64>) -> [f64; 4] {
    QUANTILES.map(|(_, quantile)| micros(of.value_at_quantile(quantile)))
}

/// A run with idle connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdleOutcome {
    pub(crate) connections: u32,
    /// How long it took to open them, and what the broker used for that.
    pub(crate) opening_seconds: f64,
    pub(crate) opening_cpu_nanos: Option<u64>,
    pub(crate) seconds: f64,
    pub(crate) resident_before: Option<u64>,
    pub(crate) resident_after: Option<u64>,
    pub(crate) cpu_nanos: Option<u64>,
}

impl IdleOutcome {
    fn figures(&self) -> Idle {
        let count = f64::from(self.connections.max(1));
        let memory = self.resident_before.zip(self.resident_after);
        Idle {
            idle: self.connections,
            opening_s: self.opening_seconds,
            broker_cpu_us_per_connection: self.opening_cpu_nanos.map(|nanos| float(nanos) / 1e3 / count),
            bytes_per_connection: memory.map(|(before, after)| (float(after) - float(before)) / count),
            broker_cpu_percent: self.cpu_nanos.map(|nanos| 100.0 * float(nanos) / 1e9 / self.seconds),
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let idle = self.figures();
        let rate = f64::from(self.connections) / self.opening_seconds.max(1e-9);
        let mut out = format!("{} idle connections for {:.0} s\n", self.connections, self.seconds);
        let _ = writeln!(out, "opened       {rate:>14.0} /s");
        if let Some(micros) = idle.broker_cpu_us_per_connection {
            let _ = writeln!(out, "broker CPU   {micros:>14.1} us for each to open");
        }
        if let Some(bytes) = idle.bytes_per_connection {
            let _ = writeln!(out, "broker memory{bytes:>14.0} bytes for each");
        }
        if let Some(percent) = idle.broker_cpu_percent {
            let _ = writeln!(out, "broker CPU   {percent:>14.2} % of a core");
        }
        out
    }

    /// For machines.
    pub(crate) fn record(&self, args: &Args) -> Record {
        Record { idle: Some(self.figures()), ..Record::of(args, self.seconds) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::latencies;
    use clap::Parser;

    fn outcome() -> Outcome {
        let mut latencies = latencies();
        (1..=100).for_each(|micros| latencies.record(micros * 1_000).unwrap());
        let mut acknowledgements = latencies.clone();
        acknowledgements.reset();
        (1..=100).for_each(|micros| acknowledgements.record(micros * 2_000).unwrap());
        Outcome {
            seconds: 2.0,
            published: 1_000,
            delivered: 4_000,
            behind: 7,
            latencies,
            acknowledgements,
            faults: Faults { lost: 1, duplicated: 2, reordered: 3, unacknowledged: 4, stray: 5 },
            broker_cpu_nanos: Some(1_000_000_000),
            broker_resident: Some(3 << 20),
            own_cpu_nanos: Some(200_000_000),
            samples: Vec::new(),
        }
    }

    #[test]
    fn people_read_rates_latencies_faults_and_what_the_broker_used() {
        let expected = "\
published               500 /s
behind                    7 messages that were due and could not be sent
delivered              2000 /s
latency p50            50.2 us
latency p99            99.3 us
latency p99.9         100.4 us
latency max           100.4 us
ack p50               100.4 us
ack p99               198.1 us
ack p99.9             200.2 us
ack max               200.2 us
lost 1, duplicated 2, reordered 3, unacknowledged 4, stray 5
broker CPU          250.000 us per delivered message, 50 % of a core
broker memory           3.0 MiB
own CPU                  10 % of a core
";
        assert_eq!(outcome().text(), expected);
    }

    #[test]
    fn machines_read_the_same() {
        let args = Args::parse_from(["pantala-load", "-p", "2", "-s", "8", "-t", "2", "-q", "1"]);
        let record = outcome().record(&args);
        let messages = record.messages.as_ref().unwrap();
        assert_eq!((messages.published_per_s, messages.delivered_per_s), (500.0, 2_000.0));
        assert_eq!(messages.faults(), 1 + 2 + 3 + 4 + 5);
        assert_eq!((messages.latency_p50_us, messages.latency_max_us), (50.2, 100.4));
        assert_eq!(messages.acknowledged.unwrap().ack_p99_us, 198.1);
        assert_eq!(messages.broker_cpu_us_per_delivery, Some(250.0));
        assert_eq!((messages.broker_cpu_cores, messages.own_cpu_cores), (Some(0.5), Some(0.1)));
        let line = record.line();
        for field in
            ["\"schema\":1,", "\"qos\":1,", "\"lost\":1,", "\"latency_p50_us\":50.2,", "\"behind\":7,"]
        {
            assert!(line.contains(field), "{field} in {line}");
        }
    }

    #[test]
    fn without_a_process_or_a_delivery_there_is_nothing_to_divide() {
        let nothing = Outcome { delivered: 0, broker_resident: None, own_cpu_nanos: None, ..outcome() };
        assert!(!nothing.text().contains("broker CPU"));
        let args = Args::parse_from(["pantala-load"]);
        let line = nothing.record(&args).line();
        assert!(!line.contains("per_delivery") && !line.contains("null"), "{line}");
    }

    #[test]
    fn an_idle_connection_has_its_share_of_memory_and_time() {
        let idle = IdleOutcome {
            connections: 1_000,
            opening_seconds: 0.5,
            opening_cpu_nanos: Some(40_000_000),
            seconds: 10.0,
            resident_before: Some(5_000_000),
            resident_after: Some(6_500_000),
            cpu_nanos: Some(20_000_000),
        };
        let figures = idle.figures();
        assert_eq!((figures.bytes_per_connection, figures.broker_cpu_percent), (Some(1_500.0), Some(0.2)));
        assert_eq!(figures.broker_cpu_us_per_connection, Some(40.0));
        let expected = "\
1000 idle connections for 10 s
opened                 2000 /s
broker CPU             40.0 us for each to open
broker memory          1500 bytes for each
broker CPU             0.20 % of a core
";
        assert_eq!(idle.text(), expected);
        let unknown = IdleOutcome { resident_before: None, cpu_nanos: None, opening_cpu_nanos: None, ..idle };
        assert_eq!(unknown.text(), "1000 idle connections for 10 s\nopened                 2000 /s\n");
    }
}
