//! The whole broker: checks the machine, opens the listeners, starts the shards; stops them in reverse.

use crate::access::{
    AccessSettings, Checkers, Faults, Guard, Mail, Outbox, Policy, mailbox, threads_by_default,
};
use crate::control::{Control, HttpListener, Shards, Upgraded};
use crate::mesh::{Mesh, Port};
use crate::sasl::Secret;
use crate::shard::{
    Clock, Door, Handed, Item, Listener, Opened, Plan, Shard, Stop, Storage, StorePlan, Unsuitable, machine,
};
use crate::store::NoStore;
use crate::transport::settings::Framing;
use crate::transport::tls::{Acceptor, TlsError};
use crate::transport::{self, Address, Gate, Identity, IdentityError, ListenError, ListenerSettings};
use crate::types::{Features, HashSeed, Limits, Now, SHARDS_MAX, ShardId, Span};
use crossbeam_channel::{Receiver, bounded};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;
use tracing::{error, info};

/// Batches that wait on one link at most; then the sender stops reading from its clients.
const LINK_BATCHES: usize = 64;
/// The executor's own rings and buffers: little, because sockets do not go through them.
const RING_DEPTH: usize = 16;
const IO_MEMORY: usize = 64 << 10;

/// What a broker is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Addresses to listen on, port 0 for any free port, and what each listener is told.
    pub listeners: Vec<(Address, ListenerSettings)>,
    /// The processor of each shard, 1 to 256 of them. Shards may share one.
    pub cores: Vec<usize>,
    /// The operator's bounds.
    pub limits: Limits,
    /// What is offered of MQTT's optional parts.
    pub features: Features,
    /// Who may come in, and do what.
    pub access: AccessSettings,
    /// How often `$SYS` is published, if at all.
    pub sys_interval: Option<Span>,
    /// Where sessions and retained messages are kept; `None` keeps them until the broker stops.
    pub store: Option<StorePlan>,
    /// Whom the process becomes once it listens, if somebody else.
    pub identity: Option<Identity>,
}

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No cores, or too many.
    #[error("{0} shards were asked for; 1 to {SHARDS_MAX} are possible")]
    Shards(usize),
    /// Something else has the address, or it is not one of this machine's.
    #[error("cannot listen on {0}: {1}")]
    Listen(Address, ListenError),
    /// Its certificates cannot be used.
    #[error("cannot listen on {0} with TLS: {1}")]
    Tls(Address, TlsError),
    /// The machine lacks something.
    #[error(transparent)]
    Machine(#[from] Unsuitable),
    /// An executor could not be made.
    #[error("cannot start an executor on core {0}: {1}")]
    Executor(usize, String),
    /// The thread that serves HTTP could not be made.
    #[error("cannot serve HTTP: {0}")]
    Control(io::Error),
    /// The process cannot become whom it is to be.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Files that say who may come in cannot be used.
    #[error("{0}")]
    Access(#[from] Faults),
    /// No threads for passwords.
    #[error("cannot check passwords: {0}")]
    Checkers(io::Error),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] NoStore),
    /// The kernel refused a descriptor or random numbers.
    #[error("out of resources: {0}")]
    Resources(#[from] Errno),
}

impl StartError {
    /// Whether this machine lacks something that Pantala needs, and not this start alone.
    pub fn is_unsuitable(&self) -> bool {
        matches!(self, Self::Machine(lack) if !matches!(lack, Unsuitable::Resources(_)))
    }
}

/// An address that is listened on, with the port that port 0 became.
#[derive(Clone, Debug)]
pub struct Listening {
    /// Where.
    pub address: Address,
    gate: Arc<Gate>,
}

impl Listening {
    /// Whether only clients on this machine can connect.
    pub fn is_local(&self) -> bool {
        self.address.is_local()
    }

    /// Whether a client without a user name is let in.
    pub fn is_open(&self) -> bool {
        self.gate.is_open()
    }

    /// Whether its clients are sent to another server, or named by what checked their certificates.
    pub fn asks_no_user(&self) -> bool {
        let settings = self.gate.settings();
        settings.redirect.is_some() || settings.username_from_cert.is_some()
    }
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Net(address) => write!(f, "{}://{address}", self.gate.settings().scheme()),
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// A running broker. Dropping it without [`Broker::stop`] leaves its threads running.
#[derive(Debug)]
pub struct Broker {
    listening: Vec<Listening>,
    stop: Arc<Stop>,
    shards: Vec<ExecutorJoinHandle<Result<(), Errno>>>,
    /// Raised when the shards have stopped.
    store_stop: Stop,
    storage: Option<Storage>,
    control: Option<Control>,
    checkers: Checkers,
    access: Access,
}

/// What is needed to read users and rules again.
#[derive(Debug)]
struct Access {
    secret: Secret,
    seed: HashSeed,
    generation: AtomicU64,
    /// To the shards.
    mail: Vec<Outbox<Mail>>,
}

impl Broker {
    /// Starts all parts. Clients can connect when it returns.
    ///
    /// # Errors
    /// The first thing that is missing; nothing is left running then.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let count = settings.cores.len();
        let shards = u16::try_from(count).ok().filter(|&n| (1..=SHARDS_MAX).contains(&usize::from(n)));
        let shards = shards.ok_or(StartError::Shards(count))?;
        machine::raise_limits();
        machine::check()?;
        let Sockets { listening, mut by_shard, http } = listen(settings.listeners, count)?;
        if let Some(identity) = &settings.identity {
            // What is opened from here on, it has to be able to open again.
            identity.assume()?;
        }
        let (seed, secret) = (seed()?, Secret(random()?));
        let policy = Arc::new(Policy::load(&settings.access, 1, secret.clone(), seed)?);
        let boxes: Vec<_> = (0..count).map(|_| mailbox()).collect::<Result<_, _>>()?;
        let mail = boxes.iter().map(|(outbox, _)| outbox.clone()).collect();
        let access = Access { secret, seed, generation: AtomicU64::new(1), mail };
        let guard = Guard::new(&settings.limits, seed);
        let logins = &settings.access.logins;
        let (hooks, hooked) = mpsc::channel(logins.waiting_max as usize);
        let threads = logins.threads.unwrap_or_else(threads_by_default);
        let (desk, checkers) =
            Checkers::start(threads, logins.waiting_max, &hooks).map_err(StartError::Checkers)?;
        let (stop, store_stop) = (Arc::new(Stop::new()?), Stop::new()?);
        let store = settings.store.map(|plan| Opened::open(plan, seed, store_id()?)).transpose()?;
        let clock = Clock::start(store.as_ref().map_or(Now(0), Opened::alive));
        let next_session = store.as_ref().map(Opened::next_session);
        let (ready, started) = bounded(count);
        let ends = shards + u16::from(store.is_some()) + u16::from(!http.is_empty());
        let mut ports = Mesh::new(ends, LINK_BATCHES)?;
        // The store's is the one after the shards', which they know it by.
        let control_port = if http.is_empty() { None } else { ports.pop() };
        let store_port = store.and_then(|store| Some((store, ports.pop()?)));
        let shards_made = Vec::with_capacity(count);
        let mut broker = Self {
            listening,
            stop,
            shards: shards_made,
            store_stop,
            storage: None,
            control: None,
            checkers,
            access,
        };
        for ((id, port), mail) in (0..).map(ShardId).zip(ports).zip(boxes) {
            let plan = Plan {
                id,
                shards,
                limits: settings.limits.clone(),
                features: settings.features.clone(),
                door: Door {
                    policy: Arc::clone(&policy),
                    desk: desk.clone(),
                    mail,
                    remembered: logins.remembered,
                    guard: guard.clone(),
                },
                seed,
                listeners: by_shard.pop().unwrap_or_default(),
                port,
                sys_interval: settings.sys_interval,
                clock,
                stop: Arc::clone(&broker.stop),
                store: next_session,
                ready: Some(ready.clone()),
            };
            let core = settings.cores[id.index()];
            match spawn(core, plan) {
                Ok(handle) => broker.shards.push(handle),
                Err(error) => return Err(broker.give_up(StartError::Executor(core, error))),
            }
        }
        drop((ready, hooks));
        if let Some((store, port)) = store_port {
            match store.start(port, (seed, shards), clock, &broker.store_stop) {
                Ok(storage) => broker.storage = Some(storage),
                Err(error) => return Err(broker.give_up(error.into())),
            }
        }
        let mut broker = broker.await_start(&started, &settings.cores)?;
        let web = control_port.map(|port| (http, Ways { port, shards, next: 0, clock }));
        match Control::start(web, (hooked, desk)) {
            Ok(control) => broker.control = Some(control),
            Err(error) => return Err(broker.give_up(StartError::Control(error))),
        }
        Ok(broker)
    }

    /// Every shard says when it runs; one that ends instead hangs up.
    fn await_start(self, started: &Receiver<()>, cores: &[usize]) -> Result<Self, StartError> {
        if started.iter().take(cores.len()).count() == cores.len() {
            return Ok(self);
        }
        self.stop.raise();
        let mut failed = StartError::Executor(cores[0], "unknown".to_owned());
        for (handle, &core) in self.shards.into_iter().zip(cores) {
            match handle.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => failed = StartError::Resources(error),
                Err(error) => failed = StartError::Executor(core, error.to_string()),
            }
        }
        Err(failed)
    }

    fn give_up(self, error: StartError) -> StartError {
        self.stop();
        error
    }

    /// The addresses that are listened on.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// Reads the files of users and rules again, or others in their place, and lets all shards go by them. Who cannot log in
    /// any more, or has another password, is disconnected.
    ///
    /// # Errors
    /// Everything that is wrong with them; the shards go by what they have then.
    pub fn reload_access(&self, settings: &AccessSettings) -> Result<(), Faults> {
        let Access { secret, seed, generation, mail } = &self.access;
        // Nothing else is published by it.
        let generation = generation.fetch_add(1, Ordering::Relaxed) + 1;
        let policy = Arc::new(Policy::load(settings, generation, secret.clone(), *seed)?);
        mail.iter().for_each(|mail| mail.send(Mail::Policy(Arc::clone(&policy))));
        Ok(())
    }

    /// Reads all certificates again, for connections from now on. Where something is wrong with them, the listener keeps
    /// those that it has; the log says so.
    pub fn reload(&self) {
        for listening in &self.listening {
            match listening.gate.tls().map(Acceptor::reload) {
                Some(Ok(())) => info!(listener = %listening, "certificates were read again"),
                Some(Err(error)) => {
                    error!(listener = %listening, "certificates stay as they were: {error}");
                }
                None => {}
            }
        }
    }

    /// Stops: no new connections, a goodbye to every client, and a few seconds for it to arrive.
    pub fn stop(self) {
        if let Some(control) = self.control {
            control.stop();
        }
        self.stop.raise();
        for shard in self.shards {
            if let Err(error) = shard.join() {
                error!(%error, "a shard had failed");
            }
        }
        self.checkers.stop();
        self.store_stop.raise();
        if let Some(storage) = self.storage {
            storage.join();
        }
        for listening in &self.listening {
            if let Address::Unix(path) = &listening.address {
                transport::remove(path);
            }
        }
    }
}

fn spawn(core: usize, plan: Plan) -> Result<ExecutorJoinHandle<Result<(), Errno>>, String> {
    LocalExecutorBuilder::new(Placement::Fixed(core))
        .name(&format!("shard-{}", plan.id))
        .ring_depth(RING_DEPTH)
        .io_memory(IO_MEMORY)
        .spawn(move || async move {
            Box::pin(Shard::new(plan)?.run()).await;
            Ok(())
        })
        .map_err(|error| error.to_string())
}

/// Sockets that listen.
#[derive(Debug, Default)]
struct Sockets {
    listening: Vec<Listening>,
    /// Those of one shard are together.
    by_shard: Vec<Vec<Listener>>,
    http: Vec<HttpListener>,
}

/// Opens every address once per shard, but for HTTP's, which one thread serves.
fn listen(listeners: Vec<(Address, ListenerSettings)>, shards: usize) -> Result<Sockets, StartError> {
    let mut sockets = Sockets::default();
    sockets.by_shard.resize_with(shards, Vec::new);
    for (address, settings) in listeners {
        let gate = Gate::new(settings, address.is_local());
        let gate = Arc::new(gate.map_err(|error| StartError::Tls(address.clone(), error))?);
        let is_http = gate.settings().framing == Framing::Http;
        let opened = transport::open(&address, gate.settings(), if is_http { 1 } else { shards });
        let (address, opened) = opened.map_err(|error| StartError::Listen(address, error))?;
        sockets.listening.push(Listening { address, gate: Arc::clone(&gate) });
        if is_http {
            let listener = |socket| HttpListener { socket, gate: Arc::clone(&gate) };
            sockets.http.extend(opened.into_iter().map(listener));
            continue;
        }
        for (shard, socket) in sockets.by_shard.iter_mut().zip(opened) {
            shard.push(Listener::new(socket, Arc::clone(&gate)));
        }
    }
    Ok(sockets)
}

/// The control thread's ways to the shards.
#[derive(Debug)]
struct Ways {
    port: Port<Item>,
    shards: u16,
    /// Who gets the next connection, and passes it on to the shard that its client belongs to.
    next: u16,
    clock: Clock,
}

impl Shards for Ways {
    fn take(&mut self, upgraded: Upgraded) {
        let Upgraded { socket, peer, seat, user, tls, input } = upgraded;
        let handed = Handed::upgraded((socket, peer, seat), user, tls, input);
        self.port.push(ShardId(self.next), Item::Connection(Box::new(handed)));
        self.next = (self.next + 1) % self.shards;
    }

    fn flush(&mut self) -> bool {
        self.port.flush();
        !self.port.congested()
    }

    fn now(&self) -> Now {
        self.clock.now()
    }
}

/// Random, so that no journal is taken for another store's.
fn store_id() -> Result<u128, NoStore> {
    Ok(u128::from_ne_bytes(random().map_err(io::Error::from)?))
}

/// Random, so that nobody can prepare topics or client ids that collide.
fn seed() -> Result<HashSeed, Errno> {
    Ok(HashSeed(u64::from_ne_bytes(random()?)))
}

/// Bytes that nobody can guess, 256 of them at most, which come at once.
fn random<const N: usize>() -> Result<[u8; N], Errno> {
    let mut bytes = [0; N];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}
