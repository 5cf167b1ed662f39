//! What a client hears of the broker, and what it makes of that.

use super::{Client, Known, Stage, Stand, number};
use crate::oracle::{Verdict, ensure};
use crate::stored::ledger::{Arrival, Ledger, MessageId};
use pantala::codec::{Ack, ConnAck, Packet, Publish, ReasonCode, Split, decode, split};
use pantala::types::{PacketId, QoS};

impl Client {
    /// Handles bytes of the broker.
    pub(in crate::stored) fn hear(&mut self, bytes: &[u8], ledger: &mut Ledger) -> Verdict {
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        while let Split::Whole { frame, len } = split(&input[at..], u32::MAX)
            .map_err(|error| format!("{} cannot read: {error}", self.habits.name))?
        {
            let packet =
                decode(frame, self.habits.version).map_err(|error| format!("{frame:02x?}: {error}"))?;
            self.packet(&packet, ledger).map_err(|wrong| format!("{}: {wrong}", self.habits.name))?;
            at += len;
        }
        self.input = input[at..].to_vec();
        Ok(())
    }

    fn packet(&mut self, packet: &Packet<'_>, ledger: &mut Ledger) -> Verdict {
        match packet {
            Packet::ConnAck(connack) => return self.connected(connack, ledger),
            Packet::Publish(publish) => return self.got(publish, ledger),
            Packet::PubAck(ack) => return self.settled(ack, QoS::AtLeastOnce, ledger),
            Packet::PubRec(ack) => return self.settled(ack, QoS::ExactlyOnce, ledger),
            Packet::PubComp(ack) => {
                self.outgoing.retain(|known| known.id != ack.packet_id || known.stage != Stage::Released);
            }
            Packet::PubRel(ack) => {
                self.let_go_of(ack.packet_id);
                let answer = self.bytes(&Packet::PubComp(Ack::new(ack.packet_id, ReasonCode::Success)));
                self.answers.push_back(answer);
            }
            Packet::SubAck(suback) => {
                let taken = suback.codes.iter().all(|&code| code < 3);
                self.subscribed(suback.packet_id, taken, ledger);
            }
            Packet::UnsubAck(unsuback) => {
                if let Some(filter) = self.requests.remove(&unsuback.packet_id.get())
                    && let Some((stint, _)) = self.subscriptions.remove(filter)
                {
                    ledger.unsubscribed(self.account, stint);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A message of QoS 2 is complete.
    fn let_go_of(&mut self, id: PacketId) {
        self.forgotten.remove(&id.get());
        self.held.remove(&id.get());
    }

    fn connected(&mut self, connack: &ConnAck<'_>, ledger: &mut Ledger) -> Verdict {
        if connack.code != 0 {
            // The store takes no new session at present.
            return Ok(());
        }
        let (now, calm) = self.read;
        let (must, may) = self.session(now);
        let may = may || !calm && self.known == Known::Yes;
        let (must, may) = (must && !self.clean_start, may && !self.clean_start);
        let present = connack.session_present;
        ensure!(present || !must, "the session is gone");
        ensure!(!present || may, "a session that is none of its own");
        if !present {
            self.forget(ledger);
            self.will_is_sure = self.lasts();
            self.born = if self.lasts() { now } else { self.born };
        }
        self.former = self
            .gone
            .filter(|_| present)
            .map(|(first, _)| self.former.map_or(first, |known| known.min(first)));
        (self.known, self.doubt, self.open, self.gone) = (Known::Yes, false, true, None);
        let again: Vec<_> =
            self.outgoing.iter().map(|known| (known.id, known.message, known.stage)).collect();
        for (id, message, stage) in again {
            if stage == Stage::Released {
                self.say_pubrel(id);
                continue;
            }
            ledger.sent_again(message);
            let draft = self.outgoing.iter().find(|known| known.id == id).map(|known| known.draft.clone());
            draft.iter().for_each(|draft| self.say_publish(id, message, draft, true));
        }
        Ok(())
    }

    fn subscribed(&mut self, id: PacketId, taken: bool, ledger: &mut Ledger) {
        let Some(filter) = self.requests.remove(&id.get()) else { return };
        let Some((stint, stand)) = self.subscriptions.get_mut(filter) else { return };
        if taken && *stand == Stand::Asked {
            *stand = Stand::Held;
            self.will_is_sure = true;
            ledger.subscribed(self.account, *stint);
        } else if *stand == Stand::Asked {
            ledger.unsubscribed(self.account, *stint);
            self.subscriptions.remove(filter);
        }
    }

    fn got(&mut self, publish: &Publish<'_>, ledger: &mut Ledger) -> Verdict {
        let Publish { qos, retain, dup, packet_id, .. } = *publish;
        if publish.payload.is_empty() {
            // It clears what is retained, and tells nothing more.
            return self.answer_to(qos, packet_id, None);
        }
        let message = number(publish.payload)?;
        let topic = publish.topic.to_owned();
        if retain {
            self.found.insert(topic.clone(), message);
        }
        let again = packet_id.and_then(|id| self.held.get(&id.get())).copied();
        let again = again.filter(|_| qos == QoS::ExactlyOnce);
        ensure!(again.is_none_or(|held| held == message), "{message} instead of {again:?} before its PUBREL");
        if again.is_none() {
            ledger.arrived(self.account, &Arrival { message, topic, qos, retain, dup })?;
        }
        self.answer_to(qos, packet_id, Some(message))
    }

    fn answer_to(&mut self, qos: QoS, id: Option<PacketId>, message: Option<MessageId>) -> Verdict {
        let Some(id) = id else { return Ok(()) };
        let ack = Ack::new(id, ReasonCode::Success);
        if qos == QoS::ExactlyOnce {
            self.held.insert(id.get(), message.unwrap_or(MessageId::MAX));
        }
        let packet = if qos == QoS::AtLeastOnce { Packet::PubAck(ack) } else { Packet::PubRec(ack) };
        let answer = self.bytes(&packet);
        self.answers.push_back(answer);
        Ok(())
    }

    fn settled(&mut self, ack: &Ack<'_>, qos: QoS, ledger: &mut Ledger) -> Verdict {
        let at = self.outgoing.iter().position(|known| {
            known.id == ack.packet_id && known.stage == Stage::Published && known.draft.qos == qos
        });
        let Some(at) = at else {
            // A PUBREC may come twice, for a PUBLISH that was sent twice.
            let released = self.outgoing.iter().any(|known| known.id == ack.packet_id);
            ensure!(qos == QoS::ExactlyOnce && released, "{ack:?} for what was not published");
            return Ok(());
        };
        let message = self.outgoing[at].message;
        if ack.reason.is_error() {
            ensure!(self.habits.version.is_v5(), "{ack:?} to an older client");
            ledger.refused(message);
            self.outgoing.remove(at);
            return Ok(());
        }
        ledger.acknowledged(message);
        if qos == QoS::ExactlyOnce {
            self.outgoing[at].stage = Stage::Released;
            self.say_pubrel(ack.packet_id);
        } else {
            self.outgoing.remove(at);
        }
        Ok(())
    }
}
