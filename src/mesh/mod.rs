//! interim
#![allow(missing_docs)]
use crate::types::ShardId;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

#[derive(Debug)]
struct Bell {
    fd: OwnedFd,
    sleeping: AtomicBool,
}
impl Bell {
    fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }
}

#[derive(Debug)]
pub struct Port<T> {
    id: usize,
    out: Vec<Option<(Sender<Vec<T>>, Arc<Bell>, Arc<AtomicBool>)>>,
    pending: Vec<Vec<T>>,
    inn: Vec<Option<(Receiver<Vec<T>>, Arc<Bell>, Arc<AtomicBool>)>>,
    bell: Arc<Bell>,
    congested: bool,
}

#[derive(Debug)]
pub struct Mesh;
impl Mesh {
    #[allow(clippy::new_ret_no_self)]
    pub fn new<T>(n: usize, cap: usize) -> Vec<Port<T>> {
        let bells: Vec<_> = (0..n)
            .map(|_| {
                Arc::new(Bell {
                    fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap(),
                    sleeping: AtomicBool::new(false),
                })
            })
            .collect();
        let mut ports: Vec<Port<T>> = (0..n)
            .map(|id| Port {
                id,
                out: (0..n).map(|_| None).collect(),
                pending: (0..n).map(|_| Vec::new()).collect(),
                inn: (0..n).map(|_| None).collect(),
                bell: bells[id].clone(),
                congested: false,
            })
            .collect();
        for a in 0..n {
            for b in 0..n {
                if a != b {
                    let (s, r) = bounded(cap);
                    let w = Arc::new(AtomicBool::new(false));
                    ports[a].out[b] = Some((s, bells[b].clone(), w.clone()));
                    ports[b].inn[a] = Some((r, bells[a].clone(), w));
                }
            }
        }
        ports
    }
}
impl<T> Port<T> {
    pub fn push(&mut self, to: ShardId, item: T) {
        self.pending[to.index()].push(item);
    }
    pub fn flush(&mut self) {
        self.congested = false;
        for (to, pending) in self.pending.iter_mut().enumerate() {
            if pending.is_empty() || to == self.id {
                continue;
            }
            let Some((sender, bell, waiting)) = &self.out[to] else { continue };
            let mut batch = std::mem::take(pending);
            loop {
                match sender.try_send(batch) {
                    Ok(()) => {
                        bell.ring();
                        break;
                    }
                    Err(TrySendError::Full(back)) => {
                        batch = back;
                        if !waiting.swap(true, Ordering::SeqCst) {
                            continue;
                        }
                        *pending = batch;
                        self.congested = true;
                        break;
                    }
                    Err(TrySendError::Disconnected(_)) => break,
                }
            }
        }
    }
    pub fn congested(&self) -> bool {
        self.congested
    }
    pub fn drain(&mut self, budget: usize, f: &mut dyn FnMut(ShardId, T)) -> bool {
        let mut n = 0;
        for (from, link) in self.inn.iter().enumerate() {
            let Some((r, bell, waiting)) = link else { continue };
            while n < budget {
                let Ok(batch) = r.try_recv() else { break };
                if waiting.swap(false, Ordering::SeqCst) {
                    bell.ring();
                }
                for item in batch {
                    n += 1;
                    f(ShardId(from as u16), item);
                }
            }
        }
        n >= budget
    }
    pub fn prepare_sleep(&mut self) -> bool {
        self.bell.sleeping.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let any = self.inn.iter().flatten().any(|(r, _, _)| !r.is_empty());
        if any {
            self.bell.sleeping.store(false, Ordering::SeqCst);
        }
        !any
    }
    pub fn awake(&mut self) {
        self.bell.sleeping.store(false, Ordering::SeqCst);
    }
    pub fn doorbell(&self) -> BorrowedFd<'_> {
        self.bell.fd.as_fd()
    }
}
