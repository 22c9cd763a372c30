//! A write that was answered has its line in the audit log, whatever becomes of the gateway then.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use switchboard::pb::UpdateUserDataRequest;
use switchboard::pb::sms_session_data_client::SmsSessionDataClient;
use switchboard::sandbox::{Options, Sandbox};
use tonic::transport::Endpoint;

use crate::support::data;
use crate::support::process::{Folder, Process};

const CALLERS: usize = 64;
const CALLS: usize = 20;

/// Killed as soon as the last of them has its answer: no end of a process is more sudden.
#[tokio::test]
async fn every_answer_before_the_gateway_is_killed_has_its_line() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let folder = Folder::new("audit");
    let accounts = format!(
        "genesys:\n  base_url: {}\n  accounts:\n    default: {{ username: agent1, password_file: {} }}",
        sandbox.genesys_url(),
        folder.path().join("password").display()
    );
    let mut gateway = Process::spawn(&folder, "gateway", "  shutdown_delay: 0s", &accounts);
    gateway.listening().await;
    let endpoint = Endpoint::try_from(format!("http://{}", gateway.address)).unwrap();
    let sms = SmsSessionDataClient::new(endpoint.connect().await.unwrap());

    let callers = (0..CALLERS).map(|caller| {
        let mut sms = sms.clone();
        async move {
            for call in 0..CALLS {
                // Unknown to the vendor: a refusal is an answer too.
                let request = UpdateUserDataRequest {
                    session_id: session(caller, call),
                    user_data: Some(data(&[("Ticket", "1")])),
                    ..Default::default()
                };
                let answer = sms.update_user_data(request).await;
                assert_eq!(answer.unwrap_err().code(), tonic::Code::NotFound);
            }
        }
    });
    join_all(callers).await;
    gateway.kill();
    gateway.ended().await;

    let lines = folder.logged("switchboard::audit");
    let written = lines.iter().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("whole lines");
        line["target_id"].as_str().unwrap().to_owned()
    });
    let written: BTreeSet<_> = written.collect();
    assert_eq!(lines.len(), CALLERS * CALLS);
    let all = (0..CALLERS).flat_map(|caller| (0..CALLS).map(move |call| session(caller, call)));
    assert_eq!(written, all.collect());
}

fn session(caller: usize, call: usize) -> String {
    format!("{caller:08x}{call:08x}")
}
