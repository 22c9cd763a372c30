//! The rules that several fields share, and how what breaks them is told.

use std::cell::Cell;

use tonic_types::StatusExt;

use super::*;

fn wrong(check: impl FnOnce(&mut Violations)) -> Vec<(String, String)> {
    let mut violations = Violations::default();
    check(&mut violations);
    let fields = violations.fields.into_iter();
    fields.map(|it| (it.field, it.description)).collect()
}

#[test]
fn nothing_wrong_is_fine() {
    let mut violations = Violations::default();
    violations.account(true);
    violations.check(true, "a", "b");
    violations.field("session_id", text("0071023821aec011", 128));
    violations.field("default", at_most("", 15));
    let keys = ["a", "b", "A"].map(str::to_owned);
    violations.distinct("keys", &keys, |_| None);
    assert!(violations.finish().is_ok());
}

#[test]
fn texts_have_one_to_so_many_characters() {
    let broken = |value: &str| wrong(|it| it.field("id", text(value, 3))).len();
    for fine in ["a", "abc", "äöü", "号码无", "a b", "\u{a0}", "\u{200b}"] {
        assert_eq!(broken(fine), 0, "{fine:?}");
    }
    for refused in ["", "abcd", "äöüß", "号码无效"] {
        assert_eq!(broken(refused), 1, "{refused:?}");
    }
    // Optional ones may be empty, and nothing else.
    assert!(wrong(|it| it.field("id", at_most("", 3))).is_empty());
    assert_eq!(wrong(|it| it.field("id", at_most("abcd", 3))).len(), 1);
}

/// C0, DEL and C1, and not a character more.
#[test]
fn control_characters_are_refused() {
    for code in 0..=0x17fu32 {
        let c = char::from_u32(code).unwrap();
        let control = matches!(code, 0..=0x1f | 0x7f..=0x9f);
        let broken = wrong(|it| it.field("id", text(&format!("a{c}b"), 64)));
        assert_eq!(!broken.is_empty(), control, "{code:#x}");
        if let [(path, rule)] = broken.as_slice() {
            assert_eq!(path, "id");
            assert_eq!(rule, "must not contain control characters");
        }
    }
}

#[test]
fn every_broken_rule_of_a_field_is_named() {
    let broken = wrong(|it| it.field("id", text("abc\n", 3)));
    let both = "must have at most 3 characters; must not contain control characters";
    assert_eq!(broken, [("id".to_owned(), both.to_owned())]);
}

#[test]
fn what_stands_there_twice_is_named_by_its_place() {
    let keys = ["a", "b", "a", "", "a", ""].map(str::to_owned);
    let paths: Vec<_> = wrong(|it| it.distinct("keys", &keys, |_| None))
        .into_iter()
        .map(|it| it.0)
        .collect();
    assert_eq!(paths, ["keys[2]", "keys[4]", "keys[5]"]);
}

#[test]
fn the_error_names_every_wrong_field() {
    let mut violations = Violations::default();
    violations.field("session_id", text("", 128));
    violations.check(
        false,
        "user_data.a key with \"odd\" characters\n",
        "must not be null",
    );
    violations.account(false);
    violations.check(false, "keys[0]", "must not be empty");
    let status = violations.finish().unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let named: Vec<_> = details
        .bad_request()
        .unwrap()
        .field_violations
        .iter()
        .map(|it| it.field.as_str())
        .collect();
    let expected = [
        "session_id",
        "user_data.a key with \"odd\" characters\n",
        "account",
        "keys[0]",
    ];
    assert_eq!(named, expected);
    let info = details.error_info().unwrap();
    assert_eq!(info.reason, "INVALID_FIELD");
    assert_eq!(info.metadata["attempts"], "0");
    assert_eq!(
        status.message(),
        "session_id: must not be empty; 3 other fields are wrong"
    );
}

#[test]
fn an_unknown_account_alone_has_a_reason_of_its_own() {
    let mut violations = Violations::default();
    violations.account(false);
    let status = violations.finish().unwrap_err();
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "UNKNOWN_ACCOUNT");
    assert_eq!(
        details.bad_request().unwrap().field_violations[0].field,
        "account"
    );
}

#[test]
fn the_message_names_the_first_and_counts_the_rest() {
    let message = |count: usize| {
        let mut violations = Violations::default();
        for index in 0..count {
            violations.check(false, &format!("keys[{index}]"), "must not be empty");
        }
        violations.finish().unwrap_err().message().to_owned()
    };
    assert_eq!(message(1), "keys[0]: must not be empty");
    assert_eq!(
        message(2),
        "keys[0]: must not be empty; 1 other field is wrong"
    );
    assert_eq!(
        message(3),
        "keys[0]: must not be empty; 2 other fields are wrong"
    );
}

/// A message of some megabytes has room for as many.
#[test]
fn a_million_wrong_fields_are_counted_and_not_kept() {
    let mut violations = Violations::default();
    violations.account(false);
    let keys = vec![String::new(); 1_000_000];
    violations.distinct("keys", &keys, |key| {
        key.is_empty().then_some("must not be empty")
    });
    assert!(violations.fields.len() <= MOST_KEPT);
    let status = violations.finish().unwrap_err();
    let details = status.get_error_details();
    let shown = details.bad_request().unwrap().field_violations.len();
    assert!(shown > 10);
    let message = format!(
        "account: names no account of the gateway's configuration; 1000000 other fields are wrong; {} more not shown",
        1_000_001 - shown
    );
    assert_eq!(status.message(), message);
}

/// To spell millions that nobody reads would take seconds, in which nobody else is served.
#[test]
fn what_is_only_counted_is_not_spelled() {
    struct Path<'a>(&'a Cell<usize>);
    impl Display for Path<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.set(self.0.get() + 1);
            f.write_str("keys[0]")
        }
    }
    let spelled = Cell::new(0);
    let mut violations = Violations::default();
    violations.field(Path(&spelled), text("fine", 4));
    assert_eq!(spelled.get(), 0);
    for _ in 0..MOST_KEPT + 1000 {
        violations.field(Path(&spelled), text("", 4));
    }
    assert_eq!((spelled.get(), violations.further), (MOST_KEPT, 1000));
}

/// A key of the caller's can be as long as its data.
#[test]
fn a_giant_path_does_not_become_a_giant_message() {
    let mut violations = Violations::default();
    let path = "user_data.".to_owned() + &"ä".repeat(60_000);
    violations.check(false, &path, "must not be null");
    violations.check(false, "session_id", "must not be empty");
    let status = violations.finish().unwrap_err();
    assert!(status.message().len() <= 1024);
    let details = status.get_error_details();
    let named = &details.bad_request().unwrap().field_violations;
    assert_eq!(named.len(), 1);
    assert_eq!(named[0].field, "session_id");
    assert!(
        status.message().ends_with("1 more not shown"),
        "{}",
        status.message()
    );
}
