//! A write that returns when it is known to have happened, or not.
//!
//! ```text
//! turn -> listen -> send -+- refused ------------------------------> that error
//!                         +- accepted, or its answer was lost
//!                              |  a notification, or a read, shows it in place -> CONFIRMED
//!                              |    (a delete whose answer was lost: two reads do)
//!                              |  a notification of the vendor says that it failed -> rejected
//!                              |  the connection broke, and reads show nothing -> sent again
//!                              |                        (Once only, and once), or not done
//!                              +- the deadline ----------------------> outcome unknown
//! ```

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, Fuse, FusedFuture, FutureExt};
use http::StatusCode;
use opentelemetry::KeyValue;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::event::Event;
use super::feed::Item;
use super::hub::{Consumer, Hub};
use super::turns::Turn;
use crate::grpc::status::UnknownOutcome;
use crate::pb::{GetSessionRequest, SmsSession};
use crate::upstream::client::{Client, Ticket};
use crate::upstream::error::{Answer, Error, Failure, Refusal};
use crate::upstream::operation::{Progress, Replay, Vendor as _};
use crate::upstream::redact::Redactor;
use crate::upstream::span;
use crate::vendors::genesys::sms_session_data::get_session::GetSession;
use crate::vendors::genesys::sms_session_data::write::{Accepted, Write};
use crate::vendors::genesys::{Genesys, inferred};

/// What is kept of the deadline for reading: this part of it, and no more than that.
const SHARE_FOR_READING: u32 = 4;
const MOST_FOR_READING: Duration = Duration::from_secs(3);

/// How long a notification is waited for before the session is read.
const BEFORE_READING: Duration = Duration::from_secs(1);

/// Between two reads, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The last read begins so long before the deadline, to be of the state at its end.
const LAST_READ: Duration = Duration::from_millis(250);

/// One write that was asked to be confirmed.
pub(in crate::vendors::genesys) struct Confirmation<O> {
    client: Client<Genesys>,
    hub: Arc<Hub>,
    operation: Arc<O>,
    ticket: Ticket,
}

/// A write that was seen in place.
#[derive(Debug)]
pub(in crate::vendors::genesys) struct Confirmed {
    pub(in crate::vendors::genesys) reference_id: Option<i64>,
    pub(in crate::vendors::genesys) session: SmsSession,
}

/// What is known of the write itself.
pub(in crate::vendors::genesys) enum Sent {
    Accepted(Accepted),
    /// It may have happened.
    InDoubt(Box<Failure>),
    /// It was so at another time: a call that is repeated under its `request_id`.
    EarlierInDoubt(UnknownOutcome),
}

/// How the wait for proof ended.
enum Proof {
    InPlace(SmsSession, &'static str),
    Rejected(Box<Failure>),
    Absent,
    /// The session is not there any more.
    Gone(Box<Failure>),
    None,
}

impl Proof {
    /// By what it was found, or what was found.
    fn how(&self) -> &'static str {
        match self {
            Proof::InPlace(_, how) => how,
            Proof::Rejected(_) => "rejected",
            Proof::Absent | Proof::Gone(_) => "absent",
            Proof::None => "unknown",
        }
    }
}

/// What a read shows.
enum Seen {
    /// With the time when the read began.
    InPlace(SmsSession, Instant),
    /// The same.
    Absent(Instant),
    /// The same. A node that knows nothing of the session yet says this, too.
    Gone(Box<Failure>, Instant),
    Nothing,
}

/// What a notification says about the write.
enum Told {
    InPlace(SmsSession),
    /// The vendor names this write as failed.
    Rejected,
    /// The vendor names some write as failed, perhaps this one.
    PerhapsRejected,
    Look,
    Nothing,
}

impl<O: Write> Confirmation<O> {
    pub(in crate::vendors::genesys) fn new(
        client: Client<Genesys>,
        hub: Arc<Hub>,
        operation: O,
        ticket: Ticket,
    ) -> Arc<Self> {
        Arc::new(Confirmation {
            client,
            hub,
            operation: Arc::new(operation),
            ticket,
        })
    }

    /// Sends the write, and waits until it is seen in place.
    pub(in crate::vendors::genesys) async fn write(self: Arc<Self>) -> Result<Confirmed, Failure> {
        // Whole, whoever still waits: what is in place must not be found out by halves.
        let client = self.client.clone();
        let attributes = self.attributes();
        let work = async move {
            let _turn = self.turn().await?;
            let consumer = self.listen().await;
            let mut sent = self.send().await?;
            let mut proof = self.prove(&sent, &consumer).await;
            if matches!(proof, Proof::Absent) && self.may_send_again() {
                self.ticket.progress.forget_doubt();
                sent = self.send().await?;
                proof = self.prove(&sent, &consumer).await;
            }
            self.conclude(sent, proof)
        };
        let work = span::within("confirmed write", attributes, work);
        client.outlive(O::META.name, work).await
    }

    /// Looks for a write that was sent before; sends nothing.
    pub(in crate::vendors::genesys) async fn settle(
        &self,
        sent: Sent,
    ) -> Result<Confirmed, Failure> {
        // Nothing is sent here, but the write of before may well have happened.
        let Ok(_turn) = self.turn().await else {
            return self.conclude(sent, Proof::None);
        };
        let consumer = self.hub.consume(self.filter());
        let proof = self.prove(&sent, &consumer).await;
        self.conclude(sent, proof)
    }

    /// Confirmed writes to a session are done one after the other, in the order of their arrival.
    async fn turn(&self) -> Result<Turn, Failure> {
        let turn = self.hub.turns.wait(self.operation.session_id());
        let turn = timeout_at(self.ticket.deadline, turn).await;
        turn.map_err(|_| self.failure(Error::Deadline))
    }

    /// Before anything is sent, so that nothing is missed. Where notifications cannot be had,
    /// reads must do.
    async fn listen(&self) -> Consumer {
        let consumer = self.hub.consume(self.filter());
        let patience = Instant::now() + self.for_reading();
        let _ = timeout_at(patience, self.hub.until_tried()).await;
        consumer.begin_here();
        consumer
    }

    async fn send(&self) -> Result<Sent, Failure> {
        let ticket = Ticket {
            deadline: self.ticket.deadline - self.for_reading(),
            ..self.ticket.clone()
        };
        let operation = Arc::clone(&self.operation);
        match self.client.call(operation, ticket).await {
            Ok(accepted) => Ok(Sent::Accepted(accepted)),
            Err(failure) if failure.may_have_happened() => Ok(Sent::InDoubt(Box::new(failure))),
            Err(failure) => Err(failure),
        }
    }

    /// An attach that is not there, of which nothing is under way any more, and once.
    fn may_send_again(&self) -> bool {
        let time_left = self
            .ticket
            .deadline
            .saturating_duration_since(Instant::now());
        O::META.replay == Replay::Once && !self.ticket.caller_repeats && time_left > BEFORE_READING
    }

    fn conclude(&self, sent: Sent, proof: Proof) -> Result<Confirmed, Failure> {
        let accepted = matches!(sent, Sent::Accepted(_));
        let (how, result) = match (proof, sent) {
            (Proof::InPlace(session, how), sent) => {
                let reference_id = sent.reference_id();
                let confirmed = Confirmed {
                    reference_id,
                    session,
                };
                (how, Ok(confirmed))
            }
            (Proof::Rejected(failure), _) => ("rejected", Err(*failure)),
            (Proof::Absent, Sent::InDoubt(failure)) => {
                let cause = failure.error.to_string();
                ("absent", Err(self.failure(Error::NotDone { cause })))
            }
            (Proof::Absent, _) => {
                let cause = "the write had been in doubt".to_owned();
                ("absent", Err(self.failure(Error::NotDone { cause })))
            }
            (Proof::Gone(failure), Sent::InDoubt(_) | Sent::EarlierInDoubt(_)) => {
                ("absent", Err(*failure))
            }
            (Proof::Gone(_) | Proof::None, _) => {
                let error = Error::Unconfirmed { accepted };
                ("unknown", Err(self.failure(error)))
            }
        };
        self.hub.meters.confirmation(how);
        // The reads count too.
        let sent = self.ticket.progress.sent();
        result.map_err(|failure| Failure { sent, ..failure })
    }

    /// Waits for proof until the deadline.
    async fn prove(&self, sent: &Sent, consumer: &Consumer) -> Proof {
        let gathered = async {
            let proof = self.gather(sent, consumer).await;
            span::found(KeyValue::new("switchboard.confirmation", proof.how()));
            proof
        };
        span::within("confirmation", self.attributes(), gathered).await
    }

    /// Of the spans.
    fn attributes(&self) -> [KeyValue; 3] {
        [
            KeyValue::new("switchboard.vendor", Genesys::NAME),
            KeyValue::new("switchboard.account", self.ticket.account.clone()),
            KeyValue::new("switchboard.operation", O::META.name),
        ]
    }

    async fn gather(&self, sent: &Sent, consumer: &Consumer) -> Proof {
        let mut look: Fuse<BoxFuture<'_, Seen>> = Fuse::terminated();
        let mut schedule = Schedule::new(self.ticket.deadline, self.first_read(sent));
        let (mut first_in_place, mut first_absent, mut first_gone) = (None, None, None);
        let mut rejected = None;
        let mut deaf = false;
        loop {
            tokio::select! {
                biased;
                item = consumer.next(), if !deaf => match self.told(&item, sent) {
                    Told::InPlace(session) => return Proof::InPlace(session, "notification"),
                    Told::Rejected => return Proof::Rejected(self.rejection(&item)),
                    Told::PerhapsRejected => {
                        rejected = Some(self.rejection(&item));
                        schedule.now();
                    }
                    Told::Look => {
                        deaf = matches!(item, Item::Ended(_));
                        schedule.now();
                    }
                    Told::Nothing => {}
                },
                seen = &mut look => match seen {
                    Seen::InPlace(session, begun)
                        if self.may_be_seen_once(sent) || stays(&mut first_in_place, begun) =>
                    {
                        return Proof::InPlace(session, "read");
                    }
                    Seen::Absent(_) | Seen::Gone(..) if rejected.is_some() => {
                        return Proof::Rejected(rejected.expect("just seen"));
                    }
                    Seen::Absent(begun) if sent.is_over() && stays(&mut first_absent, begun) => {
                        return Proof::Absent;
                    }
                    Seen::Gone(failure, begun) if sent.is_over() && stays(&mut first_gone, begun) => {
                        return Proof::Gone(failure);
                    }
                    Seen::Absent(_) | Seen::Gone(..) => first_in_place = None,
                    Seen::InPlace(..) | Seen::Nothing => {}
                },
                () = sleep_until(schedule.next), if look.is_terminated() => {
                    look = self.look().boxed().fuse();
                    schedule.advance();
                }
                () = sleep_until(self.ticket.deadline) => return Proof::None,
            }
        }
    }

    fn first_read(&self, sent: &Sent) -> Instant {
        let now = Instant::now();
        match sent {
            Sent::Accepted(_) if self.hub.is_subscribed() => now + BEFORE_READING,
            Sent::Accepted(_) => now + FIRST_PAUSE,
            Sent::InDoubt(_) | Sent::EarlierInDoubt(_) => now,
        }
    }

    /// What the vendor says now. Counted among the requests of the call.
    async fn look(&self) -> Seen {
        let begun = Instant::now();
        let ticket = Ticket {
            progress: Progress::default(),
            ..self.ticket.clone()
        };
        let _counted = Counted {
            all: &self.ticket.progress,
            own: ticket.progress.clone(),
        };
        let operation = GetSession(GetSessionRequest {
            session_id: self.operation.session_id().to_owned(),
            account: String::new(),
        });
        let read = self.client.call(operation, ticket).await;
        match read {
            Ok(session) if self.operation.is_in_place(&session) => Seen::InPlace(session, begun),
            Ok(_) => Seen::Absent(begun),
            Err(failure) if is_not_found(&failure.error) => Seen::Gone(Box::new(failure), begun),
            Err(_) => Seen::Nothing,
        }
    }

    fn told(&self, item: &Item, sent: &Sent) -> Told {
        let event = match item {
            Item::Event(event) => event,
            Item::Missed(_) | Item::Ended(_) => return Told::Look,
        };
        let about_us = match (sent.reference_id(), event.notification.reference_id) {
            (Some(ours), Some(theirs)) if ours != theirs => return Told::Nothing,
            (Some(_), Some(_)) => true,
            _ => false,
        };
        if event.is_error() {
            return match about_us {
                true => Told::Rejected,
                false => Told::PerhapsRejected,
            };
        }
        match self.shown(event) {
            Some(session) if self.may_be_seen_once(sent) => Told::InPlace(session.clone()),
            Some(_) => Told::Look,
            None if about_us || event.needs_a_read() => Told::Look,
            None => Told::Nothing,
        }
    }

    /// Whether one look proves it. A delete in doubt may be lost, and a state without the key one of
    /// before it was put there: told late, or read while that is still on its way.
    fn may_be_seen_once(&self, sent: &Sent) -> bool {
        !O::SHOWN_BY_ABSENCE || matches!(sent, Sent::Accepted(_))
    }

    /// The session, when an update of it shows the write in place.
    fn shown<'a>(&self, event: &'a Event) -> Option<&'a SmsSession> {
        let session = event.session().filter(|_| event.is_update())?;
        let tells = session.user_data.is_some();
        (tells && self.operation.is_in_place(session)).then_some(session)
    }

    fn rejection(&self, item: &Item) -> Box<Failure> {
        let (code, text) = match item {
            Item::Event(event) => (event.error_code, event.error_words.as_str()),
            Item::Missed(_) | Item::Ended(_) => (None, ""),
        };
        let redactor = self
            .operation
            .request()
            .map(|request| Redactor::of(&request));
        Box::new(self.failure(Error::Refused {
            meaning: Refusal::State,
            answer: Answer {
                status: StatusCode::OK,
                code: code.map(|code| code.to_string()),
                text: redactor.unwrap_or_default().clean(text),
            },
        }))
    }

    fn filter(&self) -> super::Filter {
        Some([self.operation.session_id().to_owned()].into())
    }

    fn for_reading(&self) -> Duration {
        let left = self
            .ticket
            .deadline
            .saturating_duration_since(Instant::now());
        (left / SHARE_FOR_READING).min(MOST_FOR_READING)
    }

    fn failure(&self, error: Error) -> Failure {
        let meta = const { &O::META };
        Failure {
            vendor: Genesys::NAME,
            operation: meta.name,
            replay: meta.replay,
            error,
            sent: self.ticket.progress.sent(),
            in_doubt: false,
            was_in_doubt: false,
            budget_spent: false,
        }
    }
}

/// The requests of a read, counted among those of the whole also when it is not waited for.
struct Counted<'a> {
    all: &'a Progress,
    own: Progress,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.all.absorb(&self.own);
    }
}

impl Sent {
    fn reference_id(&self) -> Option<i64> {
        match self {
            Sent::Accepted(accepted) => accepted.reference_id,
            Sent::InDoubt(_) | Sent::EarlierInDoubt(_) => None,
        }
    }

    /// Whether nothing can be under way any more, so that what is absent stays so. An accepted
    /// write is on its way in the vendor's own network, and who gave no answer in time may
    /// still be at it.
    fn is_over(&self) -> bool {
        match self {
            Sent::Accepted(_) => false,
            Sent::InDoubt(failure) => is_over(failure.error.label(), failure.error.status()),
            Sent::EarlierInDoubt(earlier) => is_over(&earlier.failure, earlier.vendor_status),
        }
    }
}

/// By the label of a failure and the status that came with it, as that is all that is kept of an
/// earlier one.
fn is_over(failure: &str, status: Option<StatusCode>) -> bool {
    match failure {
        "lost" => true,
        "unavailable" => status != Some(StatusCode::GATEWAY_TIMEOUT),
        _ => false,
    }
}

/// When the session is read next.
struct Schedule {
    next: Instant,
    pause: Duration,
    last: Instant,
}

impl Schedule {
    fn new(deadline: Instant, next: Instant) -> Self {
        Schedule {
            next,
            pause: FIRST_PAUSE,
            last: deadline - LAST_READ,
        }
    }

    fn now(&mut self) {
        self.next = Instant::now();
    }

    /// Rarer with each read, and one shortly before the end.
    fn advance(&mut self) {
        let now = Instant::now();
        let next = now + self.pause;
        self.next = match now < self.last {
            true => next.min(self.last),
            false => next,
        };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether a read shows what one that was begun long enough before has shown.
fn stays(first: &mut Option<Instant>, begun: Instant) -> bool {
    begun - *first.get_or_insert(begun) >= inferred::ABSENT_AFTER
}

fn is_not_found(error: &Error) -> bool {
    let meaning = Refusal::NotFound;
    matches!(error, Error::Refused { meaning: is, .. } if *is == meaning)
}
