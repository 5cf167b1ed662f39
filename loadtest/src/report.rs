//! What came of it, for people and for machines.

use crate::args::Args;
use crate::check::Faults;
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

    /// For machines: one JSON object.
    pub(crate) fn json(&self, args: &Args) -> String {
        let mut out = format!(
            "{{\"publishers\":{},\"subscribers\":{},\"topics\":{},\"qos\":{},\"payload\":{},\"seconds\":{:.3},\"published\":{},\"delivered\":{},\"behind\":{},\"published_per_s\":{:.1},\"delivered_per_s\":{:.1}",
            args.publishers,
            args.subscribers,
            args.topics,
            args.qos() as u8,
            args.payload,
            self.seconds,
            self.published,
            self.delivered,
            self.behind,
            self.per_second(self.published),
            self.per_second(self.delivered),
        );
        for (name, count) in self.faults.each() {
            let _ = write!(out, ",\"{name}\":{count}");
        }
        for (name, quantile) in QUANTILES {
            let micros = float(self.latencies.value_at_quantile(quantile)) / 1e3;
            let _ = write!(out, ",\"latency_{}_us\":{micros:.1}", name.replace('.', "_"));
        }
        for (name, quantile) in QUANTILES.into_iter().filter(|_| !self.acknowledgements.is_empty()) {
            let micros = float(self.acknowledgements.value_at_quantile(quantile)) / 1e3;
            let _ = write!(out, ",\"ack_{}_us\":{micros:.1}", name.replace('.', "_"));
        }
        if let Some(micros) = self.micros_per_delivery() {
            let _ = write!(out, ",\"broker_cpu_us_per_delivery\":{micros:.4}");
        }
        for (name, nanos) in [("broker", self.broker_cpu_nanos), ("own", self.own_cpu_nanos)] {
            if let Some(nanos) = nanos {
                let _ = write!(out, ",\"{name}_cpu_cores\":{:.3}", self.busy(nanos));
            }
        }
        if let Some(resident) = self.broker_resident {
            let _ = write!(out, ",\"broker_resident_bytes\":{resident}");
        }
        out.push_str("}\n");
        out
    }
}

/// A run with idle connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdleOutcome {
    pub(crate) connections: u32,
    pub(crate) seconds: f64,
    pub(crate) resident_before: Option<u64>,
    pub(crate) resident_after: Option<u64>,
    pub(crate) cpu_nanos: Option<u64>,
}

impl IdleOutcome {
    fn bytes_each(&self) -> Option<f64> {
        let (before, after) = self.resident_before.zip(self.resident_after)?;
        Some((float(after) - float(before)) / f64::from(self.connections.max(1)))
    }

    fn percent(&self) -> Option<f64> {
        Some(100.0 * float(self.cpu_nanos?) / 1e9 / self.seconds)
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut out = format!("{} idle connections for {:.0} s\n", self.connections, self.seconds);
        if let (Some(bytes), Some(percent)) = (self.bytes_each(), self.percent()) {
            let _ = writeln!(out, "broker memory{bytes:>14.0} bytes for each");
            let _ = writeln!(out, "broker CPU   {percent:>14.2} % of a core");
        }
        out
    }

    /// For machines.
    pub(crate) fn json(&self) -> String {
        let mut out = format!("{{\"idle\":{},\"seconds\":{:.3}", self.connections, self.seconds);
        if let (Some(bytes), Some(percent)) = (self.bytes_each(), self.percent()) {
            let _ = write!(out, ",\"bytes_per_connection\":{bytes:.0},\"broker_cpu_percent\":{percent:.3}");
        }
        out.push_str("}\n");
        out
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
        let expected = "{\"publishers\":2,\"subscribers\":8,\"topics\":2,\"qos\":1,\"payload\":64,\"seconds\":2.000,\
            \"published\":1000,\"delivered\":4000,\"behind\":7,\"published_per_s\":500.0,\"delivered_per_s\":2000.0,\
            \"lost\":1,\"duplicated\":2,\"reordered\":3,\"unacknowledged\":4,\"stray\":5,\
            \"latency_p50_us\":50.2,\"latency_p99_us\":99.3,\"latency_p99_9_us\":100.4,\"latency_max_us\":100.4,\
            \"ack_p50_us\":100.4,\"ack_p99_us\":198.1,\"ack_p99_9_us\":200.2,\"ack_max_us\":200.2,\
            \"broker_cpu_us_per_delivery\":250.0000,\"broker_cpu_cores\":0.500,\"own_cpu_cores\":0.100,\
            \"broker_resident_bytes\":3145728}\n";
        assert_eq!(outcome().json(&args), expected);
    }

    #[test]
    fn without_a_process_or_a_delivery_there_is_nothing_to_divide() {
        let nothing = Outcome { delivered: 0, broker_resident: None, own_cpu_nanos: None, ..outcome() };
        assert!(!nothing.text().contains("broker CPU"));
        let args = Args::parse_from(["pantala-load"]);
        assert!(!nothing.json(&args).contains("NaN") && !nothing.json(&args).contains("inf"));
    }

    #[test]
    fn an_idle_connection_has_its_share_of_memory_and_time() {
        let idle = IdleOutcome {
            connections: 1_000,
            seconds: 10.0,
            resident_before: Some(5_000_000),
            resident_after: Some(6_500_000),
            cpu_nanos: Some(20_000_000),
        };
        let expected =
            "{\"idle\":1000,\"seconds\":10.000,\"bytes_per_connection\":1500,\"broker_cpu_percent\":0.200}\n";
        assert_eq!(idle.json(), expected);
        let expected = "1000 idle connections for 10 s\nbroker memory          1500 bytes for each\nbroker CPU             0.20 % of a core\n";
        assert_eq!(idle.text(), expected);
        let unknown = IdleOutcome { resident_before: None, ..idle };
        assert_eq!(unknown.json(), "{\"idle\":1000,\"seconds\":10.000}\n");
    }
}
