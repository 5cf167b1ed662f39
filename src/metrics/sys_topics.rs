//! `$SYS/broker/...`: topics and values for people and for monitoring that knows Mosquitto. Its names are kept where it
//! has them, with its meanings; `dropped`, `connections`, `queued messages`, `cores` and the counts by QoS are Pantala's.

use super::load::{Load, WINDOWS};
use super::{Refused, ShardReport};
use crate::engine::StoreState;
use crate::types::Span;

const PREFIX: &str = "$SYS/broker";

/// A topic below the prefix, and what it shows of one shard. The broker's value is the sum.
type Shown = (&'static str, fn(&ShardReport) -> u64);

/// Shown for the broker and, under `cores/<n>`, for each shard.
const EVERYWHERE: [Shown; 14] = [
    ("clients/connected", |s| s.engine.connected),
    ("clients/total", |s| s.engine.sessions),
    ("messages/received", |s| s.engine.counters.packets_in),
    ("messages/sent", |s| s.traffic.packets_sent),
    ("publish/messages/received", |s| s.engine.counters.publish_in.iter().sum()),
    ("publish/messages/sent", |s| s.engine.counters.publish_out.iter().sum()),
    ("publish/messages/dropped", dropped),
    ("publish/messages/forwarded", |s| s.engine.counters.forwarded),
    ("bytes/received", |s| s.traffic.bytes_received),
    ("bytes/sent", |s| s.traffic.bytes_sent),
    ("subscriptions/count", |s| s.engine.subscriptions),
    ("retained messages/count", |s| s.engine.retained_messages),
    ("retained messages/bytes", |s| s.engine.retained_bytes),
    ("queued messages/count", |s| s.engine.queued_messages),
];

/// Shown for the broker only.
const BROKER: [Shown; 24] = [
    ("clients/disconnected", |s| s.engine.sessions.saturating_sub(s.engine.connected)),
    ("clients/expired", |s| s.engine.counters.sessions_expired),
    ("connections/opened", |s| s.traffic.opened),
    ("connections/strangers", |s| s.traffic.strangers),
    ("connections/logins", |s| s.traffic.logins),
    ("connections/accepted", |s| s.engine.counters.connects),
    ("connections/refused", |s| s.engine.counters.refused),
    ("connections/closed", |s| s.engine.counters.disconnects),
    ("connections/taken over", |s| s.engine.counters.takeovers),
    ("connections/violations", |s| s.engine.counters.violations),
    ("connections/timeouts", |s| s.engine.counters.keep_alive_timeouts),
    ("publish/messages/received/qos0", |s| s.engine.counters.publish_in[0]),
    ("publish/messages/received/qos1", |s| s.engine.counters.publish_in[1]),
    ("publish/messages/received/qos2", |s| s.engine.counters.publish_in[2]),
    ("publish/messages/sent/qos0", |s| s.engine.counters.publish_out[0]),
    ("publish/messages/sent/qos1", |s| s.engine.counters.publish_out[1]),
    ("publish/messages/sent/qos2", |s| s.engine.counters.publish_out[2]),
    ("publish/messages/resent", |s| s.engine.counters.resent),
    ("publish/held back", |s| s.traffic.held_back),
    ("publish/messages/wills", |s| s.engine.counters.wills),
    ("queued messages/bytes", |s| s.engine.queued_bytes),
    // Mosquitto's sum of retained and waiting messages.
    ("store/messages/count", |s| s.engine.retained_messages + s.engine.queued_messages),
    ("store/messages/bytes", |s| s.engine.retained_bytes + s.engine.queued_bytes),
    ("messages/stored", |s| s.engine.retained_messages + s.engine.queued_messages),
];

/// Shown under `load` as averages per minute.
const LOADS: [Shown; 8] = [
    ("connections", |s| s.engine.counters.connects),
    ("messages/received", |s| s.engine.counters.packets_in),
    ("messages/sent", |s| s.traffic.packets_sent),
    ("publish/received", |s| s.engine.counters.publish_in.iter().sum()),
    ("publish/sent", |s| s.engine.counters.publish_out.iter().sum()),
    ("publish/dropped", dropped),
    ("bytes/received", |s| s.traffic.bytes_received),
    ("bytes/sent", |s| s.traffic.bytes_sent),
];

fn dropped(shard: &ShardReport) -> u64 {
    shard.engine.counters.dropped.by_reason().iter().map(|(_, count)| count).sum()
}

/// A topic and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    topic: String,
    value: String,
}

/// Turns the shards' reports into topics, and remembers what was shown: a value that stands is not published again,
/// since its subscribers have it and newcomers get it as a retained message.
#[derive(Debug, Default)]
pub struct SysTopics {
    shown: Vec<Line>,
    loads: [Load; LOADS.len()],
    clients_maximum: u64,
    uptime: Span,
}

impl SysTopics {
    /// The topics and values that changed since the last update, to be published as retained messages. `uptime` is the
    /// time since the broker started, `shards` the report of each shard by its number.
    pub fn update(&mut self, uptime: Span, shards: &[ShardReport]) -> impl Iterator<Item = (&str, &str)> {
        let elapsed = Span(uptime.0.saturating_sub(self.uptime.0));
        self.uptime = uptime;
        for (load, (_, of)) in self.loads.iter_mut().zip(LOADS) {
            load.update(shards.iter().map(of).sum(), elapsed);
        }
        let connected = shards.iter().map(|shard| shard.engine.connected).sum();
        self.clients_maximum = self.clients_maximum.max(connected);
        let lines = self.lines(shards);
        let before = std::mem::replace(&mut self.shown, lines);
        // The lines always come in the same order, so the one before stands at the same place.
        self.shown
            .iter()
            .enumerate()
            .filter(move |(index, line)| before.get(*index) != Some(line))
            .map(|(_, line)| (line.topic.as_str(), line.value.as_str()))
    }

    fn lines(&self, shards: &[ShardReport]) -> Vec<Line> {
        let mut lines = Vec::with_capacity(self.shown.len());
        let mut show = |topic: String, value: String| {
            lines.push(Line { topic: format!("{PREFIX}/{topic}"), value });
        };
        show("version".to_owned(), concat!("pantala version ", env!("CARGO_PKG_VERSION")).to_owned());
        show("uptime".to_owned(), format!("{} seconds", self.uptime.as_secs()));
        for (topic, of) in EVERYWHERE.iter().chain(&BROKER) {
            show((*topic).to_owned(), shards.iter().map(of).sum::<u64>().to_string());
        }
        show("clients/maximum".to_owned(), self.clients_maximum.to_string());
        show("store/state".to_owned(), store_state(shards).to_owned());
        for (reason, count) in dropped_by_reason(shards) {
            show(format!("dropped/{reason}"), count.to_string());
        }
        for (reason, count) in refused_by_reason(shards) {
            show(format!("refused/{reason}"), count.to_string());
        }
        for (load, (topic, _)) in self.loads.iter().zip(LOADS) {
            for (average, (window, _)) in load.per_minute.iter().zip(WINDOWS) {
                show(format!("load/{topic}/{window}"), format!("{average:.2}"));
            }
        }
        for (number, shard) in shards.iter().enumerate() {
            for (topic, of) in EVERYWHERE {
                show(format!("cores/{number}/{topic}"), of(shard).to_string());
            }
        }
        lines
    }
}

/// Whether the store takes messages, as far as the shards have heard.
fn store_state(shards: &[ShardReport]) -> &'static str {
    let is = |state| shards.iter().any(|shard| shard.engine.store == state);
    if is(StoreState::Refusing) {
        "refusing"
    } else if is(StoreState::Ready) {
        "ready"
    } else {
        "off"
    }
}

/// The same for connections.
fn refused_by_reason(shards: &[ShardReport]) -> Vec<(&'static str, u64)> {
    let mut sums = Refused::default().by_reason().to_vec();
    for shard in shards {
        for (sum, (_, count)) in sums.iter_mut().zip(shard.traffic.refused.by_reason()) {
            sum.1 += count;
        }
    }
    sums
}

/// The sum over all shards for each reason.
fn dropped_by_reason(shards: &[ShardReport]) -> Vec<(&'static str, u64)> {
    let mut sums = crate::engine::Dropped::default().by_reason().to_vec();
    for shard in shards {
        for (sum, (_, count)) in sums.iter_mut().zip(shard.engine.counters.dropped.by_reason()) {
            sum.1 += count;
        }
    }
    sums
}

#[cfg(test)]
mod tests;
