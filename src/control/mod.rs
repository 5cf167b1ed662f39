//! HTTP beside the shards: files for browsers, MQTT.js, the upgrade to WebSocket, and services that say who may come in.
//!
//! Runs on: one ordinary thread that no shard shares a core with by choice. Nothing here is on the way of a message: a
//! connection that becomes a WebSocket is handed to the shards, and is a client's like any other from then on.

mod answer;
mod bundle;
mod files;
mod hook;
mod listener;
mod places;
mod stall;
mod upgrade;

use crate::access::{Desk, Job};
use crate::transport::tls::Session;
use crate::transport::{Gate, Peer, Seat};
use crate::types::{Now, Throttle};
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tracing::warn;

/// A listener of HTTP.
#[derive(Debug)]
pub struct HttpListener {
    /// Its socket, which listens.
    pub socket: OwnedFd,
    /// What it was told.
    pub gate: Arc<Gate>,
}

/// A connection that has become a WebSocket.
#[derive(Debug)]
pub struct Upgraded {
    /// Its socket.
    pub socket: OwnedFd,
    /// Who is at the other end.
    pub peer: Peer,
    /// Its place among those of its listener.
    pub seat: Seat,
    /// Its user's name according to a certificate that a load balancer has checked.
    pub user: Option<Box<str>>,
    /// Its TLS, if it has any.
    pub tls: Option<Session>,
    /// What was read behind the request, and decrypted.
    pub input: Vec<u8>,
}

/// Where connections go that have become WebSockets, and what the time is.
pub trait Shards: Send + 'static {
    /// Takes over a connection.
    fn take(&mut self, upgraded: Upgraded);

    /// Passes on what was taken; false when some of it has to wait, and another call is due soon.
    fn flush(&mut self) -> bool;

    /// The time.
    fn now(&self) -> Now;
}

/// The thread that serves HTTP.
#[derive(Debug)]
pub struct Control {
    stop: Option<oneshot::Sender<()>>,
    thread: JoinHandle<()>,
}

impl Control {
    /// Starts to serve, and to ask the services that `hooks` are for; who has to be asked after those is handed to the desk.
    /// Connections that came since the sockets listen have waited.
    ///
    /// # Errors
    /// Out of descriptors or threads.
    pub fn start(
        web: Option<(Vec<HttpListener>, impl Shards)>,
        (hooks, desk): (mpsc::Receiver<Job>, Desk),
    ) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("control".to_owned()).spawn(move || {
            let tasks = LocalSet::new();
            if let Some((listeners, shards)) = web {
                let site = Rc::new(Site::new(shards));
                for listener in listeners {
                    tasks.spawn_local(listener::serve(listener, Rc::clone(&site)));
                }
            }
            tasks.spawn_local(hook::serve(hooks, desk));
            // It ends when the broker says so, or has let go of it.
            let _ = tasks.block_on(&runtime, stopped);
        })?;
        Ok(Self { stop: Some(stop), thread })
    }

    /// Stops serving: what is under way is broken off.
    pub fn stop(mut self) {
        drop(self.stop.take());
        // A panic of the thread has been told of when it happened.
        let _ = self.thread.join();
    }
}

/// What all connections share.
struct Site {
    shards: RefCell<Box<dyn Shards>>,
    /// Lines of the log about strangers.
    lines: RefCell<Throttle>,
    /// MQTT.js, once somebody has asked for it.
    script: RefCell<Option<bundle::Script>>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").finish_non_exhaustive()
    }
}

impl Site {
    fn new(shards: impl Shards) -> Self {
        Self { shards: RefCell::new(Box::new(shards)), lines: RefCell::default(), script: RefCell::default() }
    }

    /// Tells the operator of a connection that was not served, unless too many of them were told of.
    fn refused(&self, peer: Peer, why: &dyn fmt::Display) {
        let now = self.shards.borrow().now();
        let mut lines = self.lines.borrow_mut();
        if let Some(lines) = lines.settle(now) {
            warn!(lines, "left out of the log of HTTP: too many in one second");
        }
        if lines.admit(now) {
            warn!(%peer, "HTTP: {why}");
        }
    }
}
