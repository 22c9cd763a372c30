//! What a Bayeux server can say no by, as errors like those of any other request.

use http::StatusCode;

use crate::upstream::error::{Answer, Error, Refusal};

pub(super) fn unreadable() -> Error {
    Error::Unreadable {
        status: Some(StatusCode::OK),
        cause: "no Bayeux answer to the request in it".to_owned(),
    }
}

pub(super) fn stopped() -> Error {
    Error::Lost {
        cause: "the vendor ended the notifications: its Bayeux advice allows no further connect"
            .to_owned(),
    }
}

pub(super) fn forgotten() -> Error {
    Error::Lost {
        cause: "the vendor gave up a CometD session before it came to anything".to_owned(),
    }
}

/// A Bayeux error: its number, as its text is for people and may hold anything.
pub(super) fn no(code: Option<u16>) -> Error {
    refusal(Refusal::Failed, code, "Bayeux request refused")
}

pub(super) fn denied(code: Option<u16>) -> Error {
    refusal(
        Refusal::Denied,
        code,
        "subscription refused: see `genesys.notifications.channels`",
    )
}

fn refusal(meaning: Refusal, code: Option<u16>, text: &str) -> Error {
    Error::Refused {
        meaning,
        answer: Answer {
            status: StatusCode::OK,
            code: code.map(|code| code.to_string()),
            text: text.to_owned(),
        },
    }
}
