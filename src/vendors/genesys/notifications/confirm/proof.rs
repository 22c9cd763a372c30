//! Listens and reads until what became of a write is proven, or there is no time left.

use futures_util::future::{BoxFuture, Fuse, FusedFuture, FutureExt};
use http::StatusCode;
use tokio::time::{Instant, sleep_until};

use super::super::feed::Item;
use super::super::hub::Consumer;
use super::findings::{Findings, Proof, Seen};
use super::schedule::{BEFORE_READING, FIRST_PAUSE, Schedule};
use super::told::{Told, told};
use super::{Confirmation, Sent};
use crate::pb::{GetSessionRequest, SmsSession};
use crate::upstream::client::Ticket;
use crate::upstream::error::{Answer, Error, Failure, Refusal};
use crate::upstream::redact::Redactor;
use crate::vendors::genesys::sms_session_data::get_session::GetSession;
use crate::vendors::genesys::sms_session_data::write::Write;

impl<O: Write> Confirmation<O> {
    /// Listens, and reads, until either proves what became of it or the time is over.
    pub(super) async fn gather(&self, sent: &Sent, consumer: &Consumer) -> Proof {
        let mut look: Fuse<BoxFuture<'_, (Seen, Instant)>> = Fuse::terminated();
        let mut schedule = Schedule::new(self.ticket.deadline, self.first_read(sent));
        let over = sent.is_over() && !self.ticket.progress.was_unanswered();
        let mut findings = Findings::new(self.may_be_seen_once(sent), over);
        let mut deaf = false;
        loop {
            tokio::select! {
                biased;
                item = consumer.next(), if !deaf => match told(&*self.operation, sent, &item) {
                    Told::InPlace(session) => return Proof::InPlace(session, "notification"),
                    Told::Rejected => return Proof::Rejected(self.rejection(&item)),
                    Told::PerhapsRejected => {
                        findings.perhaps_rejected(self.rejection(&item));
                        schedule.now();
                    }
                    Told::Look => {
                        deaf = matches!(item, Item::Ended(_));
                        schedule.now();
                    }
                    Told::Nothing => {}
                },
                (seen, begun) = &mut look => if let Some(proof) = findings.take_in(seen, begun) {
                    return proof;
                },
                () = sleep_until(schedule.next), if look.is_terminated() => {
                    look = self.look().boxed().fuse();
                    schedule.advance();
                }
                () = sleep_until(self.ticket.deadline) => return findings.at_the_deadline(),
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

    /// What the vendor says now, and when the read began. Counted among the requests of the call.
    async fn look(&self) -> (Seen, Instant) {
        let begun = Instant::now();
        let ticket = Ticket {
            progress: self.ticket.progress.part(),
            ..self.ticket.clone()
        };
        let operation = GetSession(GetSessionRequest {
            session_id: self.operation.session_id().to_owned(),
            account: String::new(),
        });
        let read = self.client.call(operation, ticket).await;
        let seen = match read {
            Ok(session) if self.operation.is_in_place(&session) => Seen::InPlace(session),
            // There may be none, or the answer may leave it out.
            Ok(SmsSession {
                user_data: None, ..
            }) => Seen::Nothing,
            Ok(session) if self.operation.is_absent(&session) => Seen::Absent,
            Ok(_) => Seen::Changed,
            Err(failure) if failure.error.is_not_found() => Seen::Gone(Box::new(failure)),
            Err(_) => Seen::Nothing,
        };
        (seen, begun)
    }

    /// Whether one read proves it. A delete in doubt may be lost, and a state without the key one
    /// read while what puts it there is still on its way.
    fn may_be_seen_once(&self, sent: &Sent) -> bool {
        !O::SHOWN_BY_ABSENCE || matches!(sent, Sent::Accepted(_))
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
}
