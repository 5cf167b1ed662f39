//! Messages that expire in the store while their clients are away. [MQTT-3.3.2-5]
//!
//! The store finds them, but only the core of a session knows which of them nobody is about to get: it lets go of those.

use super::{Engine, Expired};

impl Engine {
    /// The store has found messages that have expired. Those of a client that is connected are left to it: they are dropped
    /// when it would get them.
    pub fn expired(&mut self, expired: Expired) {
        let Expired { client_id, session: id, places, until } = expired;
        let Some(&key) = self.by_client.get(&client_id) else { return };
        let Self { sessions, durable, handovers, gauges, counters, .. } = self;
        let Some(session) = sessions.get_mut(key) else { return };
        // What was let go of before is not found again, unless that was under way; nor is what is just leaving for others.
        if handovers.is_busy(id)
            || session.stored != Some(id)
            || session.link().is_some()
            || session.swept > until
        {
            return;
        }
        gauges.queued_messages -= session.queue.len() as u64;
        gauges.queued_bytes -= session.queue.bytes();
        // Earlier ones may have been sent, with packet ids that their client remembers.
        for place in places.into_iter().filter(|place| place.seq >= session.unsent_from) {
            if session.queue.expire(place.seq, u64::from(place.size)).is_some() {
                durable.leave(place);
                session.dropped += 1;
                counters.dropped.expired += 1;
                session.swept = durable.last();
            }
        }
        gauges.queued_messages += session.queue.len() as u64;
        gauges.queued_bytes += session.queue.bytes();
    }
}
