//! What callers are told of confirmed writes, held against what the vendor holds, whatever befell
//! requests, answers and notifications.

use std::time::Duration;

use futures_util::future::join_all;
use rand::Rng;
use switchboard::pb::{AttachUserDataRequest, Confirmation, Outcome};
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::sandbox::genesys::{Notification, NotificationPlan, NotificationRule};
use tonic::{Code, Status};

use crate::support::untimed::{self, within};
use crate::support::{Gateway, data, impatient, reason, text};

const GATEWAYS: usize = 4;
const WRITERS: usize = 5;
const WRITES: usize = 16;

/// Long enough for two reads a second apart, short enough for hundreds of writes.
const WAIT: Duration = Duration::from_millis(3500);

fn faults() -> Vec<Rule> {
    let operations = ["AttachUserData", "GetSession", "Connect"];
    let kinds = [
        Fault::Reset,
        Fault::CutBody,
        Fault::Garbage,
        Fault::status(502),
        Fault::status(504),
        Fault::NoCode,
        Fault::Latency { ms: 300 },
    ];
    let rules = operations.iter().flat_map(|operation| {
        kinds.iter().flat_map(move |kind| {
            let rule = Rule::new(kind.clone())
                .operation(operation)
                .probability(0.03);
            [rule.clone(), rule.after()]
        })
    });
    rules.collect()
}

fn notifications() -> NotificationPlan {
    let error = Notification::Error {
        message: "not now".to_owned(),
    };
    // The first rule that wants to is the one that acts. Errors are what most of the definite
    // refusals come from, and those are a promise to be put to the test, too.
    let kinds = [
        error,
        Notification::BeforeAnswer,
        Notification::Late { ms: 400 },
        Notification::Never,
        Notification::Twice,
        Notification::WithoutReferenceId,
    ];
    NotificationPlan {
        rules: kinds
            .map(|kind| NotificationRule::new(kind).probability(0.15))
            .into(),
        reference_id_in_answers: rand::random(),
        ack: rand::random(),
        timeout_ms: 1000,
        ..NotificationPlan::default()
    }
}

fn attach(session: &str, key: &str) -> AttachUserDataRequest {
    AttachUserDataRequest {
        session_id: session.to_owned(),
        user_data: Some(data(&[(key, "done")])),
        confirmation: Confirmation::Confirmed.into(),
        ..Default::default()
    }
}

/// How often each promise was put to the test.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    confirmed: usize,
    refused: usize,
    unknown: usize,
}

/// The wait of `untimed` has no timer of its own, so every answer is the gateway's.
async fn write(gateway: &Gateway, session: &str, key: &str, counts: &mut Counts) {
    let mut sms = untimed::sms(gateway.address).await;
    let request = within(WAIT, attach(session, key));
    let answer = sms.attach_user_data(request).await;
    let attaches = gateway.sandbox.genesys().attaches();
    let done = attaches
        .iter()
        .filter(|(_, attached)| attached == key)
        .count();
    assert!(done <= 1, "{key} was attached {done} times");
    match answer {
        Ok(answer) => {
            let answer = answer.into_inner();
            assert_eq!(answer.outcome(), Outcome::Confirmed);
            assert_eq!(done, 1, "{key} is said to be in place");
            let seen = answer.session.unwrap().user_data.unwrap();
            assert_eq!(seen.fields[key], text("done"));
            counts.confirmed += 1;
        }
        Err(status) if is_unknown(&status) => counts.unknown += 1,
        Err(status) => {
            assert_eq!(done, 0, "{key} is said not to have been done: {status:?}");
            counts.refused += 1;
        }
    }
}

fn is_unknown(status: &Status) -> bool {
    let unknown = reason(status) == "OUTCOME_UNKNOWN";
    let codes = [Code::DeadlineExceeded, Code::Unknown];
    assert!(!unknown || codes.contains(&status.code()), "{status:?}");
    unknown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_of_a_write_is_what_the_vendor_holds() {
    let scenes = (0..GATEWAYS).map(|_| async {
        let gateway = Gateway::start_with(impatient).await;
        let genesys = gateway.sandbox.genesys();
        genesys.set_notifications(notifications()).unwrap();
        gateway.sandbox.faults().replace(faults()).unwrap();
        let writers = (0..WRITERS).map(|writer| {
            let session = format!("session-{writer}");
            genesys.add_session("agent1", &session);
            let gateway = &gateway;
            async move {
                let mut counts = Counts::default();
                for number in 0..WRITES {
                    let key = format!("{session}-{number}");
                    write(gateway, &session, &key, &mut counts).await;
                    if rand::rng().random_bool(0.05) {
                        gateway.sandbox.genesys().drop_clients();
                    }
                }
                counts
            }
        });
        join_all(writers).await
    });
    let counts: Vec<_> = join_all(scenes).await.into_iter().flatten().collect();
    let sum = |of: fn(&Counts) -> usize| counts.iter().map(of).sum::<usize>();
    let (confirmed, refused) = (sum(|c| c.confirmed), sum(|c| c.refused));
    // Else it proved nothing.
    const { assert!(GATEWAYS * WRITERS * WRITES >= 300) };
    assert!(confirmed > 100 && refused > 10, "{counts:?}");
}
