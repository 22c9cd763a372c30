//! Which rule is drawn.

use super::{Drawn, Fault, Plan, Rule, Stage};
use crate::sandbox::http::Operation;

const ATTACH: Operation = Operation::call("AttachUserData");

fn plan(rules: Vec<Rule>) -> Plan {
    let plan = Plan::default();
    plan.replace(rules).unwrap();
    plan
}

fn drawn(plan: &Plan, vendor: &str, operation: Operation) -> Option<&'static str> {
    plan.draw(vendor, operation).map(|drawn| drawn.fault.kind())
}

#[test]
fn an_empty_plan_disturbs_nothing() {
    assert_eq!(Plan::default().draw("genesys", ATTACH), None);
}

#[test]
fn the_first_match_wins_until_its_times_are_used_up() {
    let first = Rule::new(Fault::Reset).times(2);
    let plan = plan(vec![
        first,
        Rule::new(Fault::Hang).times(1),
        Rule::new(Fault::NoCode),
    ]);
    let kinds = [(); 5].map(|()| drawn(&plan, "aicc", ATTACH).unwrap());
    assert_eq!(kinds, ["reset", "reset", "hang", "no_code", "no_code"]);
}

#[test]
fn vendor_and_operation_narrow_a_rule() {
    let plan = plan(vec![
        Rule::new(Fault::Reset).vendor("aicc"),
        Rule::new(Fault::Hang).operation("AttachUserData"),
    ]);
    assert_eq!(drawn(&plan, "aicc", ATTACH), Some("reset"));
    assert_eq!(drawn(&plan, "genesys", ATTACH), Some("hang"));
    assert_eq!(drawn(&plan, "genesys", Operation::call("GetSession")), None);
}

#[test]
fn a_login_is_only_met_by_name() {
    let login = Operation::login("Login");
    let plan = plan(vec![Rule::new(Fault::Reset)]);
    assert_eq!(drawn(&plan, "genesys", login), None);
    plan.push(Rule::new(Fault::Unauthorized).operation("Login"))
        .unwrap();
    assert_eq!(drawn(&plan, "genesys", login), Some("unauthorized"));
}

#[test]
fn a_lost_throw_passes_to_the_next_rule_and_costs_no_time() {
    let never = Rule::new(Fault::Reset).probability(0.0).times(1);
    let plan = plan(vec![never.clone(), Rule::new(Fault::Hang).after()]);
    let hang = Drawn {
        stage: Stage::After,
        fault: Fault::Hang,
    };
    assert_eq!(plan.draw("genesys", ATTACH), Some(hang));
    assert_eq!(plan.rules()[0], never);
}

#[test]
fn an_operation_that_its_vendor_has_not_is_refused() {
    for (vendor, operation) in [("genesys", "update"), ("aicc", "UpdateUserData")] {
        let refused = Plan::default().push(rule(vendor, operation)).unwrap_err();
        assert!(refused.to_string().contains(operation), "{refused}");
        let known = refused.to_string();
        let known = known.split_once("one of ").unwrap().1;
        for name in known.split(", ") {
            Plan::default().push(rule(vendor, name)).unwrap();
        }
    }
}

fn rule(vendor: &str, operation: &str) -> Rule {
    Rule::new(Fault::Reset).vendor(vendor).operation(operation)
}

#[test]
fn about_half_of_the_throws_win_at_one_half() {
    let plan = plan(vec![Rule::new(Fault::Reset).probability(0.5)]);
    let won = (0..1000)
        .filter(|_| plan.draw("genesys", ATTACH).is_some())
        .count();
    assert!((300..700).contains(&won), "{won}");
}

#[test]
fn every_kind_is_spelt_as_it_is_named() {
    for fault in [
        Fault::Latency { ms: 1 },
        Fault::status(503),
        Fault::Reset,
        Fault::CutBody,
        Fault::Garbage,
        Fault::Html { status: 502 },
        Fault::Oversize { bytes: 1 },
        Fault::WrongType,
        Fault::NoCode,
        Fault::Unauthorized,
        Fault::ForbiddenToken,
        Fault::VendorCode {
            code: 4.into(),
            message: String::new(),
        },
        Fault::Throttle {
            retry_after: "1".to_owned(),
        },
        Fault::Hang,
        Fault::Trickle { ms_per_byte: 1 },
    ] {
        let json = serde_json::to_value(&fault).unwrap();
        assert_eq!(json["kind"], fault.kind());
        assert_eq!(serde_json::from_value::<Fault>(json).unwrap(), fault);
    }
}
