//! A broker that lives and dies, its publisher and its subscribers.

use super::PATIENCE;
use super::client::{Client, Heard};
use super::ledger::{Kind, Ledger};
use super::power::{Cut, Shim};
use pantala::codec::{Packet, Version};
use pantala::types::{PacketId, QoS, Rng};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use tempfile::TempDir;

/// Messages on their way to the broker at a time.
const WINDOW: usize = 48;
/// The publisher's and each subscriber's topics of a kind.
const TOPICS: u64 = 4;
/// What a payload says after its number, at most: enough for a checkpoint every few lives.
const PADDING: u64 = 12_000;
const FILTERS: [(Kind, &str); 2] = [(Kind::One, "one/#"), (Kind::Two, "two/#")];
/// A retained message of no other meaning.
const END: &str = "end";

/// A message that is not completely acknowledged.
#[derive(Debug)]
struct Outgoing {
    message: usize,
    id: PacketId,
    padding: usize,
    /// PUBREC has come.
    released: bool,
}

/// A client whose session lasts.
#[derive(Debug)]
struct Subscriber {
    version: Version,
    /// PUBLISH with these has come, for this message, and PUBREL has not.
    received: BTreeMap<PacketId, u64>,
    /// One in so many lives it connects.
    wakes: u64,
}

/// What a subscriber heard.
enum Taken {
    /// This message, perhaps not for the first time.
    Message(u64),
    SubAck,
    PingResp,
    Other,
}

/// All of it.
pub(crate) struct World {
    rng: Rng,
    folder: TempDir,
    durability: &'static str,
    shim: Shim,
    broker: Option<(Child, SocketAddr)>,
    pub(crate) ledger: Ledger,
    publisher: Version,
    window: Vec<Outgoing>,
    subscribers: Vec<Subscriber>,
    /// Subscribed just before the last cut.
    late: Option<String>,
    cuts: u64,
    cut: Cut,
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ledger = &self.ledger;
        let acknowledged = ledger.messages.iter().filter(|message| message.acknowledged).count();
        let (losses, repeated, violations) = (ledger.losses, ledger.repeated, ledger.violations.len());
        write!(
            f,
            "{} cuts, {acknowledged} messages acknowledged, {losses} deliveries lost, {repeated} repeated, \
             {violations} violations; {}",
            self.cuts, self.cut
        )
    }
}

impl World {
    pub(crate) fn new(seed: u64, durability: &'static str) -> Self {
        let mut rng = Rng::new(seed);
        let mut ledger = Ledger::default();
        let accounts: [(&str, &[Kind], u64); 3] =
            [("one", &[Kind::One], 2), ("two", &[Kind::Two], 2), ("sleeper", &[Kind::One, Kind::Two], 8)];
        let mut subscribers = Vec::new();
        for (name, takes, wakes) in accounts {
            ledger.account(name, takes);
            let version = *rng.pick(&[Version::V311, Version::V5]);
            subscribers.push(Subscriber { version, received: BTreeMap::new(), wakes });
        }
        let mut world = Self {
            publisher: *rng.pick(&[Version::V311, Version::V5]),
            rng,
            folder: tempfile::tempdir().expect("a temporary folder"),
            durability,
            shim: Shim::new(),
            broker: None,
            ledger,
            window: Vec::new(),
            subscribers,
            late: None,
            cuts: 0,
            cut: Cut::default(),
        };
        world.start();
        for number in 0..world.subscribers.len() {
            drop(world.wake(number, true));
        }
        world
    }

    fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// Starts the broker on its folder. One that does not come up again is a violation, and the end of this world.
    fn start(&mut self) {
        let (config, log) = (self.folder.path().join("pantala.toml"), self.folder.path().join("log"));
        // A queue that is full drops what was acknowledged, and over many lives that of the sleeper would be.
        let settings = format!(
            "[store]\npath = {:?}\ndurability = \"{}\"\nreserve_bytes = 8_388_608\nsegment_bytes = 1_048_576\n\
             checkpoint_bytes = 1_048_576\n[session]\nqueue_memory_bytes = 4_096\n\
             queue_messages_max = 10_000_000\nqueue_bytes_max = 10_000_000_000\n\
             [[listener]]\nurl = \"tcp://127.0.0.1:0\"\n",
            self.data().display().to_string(),
            self.durability
        );
        std::fs::write(&config, settings).expect("a settings file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_pantala"));
        command.arg("--config").arg(&config).args(["--shards", "2"]);
        let log_file = std::fs::File::create(&log).expect("a log file");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file);
        self.shim.record(&mut command, &self.data(), &self.folder.path().join("recording"));
        let mut process = command.spawn().expect("the program starts");
        let out = process.stdout.take().expect("is piped");
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(out).read_line(&mut line);
            let _ = sender.send(line);
        });
        let ready = receiver.recv_timeout(PATIENCE).unwrap_or_default();
        match ready.trim().strip_prefix("listening on tcp://").and_then(|address| address.parse().ok()) {
            Some(address) => self.broker = Some((process, address)),
            None => {
                let _ = process.kill();
                let _ = process.wait();
                let log = std::fs::read_to_string(log).unwrap_or_default();
                self.ledger.violation(&format!("the broker does not start: {log}"));
            }
        }
    }

    fn address(&self) -> SocketAddr {
        self.broker.as_ref().expect("it runs").1
    }

    /// One life, and the power cut that ends it.
    pub(crate) fn life(&mut self) {
        if self.broker.is_none() {
            return;
        }
        self.ledger.life += 1;
        self.look_for_late();
        if self.rng.chance(1, 3) {
            self.look_at_retained();
        }
        let mut awake = Vec::new();
        for number in 0..self.subscribers.len() {
            if self.rng.chance(1, self.subscribers[number].wakes) {
                let mut client = self.wake(number, false);
                for _ in 0..self.rng.below(20) {
                    self.drain(number, &mut client);
                }
                awake.push((number, client));
            }
        }
        self.publish(&mut awake);
        if self.rng.chance(1, 4) {
            let name = format!("late-{}", self.ledger.life);
            let (mut client, _) = Client::connect(self.address(), &name, Version::V5, false);
            client.subscribe("late", QoS::ExactlyOnce);
            self.late = Some(name);
        }
        self.power_cut();
        self.start();
    }

    /// A life in which syncs of the journal fail, one after the other, while messages come; the broker goes on after each.
    pub(crate) fn outlives_failed_syncs(&mut self, count: u32) {
        self.ledger.life += 1;
        let mut client = self.resume_v311();
        for _ in 0..count {
            self.shim.fail_sync(".journal");
            let mut goes_on = false;
            while !goes_on {
                // Once it has failed, an acknowledgement says that it takes messages again.
                goes_on = self.shim.has_failed();
                if !self.publishes_one(&mut client) {
                    // Who waits for the store in that moment is sent away.
                    (client, goes_on) = (self.resume_v311(), false);
                }
            }
        }
        self.power_cut();
        self.start();
    }

    /// A life that a failed sync of such a file ends, and a power cut after it. What the broker said last.
    pub(crate) fn dies_of_a_failed_sync(&mut self, of: &str) -> (ExitStatus, String) {
        self.ledger.life += 1;
        let mut client = self.resume_v311();
        self.shim.fail_sync(of);
        while self.publishes_one(&mut client) {}
        let (mut process, _) = self.broker.take().expect("it ran");
        let status = process.wait().expect("it is our child");
        let log = std::fs::read_to_string(self.folder.path().join("log")).expect("a log");
        self.lose_power();
        self.start();
        (status, log)
    }

    /// A client of 3.1.1 is either acknowledged or disconnected.
    fn resume_v311(&mut self) -> Client {
        self.publisher = Version::V311;
        self.resume()
    }

    /// Keeps the window full until something is acknowledged; false when the connection ends instead.
    fn publishes_one(&mut self, client: &mut Client) -> bool {
        while self.window.len() < WINDOW {
            self.send(client);
        }
        let heard = client.hear_or_end();
        heard.map(|heard| self.heard(client, &heard)).is_some()
    }

    fn power_cut(&mut self) {
        let (mut process, _) = self.broker.take().expect("it runs");
        let _ = process.kill();
        let status = process.wait().expect("it is our child");
        // Had it ended before by itself, that would be a crash of another kind.
        assert!(status.code().is_none(), "the broker had ended before it was killed: {status}");
        self.lose_power();
    }

    fn lose_power(&mut self) {
        self.cuts += 1;
        self.cut += self.shim.cut(&self.data(), &self.folder.path().join("recording"), &mut self.rng);
    }

    /// Connects a subscriber; the first time it subscribes.
    fn wake(&mut self, number: usize, first: bool) -> Client {
        let (name, version) = (self.ledger.accounts[number].name, self.subscribers[number].version);
        let (mut client, present) = Client::connect(self.address(), name, version, false);
        if !present {
            if !first {
                self.ledger.violation(&format!("the session of {name} is gone"));
            }
            self.subscribers[number].received.clear();
            for (kind, filter) in FILTERS {
                if self.ledger.takes(number, kind) {
                    client.subscribe(filter, kind.qos());
                }
            }
        }
        client
    }

    /// Takes what has come before the answer to a ping.
    fn drain(&mut self, number: usize, client: &mut Client) {
        client.say(&Packet::PingReq);
        while !matches!(self.take(number, client), Taken::PingResp) {}
    }

    /// Takes one packet.
    fn take(&mut self, number: usize, client: &mut Client) -> Taken {
        let received = &mut self.subscribers[number].received;
        match client.hear() {
            Heard::Publish { qos, topic, id: Some(id), payload, .. } => {
                let message = message_of(&payload);
                if qos == QoS::ExactlyOnce {
                    client.acknowledge(Packet::PubRec, id);
                    let before = received.insert(id, message);
                    if before == Some(message) {
                        return Taken::Other;
                    }
                    if let Some(before) = before {
                        let what = format!("{message} came under packet id {id}, which {before} still has");
                        self.ledger.violation(&what);
                    }
                } else {
                    client.acknowledge(Packet::PubAck, id);
                }
                self.ledger.delivered(number, message, &topic, qos);
                Taken::Message(message)
            }
            Heard::PubRel(id) => {
                received.remove(&id);
                client.acknowledge(Packet::PubComp, id);
                Taken::Other
            }
            Heard::SubAck => Taken::SubAck,
            Heard::PingResp => Taken::PingResp,
            other => panic!("a subscriber got {other:?}"),
        }
    }

    /// The publisher comes back, says again what is not acknowledged, and goes on until the cut.
    fn publish(&mut self, awake: &mut [(usize, Client)]) {
        let mut client = self.resume();
        for _ in 0..self.rng.below(100) {
            while self.window.len() < WINDOW {
                self.send(&mut client);
            }
            self.hear(&mut client);
            if let Some((number, subscriber)) = awake.first_mut()
                && self.rng.chance(1, 8)
            {
                self.drain(*number, subscriber);
            }
        }
    }

    fn resume(&mut self) -> Client {
        let (mut client, present) = Client::connect(self.address(), "publisher", self.publisher, false);
        if !present && self.window.iter().any(|outgoing| outgoing.released) {
            self.ledger.violation("the session of the publisher is gone");
        }
        for outgoing in &self.window {
            if outgoing.released {
                client.acknowledge(Packet::PubRel, outgoing.id);
            } else {
                say(&mut client, &self.ledger, outgoing, true);
            }
        }
        client
    }

    fn send(&mut self, client: &mut Client) {
        let kind = match self.rng.below(8) {
            0 => Kind::Kept { clear: self.rng.chance(1, 4) },
            1..=4 => Kind::Two,
            _ => Kind::One,
        };
        let topic = self.rng.below(TOPICS);
        self.send_one(client, kind, topic);
    }

    fn send_one(&mut self, client: &mut Client, kind: Kind, topic: u64) -> u64 {
        let message = self.ledger.sent(kind, topic);
        let padding = if self.rng.chance(1, 2) { self.rng.below(PADDING) } else { 0 };
        let outgoing = Outgoing {
            message,
            id: self.free_id(),
            padding: usize::try_from(padding).expect("small"),
            released: false,
        };
        say(client, &self.ledger, &outgoing, false);
        self.window.push(outgoing);
        message as u64
    }

    /// The lowest one: an id that is used again soon finds out a broker that has forgotten to forget it.
    fn free_id(&self) -> PacketId {
        let used: BTreeSet<PacketId> = self.window.iter().map(|outgoing| outgoing.id).collect();
        (1..).filter_map(PacketId::new).find(|id| !used.contains(id)).expect("the window is small")
    }

    /// The publisher takes one acknowledgement.
    fn hear(&mut self, client: &mut Client) {
        let heard = client.hear();
        self.heard(client, &heard);
    }

    fn heard(&mut self, client: &mut Client, heard: &Heard) {
        let &(Heard::PubAck(id) | Heard::PubRec(id) | Heard::PubComp(id)) = heard else {
            panic!("the publisher got {heard:?}");
        };
        let found = self.window.iter().position(|outgoing| outgoing.id == id);
        let at = found.unwrap_or_else(|| panic!("{heard:?} is for nothing that was sent"));
        self.ledger.acknowledged(self.window[at].message);
        if *heard == Heard::PubRec(id) {
            self.window[at].released = true;
            client.acknowledge(Packet::PubRel, id);
        } else {
            self.window.remove(at);
        }
    }

    /// The session of the client that subscribed just before the cut is there, and is ended.
    fn look_for_late(&mut self) {
        let Some(name) = self.late.take() else { return };
        let (_, present) = Client::connect(self.address(), &name, Version::V5, false);
        if !present {
            self.ledger.violation(&format!("the session of {name} is gone"));
        }
        Client::connect(self.address(), &name, Version::V311, true);
    }

    /// A new client gets what is retained, and nothing else.
    fn look_at_retained(&mut self) {
        let (mut client, _) = Client::connect(self.address(), "newcomer", Version::V311, true);
        // Retained messages come in the order of subscriptions: this one is the last.
        let id = PacketId::MIN;
        client.publish(false, QoS::AtLeastOnce, true, END, id, b"end");
        assert_eq!(client.hear(), Heard::PubAck(id));
        client.ask_for("kept/#", QoS::AtLeastOnce);
        client.ask_for(END, QoS::AtLeastOnce);
        let mut found: BTreeMap<String, u64> = BTreeMap::new();
        loop {
            match client.hear() {
                Heard::SubAck => {}
                Heard::Publish { topic, id: Some(id), payload, retain: true, .. } => {
                    client.acknowledge(Packet::PubAck, id);
                    if topic == END {
                        break;
                    }
                    found.insert(topic, message_of(&payload));
                }
                other => panic!("the newcomer got {other:?}"),
            }
        }
        let mut may = self.ledger.retained();
        for topic in found.keys() {
            may.entry(topic.clone()).or_default();
        }
        for (topic, may) in may {
            let found = found.get(&topic).copied();
            if !may.contains(&found) {
                self.ledger.violation(&format!("{topic} has {found:?} retained, and may have {may:?}"));
            }
        }
    }

    /// Without further cuts everybody gets what is left.
    pub(crate) fn end(&mut self) {
        if self.broker.is_some() {
            self.ledger.life += 1;
            self.look_for_late();
            self.look_at_retained();
            // A broker that forgot a subscription has lost enough: the last messages are to show what, so they must come.
            let mut clients = Vec::new();
            for number in 0..self.subscribers.len() {
                let mut client = self.wake(number, false);
                for (kind, filter) in FILTERS {
                    if self.ledger.takes(number, kind) {
                        client.ask_for(filter, kind.qos());
                        while !matches!(self.take(number, &mut client), Taken::SubAck) {}
                    }
                }
                clients.push(client);
            }
            let mut publisher = self.resume();
            let lasts = [Kind::One, Kind::Two].map(|kind| (kind, self.send_one(&mut publisher, kind, 0)));
            while !self.window.is_empty() {
                self.hear(&mut publisher);
            }
            for (number, client) in clients.iter_mut().enumerate() {
                let mut missing: BTreeSet<u64> = lasts
                    .iter()
                    .filter(|last| self.ledger.takes(number, last.0))
                    .map(|last| last.1)
                    .collect();
                while !missing.is_empty() {
                    if let Taken::Message(message) = self.take(number, client) {
                        missing.remove(&message);
                    }
                }
            }
            self.look_at_retained();
        }
        self.ledger.settle();
    }

    /// Stops the broker in order; the files that it changed without a trace in the recording.
    pub(crate) fn stop(&mut self) -> Vec<String> {
        let (mut process, _) = self.broker.take().expect("it runs");
        kill_process(Pid::from_child(&process), Signal::TERM).expect("it runs");
        let status = process.wait().expect("it is our child");
        assert!(status.success(), "{status}");
        self.shim.unlike(&self.data(), &self.folder.path().join("recording"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((process, _)) = &mut self.broker {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The number that a payload begins with.
fn message_of(payload: &[u8]) -> u64 {
    let digits = payload.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = std::str::from_utf8(&payload[..digits]).expect("digits");
    text.parse().unwrap_or_else(|_| panic!("{:02x?} is not what was sent", &payload[..payload.len().min(32)]))
}

fn say(client: &mut Client, ledger: &Ledger, outgoing: &Outgoing, dup: bool) {
    let message = &ledger.messages[outgoing.message];
    let mut payload = Vec::new();
    if message.kind != (Kind::Kept { clear: true }) {
        payload.extend(outgoing.message.to_string().into_bytes());
        payload.resize(payload.len() + outgoing.padding, b'.');
    }
    let retain = matches!(message.kind, Kind::Kept { .. });
    client.publish(dup, message.kind.qos(), retain, &message.topic, outgoing.id, &payload);
}
