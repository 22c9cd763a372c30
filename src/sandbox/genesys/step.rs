//! What a request comes to once the records have been changed: an answer, or one that has to wait.

use bytes::Bytes;
use http::Response;

use super::notifications::{Poll, Receipt};
use crate::sandbox::http::Answer;

pub(super) enum Step {
    Answer(Answer),
    /// Not before its notification has been fetched.
    Notified(Answer, Receipt),
    /// A held connect: the answer but for its body, and what the body waits for.
    Held(Response<Bytes>, Poll),
}

impl Step {
    pub(super) fn response_mut(&mut self) -> &mut Response<Bytes> {
        match self {
            Self::Answer(answer) | Self::Notified(answer, _) => &mut answer.response,
            Self::Held(head, _) => head,
        }
    }
}

impl From<Answer> for Step {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}
