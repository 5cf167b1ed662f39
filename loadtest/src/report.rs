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
    /// In nanoseconds.
    pub(crate) latencies: Histogram<u64>,
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
