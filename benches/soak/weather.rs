//! What goes wrong during a soak: rules that come and go, storms in which a vendor is as good as
//! away, logins and notifications that fail, logins and listeners that are forgotten.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use switchboard::sandbox::Sandbox;
use switchboard::sandbox::faults::{Code, Fault, Rule};
use switchboard::sandbox::genesys::{Notification, NotificationPlan, NotificationRule};
use tokio::time::sleep;

use crate::faults::every_fault;

const CHANGE: Duration = Duration::from_secs(4);

/// Rules at a time, each with a small probability of its own.
const RULES: usize = 10;

/// Of which one in so many is a storm.
const STORMS: u32 = 8;

/// Twice what the gateways take.
const TOO_LARGE: usize = 2 << 20;

/// Goes on until it is dropped.
pub async fn weather(sandbox: Sandbox, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut kinds = every_fault();
    for kind in &mut kinds {
        // A yes that the gateway's bound let through would be a vendor's lie.
        if let Fault::Oversize { bytes } = &mut kind.fault {
            *bytes = TOO_LARGE;
        }
        // So would be a read that does not find a session which is there.
        if is_not_found(&kind.fault) {
            *kind = kind.clone().vendor("genesys").operation("AttachUserData");
        }
    }
    loop {
        let mut rules = of_logins(&mut rng);
        rules.extend(of_notifications(&mut rng));
        if rng.random_ratio(1, STORMS) {
            rules.push(storm(&mut rng));
        }
        for kind in kinds.choose_multiple(&mut rng, RULES) {
            let probability = rng.random_range(0.002..0.02);
            rules.push(kind.clone().probability(probability));
        }
        sandbox.faults().replace(rules).unwrap();
        sandbox
            .genesys()
            .set_notifications(odd_notifications(&mut rng))
            .unwrap();
        sleep(CHANGE / 2).await;
        shake(&sandbox, &mut rng);
        sleep(CHANGE / 2).await;
    }
}

fn is_not_found(fault: &Fault) -> bool {
    let six = Code::from(6);
    match fault {
        Fault::Status { status, .. } => *status == 404,
        Fault::VendorCode { code, .. } => *code == six,
        _ => false,
    }
}

/// All is well again.
pub fn calm(sandbox: &Sandbox) {
    sandbox.faults().clear();
    sandbox.genesys().clear_notifications();
}

fn of_logins(rng: &mut StdRng) -> Vec<Rule> {
    let kinds = [
        Fault::Reset,
        Fault::Hang,
        Fault::status(503),
        Fault::Garbage,
        Fault::Unauthorized,
    ];
    let mut rule = |operation: &str| {
        let fault = kinds.choose(rng).unwrap().clone();
        Rule::new(fault).operation(operation).probability(0.1)
    };
    vec![rule("Login"), rule("Token")]
}

fn of_notifications(rng: &mut StdRng) -> Vec<Rule> {
    let kinds = [
        Fault::Reset,
        Fault::CutBody,
        Fault::Garbage,
        Fault::Html { status: 502 },
        Fault::status(503),
        Fault::Latency { ms: 500 },
    ];
    let operations = ["Handshake", "Subscribe", "Connect"];
    let rule = |operation: &str| {
        let rule = Rule::new(kinds.choose(rng).unwrap().clone()).operation(operation);
        let rule = rule.probability(0.05);
        if rng.random() { rule.after() } else { rule }
    };
    operations.map(rule).into()
}

fn storm(rng: &mut StdRng) -> Rule {
    let kinds = [
        Fault::Reset,
        Fault::Hang,
        Fault::status(503),
        Fault::Latency { ms: 3_000 },
    ];
    let vendor = ["genesys", "aicc"].choose(rng).unwrap();
    let fault = kinds.choose(rng).unwrap().clone();
    Rule::new(fault).vendor(vendor).probability(0.8)
}

/// None that is a lie: a yes to what was not done would make every gateway a liar.
fn odd_notifications(rng: &mut StdRng) -> NotificationPlan {
    let kinds = [
        Notification::Late { ms: 300 },
        Notification::Never,
        Notification::Twice,
        Notification::WithoutReferenceId,
    ];
    let rule = NotificationRule {
        probability: 0.2,
        ..NotificationRule::new(kinds.choose(rng).unwrap().clone())
    };
    NotificationPlan {
        rules: vec![rule],
        reference_id_in_answers: rng.random(),
        ..NotificationPlan::default()
    }
}

fn shake(sandbox: &Sandbox, rng: &mut StdRng) {
    match rng.random_range(0..6) {
        0 => sandbox.aicc().expire_tokens(),
        1 => sandbox.genesys().expire_sessions(),
        2 => sandbox.genesys().fail_over(),
        3 => sandbox.genesys().drop_clients(),
        _ => {}
    }
}
