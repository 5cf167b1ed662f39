//! Records in the order of a page: by scenario, and in a scenario by broker.

use crate::record::{Messages, Record};

/// The runs of one scenario.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) series: Vec<Series>,
}

/// The runs of one broker in it.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) runs: Vec<Record>,
}

/// Puts records together, in the order in which scenarios and brokers come first.
pub(super) fn group(records: Vec<Record>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for record in records {
        let (name, broker) = (scenario(&record), broker(&record));
        let at = groups.iter().position(|group| group.name == name).unwrap_or_else(|| {
            groups.push(Group { name, series: Vec::new() });
            groups.len() - 1
        });
        let all = &mut groups[at].series;
        let at = all.iter().position(|series| series.name == broker).unwrap_or_else(|| {
            all.push(Series { name: broker, runs: Vec::new() });
            all.len() - 1
        });
        all[at].runs.push(record);
    }
    groups
}

/// What was done, with what tells it from other runs of the same scenario.
fn scenario(record: &Record) -> String {
    let settings = &record.settings;
    let name = record.scenario.clone();
    let tenth = if record.tenth { ", a tenth of it" } else { "" };
    if let Some(idle) = record.idle {
        return format!("{}{tenth}: {} connections", name.unwrap_or_else(|| "idle".to_owned()), idle.idle);
    }
    if let Some(retained) = record.retained {
        let name = name.unwrap_or_else(|| "retained".to_owned());
        return format!(
            "{name}: {} messages, QoS {}, {} bytes",
            retained.retained, settings.qos, settings.payload
        );
    }
    let shape = format!("{} to {}", settings.publishers, settings.subscribers);
    let load = match (settings.rate, settings.inflight) {
        (Some(rate), _) => format!("{rate} messages/s"),
        (None, Some(inflight)) => format!("{inflight} in flight"),
        (None, None) => String::new(),
    };
    let layers = [
        (settings.tls, "TLS"),
        (settings.websocket, "WebSocket"),
        (settings.persistent, "persistent sessions"),
    ];
    let layers: String =
        layers.into_iter().filter(|(on, _)| *on).map(|(_, name)| format!(", {name}")).collect();
    let name = name.map_or_else(String::new, |name| format!("{name}{tenth}: "));
    format!("{name}{shape}, QoS {}, {load}, {} bytes{layers}", settings.qos, settings.payload)
}

fn broker(record: &Record) -> String {
    record.broker.clone().unwrap_or_else(|| "broker".to_owned())
}

impl Series {
    /// What came of messages, run by run.
    pub(super) fn messages(&self) -> impl Iterator<Item = &Messages> {
        self.runs.iter().filter_map(|run| run.messages.as_ref())
    }

    /// All latencies of all runs, in order: microseconds and how often.
    pub(super) fn latencies(&self) -> Vec<(f64, u64)> {
        let mut all: Vec<(f64, u64)> =
            self.messages().flat_map(|messages| messages.latency_us.clone()).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(scenario: &str, broker: &str) -> Record {
        let messages = Messages { latency_us: vec![(2.0, 1), (1.0, 1)], ..Messages::default() };
        let (scenario, broker) = (Some(scenario.to_owned()), Some(broker.to_owned()));
        Record { scenario, broker, messages: Some(messages), ..Record::default() }
    }

    #[test]
    fn runs_of_one_scenario_are_together_and_so_are_those_of_one_broker() {
        let order = [("pairs", "a"), ("pairs", "b"), ("fan-out", "a"), ("pairs", "a")];
        let groups = group(order.map(|(scenario, broker)| record(scenario, broker)).to_vec());
        let outline: Vec<_> = groups
            .iter()
            .map(|group| {
                group
                    .series
                    .iter()
                    .map(|series| (series.name.as_str(), series.runs.len()))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(outline, [vec![("a", 2), ("b", 1)], vec![("a", 1)]]);
        assert!(groups[0].name.starts_with("pairs: "), "{}", groups[0].name);
        assert!(groups[0].series[0].latencies().is_sorted_by(|a, b| a.0 <= b.0));
        assert_eq!(groups[0].series[0].latencies().len(), 4);
    }
}
