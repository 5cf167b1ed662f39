//! What arrives at subscribers, held against what they are owed.

use super::{Arrival, GROUP, Ledger, MessageId, Stint, WILL};
use crate::oracle::{Verdict, ensure};
use crate::shadow::matches;
use pantala::types::{Now, QoS};

impl Ledger {
    /// A message is on its way to a subscriber.
    pub(in crate::stored) fn offered(&self, index: MessageId, now: Now) -> Verdict {
        let Some(message) = self.messages.get(index) else {
            return Err(format!("message {index} is nobody's"));
        };
        if let (Some(expiry), Some((_, taken))) = (message.expiry, message.taken) {
            ensure!(now < taken + expiry, "message {index} had expired [MQTT-3.3.2-5]: {message:?}");
        }
        Ok(())
    }

    /// A message arrived at a subscriber that is no repetition of a QoS 2 message it still has the packet id of.
    pub(in crate::stored) fn arrived(&mut self, who: usize, arrival: &Arrival) -> Verdict {
        let index = arrival.message;
        let known = self.messages.get(index).is_some_and(|message| message.topic == arrival.topic);
        ensure!(known, "{who} got what nobody sent: {arrival:?}");
        self.arrivals += 1;
        // What was retained comes for a subscription, and does not count as delivered.
        if arrival.retain {
            return Ok(());
        }
        self.check_reason(who, index)?;
        self.check_order(who, index)?;
        self.count(who, arrival)?;
        self.shared.remove(&index);
        let debt = self.accounts[who].owed.remove(&index);
        let enough = debt.as_ref().is_none_or(|debt| arrival.qos >= debt.qos);
        ensure!(enough, "{who} was owed {debt:?} and got {arrival:?}");
        Ok(())
    }

    /// Some subscription has to be why it came.
    fn check_reason(&self, who: usize, index: MessageId) -> Verdict {
        let message = &self.messages[index];
        let (first, last) = (message.sent_at, message.acknowledged_at.unwrap_or(self.clock));
        let wants = |stint: &Stint| {
            let plain = stint.filter.strip_prefix(GROUP).unwrap_or(&stint.filter);
            matches(plain, &message.topic)
        };
        // A core that has not heard yet that another one wants it no more sends it there, and who subscribes there meanwhile
        // gets it.
        let all = self.accounts.iter().flat_map(|account| &account.stints);
        let was_wanted = all.filter(|stint| stint.from <= last).any(wants);
        let is_reason =
            |stint: &Stint| was_wanted && stint.until.is_none_or(|until| until >= first) && wants(stint);
        // Wills are published some time after they were announced, and shared messages go to members who came later.
        let late = message.sent == WILL || message.topic.starts_with('s');
        let stints = &self.accounts[who].stints;
        ensure!(late || stints.iter().any(is_reason), "{who} has no reason to get {index}: {message:?}");
        Ok(())
    }

    /// First deliveries of what was owed come in the order of publication, on each topic and in each QoS.
    /// [MQTT-4.6.0-6]
    fn check_order(&mut self, who: usize, index: MessageId) -> Verdict {
        let message = &self.messages[index];
        let key = (message.topic.clone(), message.publisher, message.qos as u8);
        let account = &mut self.accounts[who];
        if account.got.contains_key(&index) {
            return Ok(());
        }
        // What expired where it waited, or was not taken at first, and was sent again, comes behind what it was before.
        let again = message.sent > 1 && (message.expiry.is_some() || message.refused);
        let newest = account.newest.get(&key).copied();
        let late = newest.filter(|newest| *newest > index && account.owed.contains_key(&index));
        ensure!(again || late.is_none(), "{who} got {index} after {newest:?} of the same topic: {message:?}");
        account.newest.insert(key, newest.map_or(index, |newest| newest.max(index)));
        Ok(())
    }

    fn count(&mut self, who: usize, arrival: &Arrival) -> Verdict {
        let (life, message) = (self.life, &self.messages[arrival.message]);
        let got = self.accounts[who].got.entry(arrival.message).or_default();
        if got.life != life {
            (got.life, got.plain) = (life, 0);
        }
        // One of QoS 1 may have come before, and be forgotten by the broker.
        ensure!(!got.exactly_once, "{who} got twice {arrival:?}: {got:?}");
        got.plain += u32::from(!arrival.dup);
        got.exactly_once = arrival.qos == QoS::ExactlyOnce;
        let shared = message.topic.starts_with('s');
        ensure!(
            shared || got.plain <= message.sent,
            "{who} got too often without DUP {arrival:?}: {message:?}"
        );
        Ok(())
    }
}
