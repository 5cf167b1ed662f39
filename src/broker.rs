//! The whole broker: checks the machine, opens the listeners, starts the shards; stops them in reverse.

use crate::mesh::Mesh;
use crate::sasl::Users;
use crate::shard::{Clock, Listener, Opened, Plan, Shard, Stop, Storage, StorePlan, Unsuitable, machine};
use crate::store::NoStore;
use crate::transport::tls::{Acceptor, TlsError};
use crate::transport::{self, Address, Gate, ListenError, ListenerSettings};
use crate::types::{Features, HashSeed, Limits, Now, SHARDS_MAX, ShardId, Span};
use crossbeam_channel::{Receiver, bounded};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fmt;
use std::sync::Arc;
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
    /// Who can log in with SCRAM-SHA-256.
    pub users: Arc<Users>,
    /// How often `$SYS` is published, if at all.
    pub sys_interval: Option<Span>,
    /// Where sessions and retained messages are kept; `None` keeps them until the broker stops.
    pub store: Option<StorePlan>,
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
        match &self.address {
            Address::Net(address) => address.ip().is_loopback(),
            Address::Unix(_) => true,
        }
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
        let (listening, mut listeners) = listen(settings.listeners, count)?;
        let (stop, store_stop) = (Arc::new(Stop::new()?), Stop::new()?);
        let seed = seed()?;
        let opened = settings.store.map(|plan| Opened::open(plan, seed, store_id()?)).transpose()?;
        let clock = Clock::start(opened.as_ref().map_or(Now(0), Opened::alive));
        let next_session = opened.as_ref().map(Opened::next_session);
        let (ready, started) = bounded(count);
        let mut ports = Mesh::new(shards + u16::from(opened.is_some()), LINK_BATCHES)?;
        let store_port = opened.and_then(|opened| Some((opened, ports.pop()?)));
        let shards_made = Vec::with_capacity(count);
        let mut broker = Self { listening, stop, shards: shards_made, store_stop, storage: None };
        for (id, port) in (0..).map(ShardId).zip(ports) {
            let plan = Plan {
                id,
                shards,
                limits: settings.limits.clone(),
                features: settings.features.clone(),
                users: Arc::clone(&settings.users),
                seed,
                listeners: listeners.pop().unwrap_or_default(),
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
        drop(ready);
        if let Some((opened, port)) = store_port {
            match opened.start(port, (seed, shards), clock, &broker.store_stop) {
                Ok(storage) => broker.storage = Some(storage),
                Err(error) => return Err(broker.give_up(error.into())),
            }
        }
        broker.await_start(&started, &settings.cores)
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
        self.stop.raise();
        for shard in self.shards {
            if let Err(error) = shard.join() {
                error!(%error, "a shard had failed");
            }
        }
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

/// Opens every address once per shard. The sockets of one shard are together.
fn listen(
    listeners: Vec<(Address, ListenerSettings)>,
    shards: usize,
) -> Result<(Vec<Listening>, Vec<Vec<Listener>>), StartError> {
    let mut listening = Vec::with_capacity(listeners.len());
    let mut by_shard: Vec<Vec<_>> = std::iter::repeat_with(Vec::new).take(shards).collect();
    for (address, settings) in listeners {
        let gate = Gate::new(settings);
        let gate = Arc::new(gate.map_err(|error| StartError::Tls(address.clone(), error))?);
        let opened = transport::open(&address, gate.settings(), shards);
        let (address, sockets) = opened.map_err(|error| StartError::Listen(address, error))?;
        listening.push(Listening { address, gate: Arc::clone(&gate) });
        for (shard, socket) in by_shard.iter_mut().zip(sockets) {
            shard.push(Listener::new(socket, Arc::clone(&gate)));
        }
    }
    Ok((listening, by_shard))
}

/// Random, so that no journal is taken for another store's.
fn store_id() -> Result<u128, NoStore> {
    let mut bytes = [0; 16];
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(std::io::Error::from)?;
    Ok(u128::from_ne_bytes(bytes))
}

/// Random, so that nobody can prepare topics or client ids that collide.
fn seed() -> Result<HashSeed, Errno> {
    let mut bytes = [0; 8];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(HashSeed(u64::from_ne_bytes(bytes)))
}
