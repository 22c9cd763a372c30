//! A request's body as it arrives: one message, as every method that is mounted below takes, and by
//! the deadline.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tonic::body::Body;

use super::status;

/// Who sends a call's head and then nothing would hold a place for ever; of whoever sends more than a
/// message the gRPC library would take the first, and read the others without a word.
pub(super) struct Arriving {
    body: Body,
    extent: Extent,
    deadline: Instant,
    /// Made when there is something to wait for, which there seldom is.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Arriving {
    pub(super) fn new(body: Body, deadline: Instant) -> Self {
        Arriving {
            body,
            extent: Extent::default(),
            deadline,
            timer: None,
        }
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            if let Some(Ok(frame)) = &frame
                && let Some(data) = frame.data_ref()
                && !self.extent.takes(data)
            {
                return Poll::Ready(Some(Err(status::more_than_a_message())));
            }
            return Poll::Ready(frame);
        }
        let deadline = self.deadline;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        // The clock decides, as timers fire late in a busy runtime.
        if timer.as_mut().poll(cx).is_ready() || Instant::now() >= deadline {
            return Poll::Ready(Some(Err(status::message_late())));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How much of a body has arrived, and how much belongs to its first message.
#[derive(Debug, Default)]
struct Extent {
    /// Whether the message is packed, and its length.
    head: [u8; 5],
    arrived: u64,
}

impl Extent {
    /// Whether what comes next is a part of the message, too.
    fn takes(&mut self, data: &[u8]) -> bool {
        let whole = self.head.len();
        let had = usize::try_from(self.arrived).map_or(whole, |had| had.min(whole));
        let new = data.len().min(whole - had);
        self.head[had..had + new].copy_from_slice(&data[..new]);
        self.arrived += data.len() as u64;
        let [_, length @ ..] = self.head;
        // Less than it comes to, as long as the head is not whole.
        self.arrived <= whole as u64 + u64::from(u32::from_be_bytes(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;
    use prost_types::FileDescriptorSet;

    proptest! {
        #[test]
        fn a_message_is_taken_however_it_is_cut_and_nothing_after_it(
            length in 0usize..600,
            more in 0usize..8,
            cuts in prop::collection::vec(1usize..50, 0..40),
        ) {
            let head = u32::try_from(length).unwrap().to_be_bytes();
            let body = [&[0][..], &head, &vec![7; length + more]].concat();
            let mut extent = Extent::default();
            let mut rest = &body[..];
            let mut taken = true;
            for cut in cuts {
                let (part, left) = rest.split_at(cut.min(rest.len()));
                taken &= extent.takes(part);
                rest = left;
                prop_assert_eq!(taken, body.len() - rest.len() <= 5 + length);
            }
            prop_assert_eq!(taken & extent.takes(rest), more == 0);
        }
    }

    #[test]
    fn no_method_takes_a_stream() {
        for set in [
            crate::pb::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
        ] {
            for file in FileDescriptorSet::decode(set).unwrap().file {
                let methods = file.service.iter().flat_map(|it| &it.method);
                assert_eq!(methods.filter(|it| it.client_streaming()).count(), 0);
            }
        }
    }

    #[test]
    fn the_longest_that_can_be_told_is_no_overflow() {
        let mut extent = Extent::default();
        assert!(extent.takes(&[0, 0xff, 0xff, 0xff, 0xff]));
        assert!(extent.takes(&[0; 100]));
    }
}
