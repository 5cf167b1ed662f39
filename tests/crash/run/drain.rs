//! The end of a round: everybody connects and takes everything, and the books are settled.

use super::Run;
use crate::subscriber::Role;

impl Run {
    /// Nothing is published any more but the ends, which come after everything else.
    pub(super) fn drain(&mut self) {
        if let Some(mourned) = self.mourned.take() {
            mourned.vanish(&mut self.ledger);
        }
        let ready = |run: &Self| {
            run.publishers.iter().all(|publisher| publisher.is_done())
                && run.subscribers.iter().all(|subscriber| subscriber.is_ready())
        };
        self.until("everything is acknowledged", ready, Self::take);
        let publishers = self.publishers.iter_mut();
        let ends: Vec<usize> = publishers.map(|publisher| publisher.publish_end(&mut self.ledger)).collect();
        let ended = |run: &Self| {
            let readers = run.subscribers.iter().filter(|subscriber| subscriber.role == Role::Reader);
            let accounts = readers.map(|subscriber| subscriber.account());
            accounts
                .flat_map(|who| ends.iter().map(move |end| (who, *end)))
                .all(|(who, end)| run.ledger.has(who, end))
        };
        self.until("the last messages are there", |run| ended(run) && ready(run), Self::take);
        self.until("the group has all messages", |run| run.ledger.crew_has_all(), Self::take);
        self.until("all wills are there", |run| !run.ledger.awaits_wills(), Self::take);
        let idle = |run: &Self| run.subscribers.iter().all(|subscriber| subscriber.is_idle());
        self.until("all messages are complete", idle, Self::take);
        self.ping_all();
        self.ledger.settle();
        self.come_back();
        self.audit();
    }

    /// Whoever has acknowledged everything gets nothing any more on the next connection.
    fn come_back(&mut self) {
        let address = self.address();
        for subscriber in &mut self.subscribers {
            subscriber.link.leave(false);
            // What may be missing in the group's books may still come.
            subscriber.expects_nothing = subscriber.role == Role::Reader;
            subscriber.connect(address);
        }
        let online = |run: &Self| run.subscribers.iter().all(|subscriber| subscriber.link.is_online);
        self.until("all sessions go on", online, Self::take);
        self.ping_all();
        self.subscribers.iter_mut().for_each(|subscriber| subscriber.expects_nothing = false);
    }

    /// The broker has handled everything that was sent when it answers this.
    fn ping_all(&mut self) {
        self.subscribers.iter_mut().for_each(|subscriber| subscriber.ping());
        let answered = |run: &Self| !run.subscribers.iter().any(|subscriber| subscriber.is_pinging());
        self.until("all pings are answered", answered, Self::take);
    }

    /// Everybody connects and acknowledges at once.
    fn take(&mut self) {
        let address = self.address();
        for publisher in &mut self.publishers {
            if !publisher.link.is_connected() {
                publisher.link.connect(address, None);
            }
        }
        for subscriber in &mut self.subscribers {
            if !subscriber.link.is_connected() {
                subscriber.connect(address);
            }
            while subscriber.answer() {}
        }
    }
}
