//! A caller: calls of all rpcs, some of which it repeats until it knows, and some of which it
//! leaves in the middle.

use std::sync::Arc;
use std::time::Duration;

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use switchboard::pb::{
    AttachUserDataRequest, Confirmation, CreateAgentSettingsRequest, DeleteAgentSettingsRequest,
    DeleteUserDataRequest, GetAgentSettingsRequest, GetSessionRequest, ListSessionsRequest,
    PersonalSettings, SmsSession, UpdateAgentSettingsRequest, UpdateUserDataRequest,
};
use tokio::time::{sleep, timeout};

use crate::World;
use crate::ask::{Ask, Heard, Reply, Wire};
use crate::ledger::{Entry, Told};

/// Of one write, all repeats included.
const TRIES: u32 = 6;

/// How much longer than its deadline a call may take: this machine has other work too.
const GRACE: Duration = Duration::from_secs(10);

/// How long nobody may listen at any address.
const UNREACHABLE: Duration = Duration::from_secs(30);

pub struct Caller {
    world: Arc<World>,
    number: usize,
    rng: StdRng,
    wires: Vec<Option<Wire>>,
    /// Own settings at AICC, and the number last written there; `None` when that is not known.
    agent: Option<(String, String, Option<String>)>,
    /// Account, session and key of the last update that was told to be done.
    updated: Option<(String, String, String)>,
}

/// How one call ended for its caller.
enum End {
    Reply(Reply),
    No(&'static str),
    /// It may have been begun with.
    InDoubt,
    /// The only gateway that knew of it is gone.
    Forgotten,
}

impl Caller {
    pub fn new(world: Arc<World>, number: usize, seed: u64) -> Caller {
        Caller {
            wires: vec![None; world.fleet.size()],
            rng: StdRng::seed_from_u64(seed),
            world,
            number,
            agent: None,
            updated: None,
        }
    }

    pub async fn run(mut self) {
        let world = Arc::clone(&self.world);
        while let Some(call) = world.next().await {
            self.call(call).await;
        }
    }

    async fn call(&mut self, call: u64) {
        match self.rng.random_range(0..100) {
            0..30 => self.attach(call).await,
            30..42 => self.update(call).await,
            42..49 => self.delete(call).await,
            49..61 => self.get().await,
            61..64 => self.list().await,
            64..80 => self.create(call).await,
            80..88 => self.read().await,
            88..96 => self.change(call).await,
            _ => self.remove().await,
        }
    }

    async fn attach(&mut self, call: u64) {
        let (account, session_id) = self.world.sessions.pick(&mut self.rng);
        let key = format!("a{call}");
        let ask = Ask::Attach(AttachUserDataRequest {
            session_id: session_id.clone(),
            user_data: Some(pair(&key)),
            account,
            confirmation: self.confirmation(),
            request_id: self.request_id(call),
        });
        if let Some(reply) = self.write(ask, &key).await {
            self.check_confirmed(&reply, &session_id, &key, true);
        }
    }

    async fn update(&mut self, call: u64) {
        let (account, session_id) = self.world.sessions.pick(&mut self.rng);
        let key = format!("u{call}");
        let ask = Ask::Update(UpdateUserDataRequest {
            session_id: session_id.clone(),
            user_data: Some(pair(&key)),
            account: account.clone(),
            confirmation: self.confirmation(),
            request_id: self.request_id(call),
        });
        if let Some(reply) = self.write(ask, &key).await {
            self.check_confirmed(&reply, &session_id, &key, true);
            self.updated = Some((account, session_id, key));
        }
    }

    async fn delete(&mut self, call: u64) {
        let Some((account, session_id, key)) = self.updated.take() else {
            return self.update(call).await;
        };
        let ask = Ask::Delete(DeleteUserDataRequest {
            session_id: session_id.clone(),
            keys: vec![key.clone()],
            account,
            confirmation: self.confirmation(),
            request_id: self.request_id(call),
        });
        if let Some(reply) = self.write(ask, &key).await {
            self.check_confirmed(&reply, &session_id, &key, false);
        }
    }

    async fn get(&mut self) {
        let (account, session_id) = self.world.sessions.pick(&mut self.rng);
        let ask = Ask::Get(GetSessionRequest {
            session_id: session_id.clone(),
            account,
        });
        if let End::Reply(Reply::Session(seen)) = self.ask(&ask, &mut None).await
            && seen.id != session_id
        {
            self.violation(&format!("asked for {session_id}, got {seen:?}"));
        }
    }

    async fn list(&mut self) {
        let (account, _) = self.world.sessions.pick(&mut self.rng);
        let ask = Ask::List(ListSessionsRequest { account });
        if let End::Reply(Reply::Sessions(seen)) = self.ask(&ask, &mut None).await
            && seen.is_empty()
        {
            self.violation("a list without any session");
        }
    }

    async fn create(&mut self, call: u64) {
        let user_id = format!("c{call}");
        let number = self.number(call);
        let ask = Ask::Create(CreateAgentSettingsRequest {
            user_id: user_id.clone(),
            settings: Some(settings(&number)),
            request_id: self.request_id(call),
            ..Default::default()
        });
        if let Some(Reply::Created(id)) = self.write(ask, &user_id).await {
            let held = self.world.sandbox.aicc().record(&user_id);
            if held.is_none_or(|held| held.id != id) {
                self.violation(&format!("{user_id} was not created as {id}"));
            }
            self.agent = Some((user_id, id, Some(number)));
        }
    }

    async fn read(&mut self) {
        let Some((user_id, id, number)) = self.agent.clone() else {
            return;
        };
        let ask = Ask::Read(GetAgentSettingsRequest {
            user_id,
            ..Default::default()
        });
        if let End::Reply(Reply::Settings(seen)) = self.ask(&ask, &mut None).await {
            let shown = seen.settings.clone().unwrap_or_default();
            let known = number.is_none_or(|number| number == shown.call_number_default);
            if seen.id != id || !known {
                self.violation(&format!("wrote {:?}, read {seen:?}", self.agent));
            }
        }
    }

    async fn change(&mut self, call: u64) {
        let Some((user_id, id, _)) = self.agent.clone() else {
            return self.create(call).await;
        };
        let number = self.number(call);
        let ask = Ask::Change(UpdateAgentSettingsRequest {
            id: id.clone(),
            user_id: user_id.clone(),
            settings: Some(settings(&number)),
            request_id: self.request_id(call),
            ..Default::default()
        });
        let mut known = None;
        if let End::Reply(_) = self.repeated(&ask).await {
            let held = self.world.sandbox.aicc().record(&user_id);
            let held = held.and_then(|held| held.settings.call_number_default);
            if held.as_ref() != Some(&number) {
                self.violation(&format!("told {number} is written, and {held:?} is"));
            }
            known = Some(number);
        }
        self.agent = Some((user_id, id, known));
    }

    async fn remove(&mut self) {
        let Some((user_id, ..)) = self.agent.take() else {
            return;
        };
        let ask = Ask::Remove(DeleteAgentSettingsRequest {
            user_id: user_id.clone(),
            ..Default::default()
        });
        if let End::Reply(_) = self.ask(&ask, &mut None).await
            && self.world.sandbox.aicc().record(&user_id).is_some()
        {
            self.violation(&format!("told that {user_id} is deleted, and it is not"));
        }
    }

    /// Enters the ledger with whatever comes of it.
    async fn write(&mut self, ask: Ask, key: &str) -> Option<Reply> {
        let (rpc, story) = (ask.name(), format!("{ask:?}"));
        let end = self.repeated(&ask).await;
        let told = match end {
            End::Reply(_) => Told::Done,
            End::No("OUTCOME_UNKNOWN") | End::InDoubt | End::Forgotten => Told::Unknown,
            End::No(_) => Told::NotDone,
        };
        self.world.ledger.enter(Entry {
            rpc,
            key: key.to_owned(),
            told,
            story,
        });
        match end {
            End::Reply(reply) => Some(reply),
            End::No(_) | End::InDoubt | End::Forgotten => None,
        }
    }

    /// Under a request_id a caller may repeat whatever is in doubt, until it is not.
    async fn repeated(&mut self, ask: &Ask) -> End {
        let mut ask = ask.clone();
        let mut knows = None;
        let mut in_doubt = false;
        for attempt in 1..=TRIES {
            let end = if self.rng.random_ratio(1, 20) && !ask.request_id().is_empty() {
                self.twice(&ask, &mut knows).await
            } else {
                self.ask(&ask, &mut knows).await
            };
            let last = attempt == TRIES || ask.request_id().is_empty();
            match end {
                End::Reply(reply) => {
                    if !ask.request_id().is_empty() && self.rng.random_ratio(1, 10) {
                        self.compare(&ask, &reply, &mut knows).await;
                    }
                    return End::Reply(reply);
                }
                // Reads decide what became of it.
                End::No("OUTCOME_UNKNOWN") => {
                    in_doubt = true;
                    if last || !ask_to_confirm(&mut ask) {
                        return End::InDoubt;
                    }
                }
                // About this call, and not about the write.
                End::No("DEDUPE_UNAVAILABLE" | "OVERLOADED" | "DEADLINE") if !last => {}
                End::No("DEDUPE_UNAVAILABLE" | "OVERLOADED" | "DEADLINE") if in_doubt => {
                    return End::InDoubt;
                }
                End::No(reason) => return End::No(reason),
                End::InDoubt if !last => in_doubt = true,
                End::InDoubt | End::Forgotten => return End::InDoubt,
            }
            sleep(Duration::from_millis(self.rng.random_range(20..400))).await;
        }
        End::InDoubt
    }

    /// At once, and where there are two gateways by both.
    async fn twice(&mut self, ask: &Ask, knows: &mut Option<usize>) -> End {
        let deadline = self.deadline();
        let first = self.wire(0, knows).await;
        let second = self.wire(self.wires.len() - 1, knows).await;
        let (Some(first), Some(second)) = (first, second) else {
            return End::Forgotten;
        };
        let (one, two) = tokio::join!(
            first.ask(ask.clone(), deadline),
            second.ask(ask.clone(), deadline)
        );
        if let (Heard::Reply(one), Heard::Reply(two)) = (&one, &two)
            && !one.is_like(two)
        {
            self.violation(&format!("two answers to {ask:?}: {one:?}, {two:?}"));
        }
        let ends = [
            self.end(ask, &first, 0, one),
            self.end(ask, &second, self.wires.len() - 1, two),
        ];
        let mut in_doubt = false;
        let mut said = None;
        for end in ends.into_iter().flatten() {
            match end {
                End::Reply(_) => return end,
                End::No("DEDUPE_UNAVAILABLE" | "OVERLOADED" | "DEADLINE") => in_doubt = true,
                End::No(_) => said = Some(end),
                End::InDoubt | End::Forgotten => in_doubt = true,
            }
        }
        said.unwrap_or(if in_doubt {
            End::InDoubt
        } else {
            End::Forgotten
        })
    }

    async fn compare(&mut self, ask: &Ask, reply: &Reply, knows: &mut Option<usize>) {
        if let End::Reply(again) = self.ask(ask, knows).await
            && !again.is_like(reply)
        {
            self.violation(&format!("{ask:?} got {reply:?} and then {again:?}"));
        }
    }

    /// Sent again as long as nobody has begun with it.
    async fn ask(&mut self, ask: &Ask, knows: &mut Option<usize>) -> End {
        let slot = self.rng.random_range(0..self.wires.len());
        loop {
            let Some(wire) = self.wire(slot, knows).await else {
                return End::Forgotten;
            };
            let deadline = self.deadline();
            let leaves = self.rng.random_ratio(1, 20);
            let patience = match leaves {
                true => Duration::from_millis(self.rng.random_range(0..60)),
                false => deadline + GRACE,
            };
            let Ok(heard) = timeout(patience, wire.ask(ask.clone(), deadline)).await else {
                self.world.ledger.hear(ask.name(), "(hung up)");
                if !leaves {
                    self.violation(&format!("no answer within {patience:?}: {ask:?}"));
                }
                return End::InDoubt;
            };
            if let Some(end) = self.end(ask, &wire, slot, heard) {
                return end;
            }
        }
    }

    /// `None` where nobody has begun with it.
    fn end(&mut self, ask: &Ask, wire: &Wire, slot: usize, heard: Heard) -> Option<End> {
        let ledger = &self.world.ledger;
        match heard {
            Heard::Reply(reply) => {
                ledger.hear(ask.name(), "OK");
                return Some(End::Reply(reply));
            }
            Heard::No(reason, pair) => {
                ledger.hear(ask.name(), &pair);
                if reason == "REQUEST_ID_REUSED" {
                    ledger.violation(&format!("REQUEST_ID_REUSED by {ask:?}"));
                }
                return Some(End::No(reason));
            }
            Heard::Odd(ref story) => {
                ledger.violation(&format!("no row of the contract: {story}"));
            }
            Heard::Unsent => ledger.unsent(),
            Heard::Lost(ref cause) => {
                ledger.hear(ask.name(), "(connection lost)");
                ledger.lost(wire.life.number, cause.clone());
            }
        }
        self.wires[slot] = None;
        (!matches!(heard, Heard::Unsent)).then_some(End::InDoubt)
    }

    /// To the gateway that takes calls now. A gateway that keeps request_ids in its own memory is
    /// the only one that knows of an earlier call, which `knows` names.
    async fn wire(&mut self, slot: usize, knows: &mut Option<usize>) -> Option<Wire> {
        let opening = async {
            loop {
                let life = self.world.fleet.current(slot);
                if let Some(wire) = &self.wires[slot]
                    && wire.life.number == life.number
                {
                    return wire.clone();
                }
                match Wire::open(life).await {
                    Ok(wire) => self.wires[slot] = Some(wire),
                    Err(_) => sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let Ok(wire) = timeout(UNREACHABLE, opening).await else {
            self.violation(&format!("nobody listens in place {slot}"));
            return None;
        };
        if self.world.shared {
            return Some(wire);
        }
        let knows = *knows.get_or_insert(wire.life.number);
        (knows == wire.life.number).then_some(wire)
    }

    fn check_confirmed(&self, reply: &Reply, session_id: &str, key: &str, there: bool) {
        let Reply::Written {
            confirmed: Some(seen),
            ..
        } = reply
        else {
            return;
        };
        // `None` once the session is over.
        let held = self.world.sandbox.genesys().user_data(session_id);
        let holds = held.is_none_or(|held| held.contains_key(key) == there);
        if seen.id != session_id || has(seen, key) != there || !holds {
            self.violation(&format!("confirmed {key} of {session_id} by {seen:?}"));
        }
    }

    fn violation(&self, story: &str) {
        let story = format!("caller {}: {story}", self.number);
        self.world.ledger.violation(&story);
    }

    fn confirmation(&mut self) -> i32 {
        let confirmed = self.rng.random_ratio(1, 5);
        match confirmed {
            true => Confirmation::Confirmed.into(),
            false => Confirmation::Unspecified.into(),
        }
    }

    fn request_id(&mut self, call: u64) -> String {
        let wanted: bool = self.rng.random();
        if wanted {
            format!("order-{call}")
        } else {
            String::new()
        }
    }

    fn deadline(&mut self) -> Duration {
        let short = self.rng.random_ratio(1, 10);
        let range = if short { 30..300 } else { 1_000..4_000 };
        Duration::from_millis(self.rng.random_range(range))
    }

    fn number(&self, call: u64) -> String {
        format!("{call:015}")
    }
}

/// Whether there is anything left that could decide it.
fn ask_to_confirm(ask: &mut Ask) -> bool {
    let confirmation = match ask {
        Ask::Attach(it) => &mut it.confirmation,
        Ask::Update(it) => &mut it.confirmation,
        Ask::Delete(it) => &mut it.confirmation,
        _ => return false,
    };
    *confirmation = Confirmation::Confirmed.into();
    true
}

fn pair(key: &str) -> Struct {
    let value = Value {
        kind: Some(Kind::StringValue("soaked".to_owned())),
    };
    Struct {
        fields: [(key.to_owned(), value)].into(),
    }
}

fn has(session: &SmsSession, key: &str) -> bool {
    let data = session.user_data.as_ref();
    data.is_some_and(|data| data.fields.contains_key(key))
}

fn settings(number: &str) -> PersonalSettings {
    PersonalSettings {
        call_number_default: number.to_owned(),
        ..Default::default()
    }
}
