//! `$SYS`: every shard reports to the first, which publishes.

use super::{Item, Shard};
use crate::metrics::{ShardReport, SysTopics};
use crate::types::{Delivery, Message, Now, QoS, ShardId, Span};

/// Reports as they come in, and when the next is due.
#[derive(Debug)]
pub(super) struct Reports {
    interval: Option<Span>,
    started: Now,
    next: Option<Now>,
    /// By shard; the first shard's only.
    latest: Vec<ShardReport>,
    topics: SysTopics,
}

impl Reports {
    pub(super) fn new(id: ShardId, shards: u16, interval: Option<Span>, started: Now) -> Self {
        let kept = if id == ShardId(0) { usize::from(shards) } else { 0 };
        Self {
            interval,
            started,
            next: interval.map(|_| Now(0)),
            latest: vec![ShardReport::default(); kept],
            topics: SysTopics::default(),
        }
    }

    /// When the next report is due.
    pub(super) fn next(&self) -> Option<Now> {
        self.next
    }

    pub(super) fn heard(&mut self, from: ShardId, report: ShardReport) {
        if let Some(latest) = self.latest.get_mut(from.index()) {
            *latest = report;
        }
    }
}

impl Shard {
    /// Reports, if it is time to.
    pub(super) fn report(&mut self) {
        let now = self.world.now;
        let Some(interval) = self.reports.interval.filter(|_| self.reports.next.is_some_and(|at| at <= now))
        else {
            return;
        };
        self.reports.next = Some(now + interval);
        let report = ShardReport { engine: self.engine.report(), traffic: self.world.traffic };
        if self.id != ShardId(0) {
            return self.world.port.push(ShardId(0), Item::Report(Box::new(report)));
        }
        self.reports.heard(self.id, report);
        let delivery = Delivery { qos: QoS::AtMostOnce, retain: true, received: now, expiry: None };
        let shown = self.reports.topics.update(now - self.reports.started, &self.reports.latest);
        for (topic, value) in shown {
            let message = Message::new(topic, &[], value.as_bytes(), delivery);
            self.engine.publish(now, message, &mut self.world);
        }
    }
}
