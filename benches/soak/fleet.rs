//! The gateways, which are restarted one after the other, and how each of them ended.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::Arguments;
use crate::process::{Folder, Process, Usage};

/// How a gateway came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Running,
    Terminated,
    Killed,
}

/// One process, from its start to its end.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    pub number: usize,
    pub address: SocketAddr,
}

/// Memory, handles and threads over a life, by the time since its start.
pub struct Chronicle {
    pub fate: Fate,
    pub samples: Vec<(Duration, Usage)>,
    pub drain: Option<Duration>,
}

pub struct Fleet {
    folder: Arc<Folder>,
    server: String,
    sections: String,
    state: Mutex<State>,
}

struct State {
    /// The gateways that take calls.
    slots: Vec<Running>,
    /// Of every life there was, by its number.
    chronicles: Vec<Chronicle>,
    violations: Vec<String>,
}

struct Running {
    life: Life,
    process: Process,
    begun: Instant,
}

impl Fleet {
    pub async fn start(folder: Arc<Folder>, server: &str, sections: &str, size: usize) -> Fleet {
        let fleet = Fleet {
            folder,
            server: server.to_owned(),
            sections: sections.to_owned(),
            state: Mutex::new(State {
                slots: Vec::new(),
                chronicles: Vec::new(),
                violations: Vec::new(),
            }),
        };
        for _ in 0..size {
            let running = fleet.begin().await;
            fleet.lock().slots.push(running);
        }
        fleet
    }

    pub fn size(&self) -> usize {
        self.lock().slots.len()
    }

    /// Who takes calls in this slot now.
    pub fn current(&self, slot: usize) -> Life {
        self.lock().slots[slot].life
    }

    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// What the gateways logged that holds this word.
    pub fn logged(&self, word: &str) -> Vec<String> {
        self.folder.logged(word)
    }

    /// The successor serves before the old one is told to end: nobody finds the door closed.
    pub async fn replace(&self, slot: usize) {
        let next = self.begin().await;
        let old = std::mem::replace(&mut self.lock().slots[slot], next);
        self.end(old).await;
    }

    /// Dies without a farewell; the successor comes afterwards.
    pub async fn kill(&self, slot: usize) {
        {
            let mut state = self.lock();
            let number = state.slots[slot].life.number;
            // Before it dies, so that nobody asks in between.
            state.chronicles[number].fate = Fate::Killed;
            state.slots[slot].process.kill();
        }
        let next = self.begin().await;
        self.lock().slots[slot] = next;
    }

    pub fn sample(&self) {
        let mut state = self.lock();
        let State {
            slots, chronicles, ..
        } = &mut *state;
        for running in slots {
            if let Some(usage) = running.process.usage() {
                let samples = &mut chronicles[running.life.number].samples;
                samples.push((running.begun.elapsed(), usage));
            }
        }
    }

    /// Ends all of them as an operator would.
    pub async fn finish(&self) -> Vec<Chronicle> {
        let slots = std::mem::take(&mut self.lock().slots);
        for running in slots {
            self.end(running).await;
        }
        std::mem::take(&mut self.lock().chronicles)
    }

    async fn begin(&self) -> Running {
        let number = {
            let mut state = self.lock();
            state.chronicles.push(Chronicle {
                fate: Fate::Running,
                samples: Vec::new(),
                drain: None,
            });
            state.chronicles.len() - 1
        };
        let name = format!("gateway-{number}");
        let mut process = Process::spawn(&self.folder, &name, &self.server, &self.sections);
        process.listening().await;
        Running {
            life: Life {
                number,
                address: process.address,
            },
            process,
            begun: Instant::now(),
        }
    }

    async fn end(&self, mut running: Running) {
        let number = running.life.number;
        self.lock().chronicles[number].fate = Fate::Terminated;
        running.process.terminate();
        let told = Instant::now();
        let status = running.process.ended().await;
        let mut state = self.lock();
        state.chronicles[number].drain = Some(told.elapsed());
        if !status.success() {
            let violation = format!("gateway {number} did not end with 0 when told to: {status}");
            state.violations.push(violation);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// Until the token is cancelled: one after the other, each in its turn, some by force.
pub fn restarting(
    fleet: &Arc<Fleet>,
    arguments: &Arguments,
) -> (CancellationToken, JoinHandle<()>) {
    let done = CancellationToken::new();
    let (fleet, stop) = (Arc::clone(fleet), done.clone());
    let (every, kill_every) = (arguments.restart_every, arguments.kill_every);
    let restarting = tokio::spawn(async move {
        let mut turn = 0;
        while !every.is_zero() && timeout(every, stop.cancelled()).await.is_err() {
            let slot = turn % fleet.size();
            turn += 1;
            if turn.is_multiple_of(kill_every) {
                fleet.kill(slot).await;
            } else {
                fleet.replace(slot).await;
            }
        }
    });
    (done, restarting)
}

/// Goes on until it is dropped.
pub async fn watch(fleet: Arc<Fleet>) {
    loop {
        sleep(Duration::from_secs(1)).await;
        fleet.sample();
    }
}
