//! A write that returns when it is known to have happened, or not.
//!
//! ```text
//! turn -> listen -> send -+- refused ------------------------------> that error
//!                         +- accepted, or its answer was lost
//!                              |  a notification, or a read, shows it in place -> CONFIRMED
//!                              |    (a delete: a notification of its own number, or a read;
//!                              |     two reads where its answer was lost)
//!                              |  a notification of the vendor says that it failed -> rejected
//!                              |    (that some write failed: if reads do not show it after that)
//!                              |  the connection broke, and reads show nothing -> sent again
//!                              |                        (Once only, and once), or not done
//!                              +- the deadline ----------------------> outcome unknown
//! ```

mod findings;
mod proof;
mod schedule;
mod sent;
mod told;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use tokio::time::{Instant, timeout_at};

use self::findings::Proof;
use self::schedule::BEFORE_READING;
pub(in crate::vendors::genesys) use self::sent::Sent;
use super::feed::Filter;
use super::hub::{Consumer, Hub};
use super::turns::Turn;
use crate::pb::SmsSession;
use crate::upstream::client::{Client, Ticket};
use crate::upstream::error::{Error, Failure};
use crate::upstream::operation::{Replay, Vendor as _};
use crate::upstream::span;
use crate::vendors::genesys::Genesys;
use crate::vendors::genesys::sms_session_data::write::Write;

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
        let attributes = self.attributes();
        let work = async move {
            // Until now nothing was sent, and who leaves leaves nothing behind.
            let turn = self.turn().await?;
            let consumer = self.listen().await;
            // Whole, whoever still waits: what is in place must not be found out by halves.
            let client = self.client.clone();
            let rest = async move { self.send_and_prove(turn, consumer).await };
            client.outlive(const { &O::META }, rest).await
        };
        span::within("confirmed write", attributes, work).await
    }

    async fn send_and_prove(&self, _turn: Turn, consumer: Consumer) -> Result<Confirmed, Failure> {
        let mut sent = self.send().await?;
        let mut proof = self.prove(&sent, &consumer).await;
        if let (Proof::Absent, Sent::InDoubt(lost)) = (&proof, &sent)
            && self.may_send_again()
        {
            self.ticket.progress.forget_doubt();
            self.ticket.progress.mark_repeat(lost.error.label());
            sent = self.send().await?;
            proof = self.prove(&sent, &consumer).await;
        }
        self.conclude(sent, proof)
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
        O::META.replay == Replay::Once
            && !self.ticket.caller_repeats
            && self.time_left() > BEFORE_READING
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
        let accepted = matches!(sent, Sent::Accepted(_));
        self.ticket.progress.await_proof(accepted);
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

    fn filter(&self) -> Filter {
        Filter::WritesTo(self.operation.session_id().to_owned())
    }

    fn for_reading(&self) -> Duration {
        schedule::for_reading(self.time_left())
    }

    fn time_left(&self) -> Duration {
        let deadline = self.ticket.deadline;
        deadline.saturating_duration_since(Instant::now())
    }

    fn failure(&self, error: Error) -> Failure {
        let meta = const { &O::META };
        Failure {
            sent: self.ticket.progress.sent(),
            ..Failure::unsent(Genesys::NAME, meta.name, meta.replay, error)
        }
    }
}
