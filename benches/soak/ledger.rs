//! What callers were told, held against what the vendors hold.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use switchboard::sandbox::Sandbox;

/// Stories beyond these, of callers and of the ledger, tell nothing new; nor does their rest.
const STORIES: usize = 20;
const STORY: usize = 800;

/// The most that a caller was told of one write, over all its calls under one request_id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Done,
    /// In so many words: it was not done.
    NotDone,
    Unknown,
}

/// A write, by a key that no other has.
#[derive(Clone, Debug)]
pub struct Entry {
    pub rpc: &'static str,
    pub key: String,
    pub told: Told,
    #[allow(dead_code, reason = "told by `Debug`, when the entry is a violation")]
    pub story: String,
}

#[derive(Default)]
pub struct Ledger {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    /// How often what was said, by rpc.
    heard: BTreeMap<(&'static str, String), u64>,
    violations: Vec<String>,
    violated: u64,
    /// Violations that were there before the ledger was closed.
    told: usize,
    /// Connections that broke under a call, by the gateway's number.
    lost: BTreeMap<usize, Vec<String>>,
    unsent: u64,
}

/// What it all came to.
pub struct Balance {
    pub heard: BTreeMap<(&'static str, String), u64>,
    pub violations: Vec<String>,
    pub violated: u64,
    pub lost: BTreeMap<usize, Vec<String>>,
    pub unsent: u64,
    pub once: Sum,
    pub idempotent: Sum,
}

/// Writes of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    pub writes: u64,
    pub told_done: u64,
    pub told_unknown: u64,
    pub unknown_and_held: u64,
    pub held: u64,
}

impl Ledger {
    pub fn enter(&self, entry: Entry) {
        self.lock().entries.push(entry);
    }

    pub fn hear(&self, rpc: &'static str, what: &str) {
        let mut state = self.lock();
        *state.heard.entry((rpc, what.to_owned())).or_default() += 1;
    }

    pub fn violation(&self, story: &str) {
        self.lock().violate(story);
    }

    pub fn lost(&self, gateway: usize, cause: String) {
        self.lock().lost.entry(gateway).or_default().push(cause);
    }

    pub fn unsent(&self) {
        self.lock().unsent += 1;
    }

    /// To be asked for when nothing is under way any more.
    pub fn close(&self, sandbox: &Sandbox) -> Balance {
        let held = Held::of(sandbox);
        let mut state = self.lock();
        state.told = state.violations.len();
        let (mut once, mut idempotent) = (Sum::default(), Sum::default());
        for entry in std::mem::take(&mut state.entries) {
            let times = held.times(&entry);
            let is_once = matches!(entry.rpc, "AttachUserData" | "CreateAgentSettings");
            let sum = if is_once { &mut once } else { &mut idempotent };
            sum.add(entry.told, times);
            let wrong = match entry.told {
                Told::Done if times == 0 => Some("told done, and the vendor does not hold it"),
                _ if is_once && times > 1 => Some("done more than once"),
                Told::NotDone if is_once && times > 0 => Some("told that it was not done"),
                _ => None,
            };
            if let Some(wrong) = wrong {
                state.violate(&format!("{wrong} ({times} times): {entry:?}"));
            }
        }
        let State {
            heard,
            violations,
            violated,
            lost,
            unsent,
            ..
        } = std::mem::take(&mut *state);
        Balance {
            heard,
            violations,
            violated,
            lost,
            unsent,
            once,
            idempotent,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn violate(&mut self, story: &str) {
        self.violated += 1;
        if self.violations.len() < self.told + STORIES {
            self.violations.push(story.chars().take(STORY).collect());
        }
    }
}

impl Sum {
    fn add(&mut self, told: Told, times: u32) {
        let held = u64::from(times > 0);
        self.writes += 1;
        self.held += held;
        match told {
            Told::Done => self.told_done += 1,
            Told::NotDone => {}
            Told::Unknown => {
                self.told_unknown += 1;
                self.unknown_and_held += held;
            }
        }
    }
}

/// How often which write was applied, from the vendors' own ledgers, which forget nothing.
struct Held(HashMap<(&'static str, String), u32>);

impl Held {
    fn of(sandbox: &Sandbox) -> Held {
        let mut held = HashMap::new();
        for write in sandbox.genesys().writes() {
            for key in write.keys {
                *held.entry((write.operation, key)).or_default() += 1;
            }
        }
        for user in sandbox.aicc().creates() {
            *held.entry(("CreateAgentSettings", user)).or_default() += 1;
        }
        Held(held)
    }

    fn times(&self, entry: &Entry) -> u32 {
        let key = (entry.rpc, entry.key.clone());
        self.0.get(&key).copied().unwrap_or(0)
    }
}
