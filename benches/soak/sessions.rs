//! The sessions that calls are about. They come and go, as with real agents, so that no session's
//! user data grows for ever.

use std::sync::RwLock;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use switchboard::sandbox::Sandbox;
use switchboard::sandbox::genesys::GENESYS_PASSWORD;
use tokio::time::sleep;

pub const ACCOUNTS: usize = 8;
const EACH: usize = 4;

/// How often one of them is over and another begins.
const TURN: Duration = Duration::from_millis(400);

/// How many turns later it is forgotten: no call about it is under way any more.
const REMEMBERED: usize = 100;

pub struct Sessions {
    /// Account and session.
    live: RwLock<Vec<(String, String)>>,
}

pub fn agent(account: usize) -> String {
    format!("soak-agent-{account}")
}

pub fn account(account: usize) -> String {
    format!("account-{account}")
}

impl Sessions {
    pub fn begin(sandbox: &Sandbox) -> Sessions {
        for account in 0..ACCOUNTS {
            sandbox
                .genesys()
                .add_agent(&agent(account), GENESYS_PASSWORD);
        }
        let live = (0..ACCOUNTS * EACH).map(|number| add(sandbox, number));
        Sessions {
            live: RwLock::new(live.collect()),
        }
    }

    pub fn pick(&self, rng: &mut StdRng) -> (String, String) {
        let live = self.live.read().unwrap();
        live[rng.random_range(0..live.len())].clone()
    }

    /// Goes on until it is dropped.
    pub async fn turn_over(&self, sandbox: &Sandbox) {
        let mut over = std::collections::VecDeque::new();
        for number in ACCOUNTS * EACH.. {
            sleep(TURN).await;
            let next = add(sandbox, number);
            let place = number % (ACCOUNTS * EACH);
            let old = std::mem::replace(&mut self.live.write().unwrap()[place], next);
            over.push_back(old.1);
            if over.len() > REMEMBERED
                && let Some(session) = over.pop_front()
            {
                sandbox.genesys().remove_session(&session);
            }
        }
    }
}

fn add(sandbox: &Sandbox, number: usize) -> (String, String) {
    let owner = number % ACCOUNTS;
    let session = format!("soak-{number}");
    sandbox.genesys().add_session(&agent(owner), &session);
    (account(owner), session)
}
