//! The documented calls go through.

use tonic::Code;

use crate::support::{self, Gateway, SESSION};
use switchboard::pb::{GetSessionRequest, Outcome, UpdateUserDataRequest};

#[tokio::test]
async fn a_write_is_seen_by_a_read() {
    let gateway = Gateway::start().await;
    let mut sms = gateway.sms();
    let update = UpdateUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(support::data(&[("Colour", "green")])),
        ..Default::default()
    };
    let answer = sms.update_user_data(update).await.unwrap();
    assert_eq!(support::attempts(answer.metadata()), 1);
    assert_eq!(answer.into_inner().outcome(), Outcome::Accepted);
    let request = GetSessionRequest {
        session_id: SESSION.into(),
        ..Default::default()
    };
    let session = sms.get_session(request).await.unwrap().into_inner();
    let data = session.session.unwrap().user_data.unwrap();
    assert_eq!(data.fields["Colour"], support::text("green"));
}

#[tokio::test]
async fn a_refusal_says_why() {
    let gateway = Gateway::start().await;
    let request = GetSessionRequest {
        session_id: "absent".into(),
        ..Default::default()
    };
    let status = gateway.sms().get_session(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(support::reason(&status), "VENDOR_NOT_FOUND");
    assert_eq!(support::fact(&status, "vendorCode"), "6");
}
