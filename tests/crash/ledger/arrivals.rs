//! What arrives at subscribers, held against what they are owed.

use super::{Event, Ledger, Stint, WILL, matches};
use crate::wire::Arrival;
use pantala::types::QoS;
use std::time::Instant;

impl Ledger {
    /// A message arrived at a subscriber, on a connection that began at this moment, that is no repetition of a QoS 2 message it
    /// still has the packet id of.
    pub(crate) fn arrived(&mut self, who: usize, arrival: &Arrival, since: Instant) {
        let Some(index) = self.recognise(who, arrival) else { return };
        // What was retained comes for a subscription, and does not count as delivered.
        if arrival.retain {
            return;
        }
        self.note(index, Event::Delivered { to: who, qos: arrival.qos, dup: arrival.dup });
        self.check_reason(who, index);
        self.check_order(who, index);
        self.check_expiry(who, index, arrival, since);
        self.count(who, index, arrival);
        if let Some(debt) = self.accounts[who].owed.remove(&index)
            && arrival.qos < debt.qos
        {
            self.wrong(index, who, &format!("with less than QoS {}", debt.qos as u8));
        }
    }

    /// Which message it is, if it is one of ours as it was sent; nothing for what clears a retained message.
    pub(super) fn recognise(&mut self, who: usize, arrival: &Arrival) -> Option<usize> {
        if arrival.payload.is_empty() {
            return None;
        }
        let known = self.index_of(&arrival.topic, &arrival.payload);
        if known.is_none() {
            let name = &self.accounts[who].name;
            let start = &arrival.payload[..arrival.payload.len().min(40)];
            let text = format!("{name} got on {:?} what nobody sent: {start:02x?}...", arrival.topic);
            self.violation(&text);
        }
        known
    }

    /// Some subscription has to be why it came.
    fn check_reason(&mut self, who: usize, index: usize) {
        let message = &self.messages[index];
        let (first, last) = (message.sent_at, message.acknowledged_at.unwrap_or(self.clock));
        let is_reason = |stint: &Stint| {
            stint.from <= last
                && stint.until.is_none_or(|until| until >= first)
                && matches(&stint.filter, &message.topic)
        };
        // Wills are published some time after they were announced.
        if message.sent != WILL && !self.accounts[who].stints.iter().any(is_reason) {
            self.wrong(index, who, "without a subscription that was there while it was published");
        }
    }

    /// First deliveries of what was owed come in the order of publication, on each topic and in each QoS.
    /// [MQTT-4.6.0-6]
    fn check_order(&mut self, who: usize, index: usize) {
        let message = &self.messages[index];
        let key = (message.topic.clone(), message.qos as u8);
        let account = &mut self.accounts[who];
        if account.got.contains_key(&index) {
            return;
        }
        let newest = account.newest.get(&key).copied();
        match newest.filter(|newest| *newest > index) {
            Some(newest) if account.owed.contains_key(&index) => {
                let before = self.story(newest);
                self.wrong(index, who, &format!("after message {newest} of the same topic\n{before}"));
            }
            Some(_) => {}
            None => {
                account.newest.insert(key, index);
            }
        }
    }

    fn count(&mut self, who: usize, index: usize, arrival: &Arrival) {
        let life = self.life;
        let sent = self.messages[index].sent;
        let got = self.accounts[who].got.entry(index).or_default();
        if got.life != life {
            (got.life, got.plain) = (life, 0);
        }
        let again = got.times > 0;
        got.times += 1;
        got.plain += u32::from(!arrival.dup);
        got.exactly_once |= arrival.qos == QoS::ExactlyOnce;
        let (exactly_once, plain) = (got.exactly_once, got.plain);
        self.counts.delivered += u64::from(!again);
        self.counts.duplicates += u64::from(again && !exactly_once);
        if again && exactly_once {
            self.wrong(index, who, "QoS 2, and delivered more than once");
        }
        if plain > sent {
            self.wrong(index, who, &format!("{plain} times without DUP, and sent {sent} times"));
        }
    }

    /// A QoS 2 message came again with the packet id of one whose PUBREL is outstanding: it has to be that one.
    pub(crate) fn repeated(&mut self, who: usize, arrival: &Arrival, held: &[u8]) {
        if held != arrival.payload {
            let name = &self.accounts[who].name;
            let text =
                format!("{name} got another message with packet id {:?} before its PUBREL", arrival.id);
            self.violation(&text);
        }
    }
}
