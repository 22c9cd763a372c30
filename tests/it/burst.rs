//! Of many calls that arrive at the same moment most wait until those ahead of them are answered: they
//! are not all at the vendor, each over a connection of its own, before the first answer is read.

use switchboard::pb::UpdateUserDataRequest;
use tokio::io::AsyncWriteExt;

use crate::support::frames::{
    self, DATA, END_HEADERS, END_STREAM, HEADERS, frame, greeted, head, message,
};
use crate::support::{self, Gateway, SESSION, upstreams};

const UPDATE: &str = "/contactcenter.v1.SmsSessionData/UpdateUserData";

/// As many as one connection carries, nearly.
const CALLS: u32 = 1000;

#[tokio::test]
async fn calls_that_have_begun_get_on_before_further_ones_begin() {
    let gateway = Gateway::start_with(|config| {
        for upstream in upstreams(config) {
            upstream.limit.in_flight = CALLS as usize;
        }
    })
    .await;
    let update = || UpdateUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(support::data(&[("Colour", "green")])),
        ..Default::default()
    };
    // So that none has to log in.
    gateway.sms().update_user_data(update()).await.unwrap();
    let journal = gateway.sandbox.journal();
    let at_vendor = || journal.count("genesys", "UpdateUserData") - 1;

    let mut socket = greeted(gateway.address, b"").await;
    let calls = (0..CALLS).flat_map(|call| {
        let stream = 2 * call + 1;
        let begin = frame(HEADERS, END_HEADERS, stream, &head(UPDATE));
        [begin, frame(DATA, END_STREAM, stream, &message(&update()))].concat()
    });
    let calls: Vec<u8> = calls.collect();
    socket.write_all(&calls).await.unwrap();
    let (mut answered, mut under_way) = (0, 0);
    while answered < u64::from(CALLS) {
        let frame = frames::next(&mut socket).await.expect("an answer");
        // Trailers: the head of an answer does not end its stream.
        if frame.kind == HEADERS && frame.flags & END_STREAM != 0 {
            answered += 1;
            under_way = under_way.max(at_vendor().saturating_sub(answered));
        }
    }
    assert_eq!(at_vendor(), u64::from(CALLS), "each was served, and once");
    assert!(under_way < u64::from(CALLS) / 2, "{under_way} at a time");
}
