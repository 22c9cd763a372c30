//! What a notification says about a write. Pure.

use super::super::event::Event;
use super::super::feed::Item;
use super::Sent;
use crate::pb::SmsSession;
use crate::vendors::genesys::sms_session_data::write::Write;

pub(super) enum Told {
    InPlace(SmsSession),
    /// The vendor names this write as failed.
    Rejected,
    /// The vendor names some write as failed, perhaps this one.
    PerhapsRejected,
    /// Only a read can say more.
    Look,
    Nothing,
}

pub(super) fn told<O: Write>(operation: &O, sent: &Sent, item: &Item) -> Told {
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
        return match (about_us, event.session()) {
            (true, _) => Told::Rejected,
            (false, Some(_)) => Told::PerhapsRejected,
            // Of the whole account, and of nothing that points to this write.
            (false, None) => Told::Nothing,
        };
    }
    match shown(operation, event) {
        // A state without the key may also be one of before it was put there, told late.
        Some(session) if about_us || !O::SHOWN_BY_ABSENCE => Told::InPlace(session.clone()),
        Some(_) => Told::Look,
        None if about_us || event.needs_a_read() => Told::Look,
        None => Told::Nothing,
    }
}

/// The session, when an update of it shows the write in place.
fn shown<'a>(operation: &impl Write, event: &'a Event) -> Option<&'a SmsSession> {
    let session = event.session().filter(|_| event.is_update())?;
    let tells = session.user_data.is_some();
    (tells && operation.is_in_place(session)).then_some(session)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::{Method, Request};
    use serde_json::json;
    use serde_json::value::to_raw_value;

    use super::*;
    use crate::upstream::error::Error;
    use crate::upstream::operation::{Meta, Operation, Replay, Reply};
    use crate::vendors::genesys::Genesys;
    use crate::vendors::genesys::notifications::event;
    use crate::vendors::genesys::sms_session_data::write::Accepted;

    /// Puts the topic there, or takes it away.
    struct Topic<const GOES: bool>;

    impl<const GOES: bool> Operation for Topic<GOES> {
        type Vendor = Genesys;
        type Output = Accepted;
        const META: Meta = Meta {
            name: "Topic",
            method: Method::POST,
            template: "/",
            replay: Replay::Idempotent,
            creates: false,
        };

        fn request(&self) -> Result<Request<Bytes>, Error> {
            unreachable!("nothing is sent")
        }

        fn decode(&self, _: &Reply) -> Result<Accepted, Error> {
            unreachable!("nothing is answered")
        }
    }

    impl<const GOES: bool> Write for Topic<GOES> {
        const SHOWN_BY_ABSENCE: bool = GOES;

        fn session_id(&self) -> &'static str {
            "s1"
        }

        fn is_in_place(&self, session: &SmsSession) -> bool {
            let held = session.user_data.as_ref();
            let is_there = held.is_some_and(|held| held.fields.contains_key("Topic"));
            is_there != GOES
        }
    }

    /// Answered with this number, if any.
    fn accepted(reference_id: Option<i64>) -> Sent {
        Sent::Accepted(Accepted { reference_id })
    }

    /// A notification of this kind and number about a session with these fields, if about any.
    fn item(kind: &str, reference_id: Option<i64>, session: Option<serde_json::Value>) -> Item {
        let mut data = json!({"notificationType": kind});
        if let Some(number) = reference_id {
            data["referenceId"] = number.into();
        }
        if let Some(session) = session {
            data["smssession"] = session;
        }
        let data = to_raw_value(&data).unwrap();
        let event = event::read("/v2/me/smssessions", &data);
        Item::Event(Arc::new(event.unwrap().expect("of an SMS session")))
    }

    fn name(told: &Told) -> &'static str {
        match told {
            Told::InPlace(_) => "in place",
            Told::Rejected => "rejected",
            Told::PerhapsRejected => "perhaps rejected",
            Told::Look => "look",
            Told::Nothing => "nothing",
        }
    }

    #[test]
    fn a_notification_is_proof_by_what_it_shows_and_whose_number_it_bears() {
        const OURS: Option<i64> = Some(83);
        const THEIRS: Option<i64> = Some(82);
        const UPDATE: &str = "PropertiesUpdated";
        let with = || Some(json!({"id": "s1", "userData": {"Topic": "x"}}));
        let without = || Some(json!({"id": "s1", "userData": {"Other": "x"}}));
        let untold = || Some(json!({"id": "s1"}));
        // The notification, and what it says of a write that puts the topic there and of one that
        // takes it away, each with the number 83 and without one.
        let table = [
            (
                UPDATE,
                OURS,
                with(),
                ["in place", "in place", "look", "nothing"],
            ),
            (
                UPDATE,
                OURS,
                without(),
                ["look", "nothing", "in place", "look"],
            ),
            (UPDATE, OURS, untold(), ["look"; 4]),
            (
                UPDATE,
                THEIRS,
                with(),
                ["nothing", "in place", "nothing", "nothing"],
            ),
            (
                UPDATE,
                THEIRS,
                without(),
                ["nothing", "nothing", "nothing", "look"],
            ),
            (
                UPDATE,
                None,
                with(),
                ["in place", "in place", "nothing", "nothing"],
            ),
            (
                UPDATE,
                None,
                without(),
                ["nothing", "nothing", "look", "look"],
            ),
            (UPDATE, None, untold(), ["look"; 4]),
            // Only an update tells the user data as it is now.
            ("StatusChange", None, with(), ["nothing"; 4]),
            ("StatusChange", None, without(), ["nothing"; 4]),
            (
                "StatusChange",
                OURS,
                with(),
                ["look", "nothing", "look", "nothing"],
            ),
            (
                "Error",
                OURS,
                untold(),
                [
                    "rejected",
                    "perhaps rejected",
                    "rejected",
                    "perhaps rejected",
                ],
            ),
            (
                "Error",
                OURS,
                None,
                ["rejected", "nothing", "rejected", "nothing"],
            ),
            (
                "Error",
                THEIRS,
                untold(),
                ["nothing", "perhaps rejected", "nothing", "perhaps rejected"],
            ),
            ("Error", None, untold(), ["perhaps rejected"; 4]),
            ("Error", None, None, ["nothing"; 4]),
        ];
        let [numbered, unnumbered] = [accepted(OURS), accepted(None)];
        for (kind, number, session, expected) in table {
            let shown = format!("{kind} {number:?} {session:?}");
            let item = item(kind, number, session);
            let found = [
                told(&Topic::<false>, &numbered, &item),
                told(&Topic::<false>, &unnumbered, &item),
                told(&Topic::<true>, &numbered, &item),
                told(&Topic::<true>, &unnumbered, &item),
            ];
            assert_eq!(found.each_ref().map(name), expected, "{shown}");
        }
        let missed = Item::Missed(7);
        assert_eq!(name(&told(&Topic::<false>, &numbered, &missed)), "look");
    }
}
