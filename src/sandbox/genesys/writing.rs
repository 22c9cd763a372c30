//! Changes, by request and from elsewhere, and the notifications that they make.

use bytes::Bytes;
use http::Response;
use serde_json::{Map, Value};

use super::answers::{invalid, missing, not_found, success, success_with_reference};
use super::change::{Change, Unreadable};
use super::notifications::Notification;
use super::sms::SmsSession;
use super::state::State;
use super::step::Step;
use crate::sandbox::http::Answer;

impl State {
    pub(super) fn change(&mut self, agent: &str, id: &str, body: &[u8]) -> Step {
        let change = match Change::read(body) {
            Ok(change) => change,
            Err(unreadable) => return Answer::unchanged(self.refuse(unreadable)).into(),
        };
        if self.sms.find_of(agent, id).is_none() {
            return Answer::unchanged(not_found()).into();
        }
        let reference_id = self.sms.next_reference(agent);
        let notification = self.comet.plan().draw(change.operation());
        let applied = !matches!(notification, Notification::Error { .. });
        if applied {
            self.sms.apply(id, change, reference_id);
        }
        let session = self.sms.find_of(agent, id);
        let receipt =
            session.and_then(|session| self.comet.tell(session, reference_id, notification));
        let response = match self.comet.plan().reference_id_in_answers {
            true => success_with_reference(reference_id),
            false => success(),
        };
        let answer = Answer { response, applied };
        match receipt {
            Some(receipt) => Step::Notified(answer, receipt),
            None => answer.into(),
        }
    }

    fn refuse(&mut self, unreadable: Unreadable) -> Response<Bytes> {
        match unreadable {
            Unreadable::Missing(message) => missing(message),
            Unreadable::Invalid(message) => invalid(message),
            Unreadable::WipesAll => {
                self.dangerous_deletes += 1;
                missing("Parameter 'keys' is missing")
            }
        }
    }

    /// As the agent's desktop would: it shares the agent's numbering, and every client hears of it.
    pub(super) fn set_user_data(&mut self, id: &str, user_data: Map<String, Value>) {
        let Some(session) = self.sms.find_mut(id) else {
            return;
        };
        session.user_data = user_data;
        let session = session.clone();
        let reference_id = self.sms.next_reference(&session.agent);
        self.comet
            .tell(&session, reference_id, Notification::Normal);
    }

    /// A change of the session itself, of which the agent's clients are told.
    pub(super) fn change_session(
        &mut self,
        id: &str,
        notification_type: &str,
        change: impl FnOnce(&mut SmsSession),
    ) {
        if let Some(session) = self.sms.find_mut(id) {
            change(session);
            self.comet.tell_change(session, notification_type);
        }
    }
}
