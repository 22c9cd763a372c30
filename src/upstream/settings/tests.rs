use std::{path::Path, time::Duration};

use super::{Settings, accounts, base_url, endpoint, secret};
use crate::{
    settings::testing::{Dir, read},
    upstream::secret::Secret,
};

#[test]
fn the_defaults_are_the_documented_ones() {
    let documented = "
allow_plaintext: false
timeout: { connect: 3s, attempt: 5s }
retry: { attempts: 3, base: 50ms, cap: 2s, budget_percent: 20, budget_floor: 10 }
limit: { in_flight: 512, queue: 1024 }
max_answer: 4MiB
tls: { ca_file: null, client_cert_file: null, client_key_file: null }
";
    let all = (Settings::default(), vec![]);
    assert_eq!(read(documented, &[], Settings::read), all);
    assert_eq!(read("{}", &[], Settings::read), all);
    assert_eq!(read("{timeout: null, tls: {}}", &[], Settings::read), all);
}

#[test]
fn each_key_is_read() {
    let dir = Dir::new();
    let file = dir.write("pem", "x");
    let text = format!(
        "
allow_plaintext: true
timeout: {{ connect: 1s, attempt: 2s }}
retry: {{ attempts: 10, base: 1ms, cap: 1ms, budget_percent: 0, budget_floor: 0 }}
limit: {{ in_flight: 1, queue: 0 }}
max_answer: 64MiB
tls: {{ ca_file: {0}, client_cert_file: {0}, client_key_file: {0} }}
",
        file.display()
    );
    let (it, problems) = read(&text, &[], Settings::read);
    assert_eq!(problems, Vec::<String>::new());
    assert!(it.allow_plaintext);
    let secs = Duration::from_secs;
    assert_eq!((it.timeout.connect, it.timeout.attempt), (secs(1), secs(2)));
    assert_eq!(
        (it.retry.attempts, it.retry.base),
        (10, Duration::from_millis(1))
    );
    assert_eq!(it.retry.cap, Duration::from_millis(1));
    assert_eq!((it.retry.budget_percent, it.retry.budget_floor), (0, 0));
    assert_eq!((it.limit.in_flight, it.limit.queue), (1, 0));
    assert_eq!(it.max_answer, 64 << 20);
    assert_eq!(it.tls.ca_file.as_deref(), Some(file.as_path()));
    assert_eq!(it.tls.client_cert_file, it.tls.client_key_file);
}

#[test]
fn limits_are_kept() {
    for (text, problem) in [
        (
            "timeout: {connect: 0s}",
            "timeout.connect: must be longer than 0s",
        ),
        (
            "timeout: {attempt: 0}",
            "timeout.attempt: must be longer than 0s",
        ),
        (
            "retry: {attempts: 0}",
            "retry.attempts: expected 1 to 10, found 0",
        ),
        (
            "retry: {attempts: 11}",
            "retry.attempts: expected 1 to 10, found 11",
        ),
        (
            "retry: {base: 3s}",
            "retry.cap: must not be shorter than `base`",
        ),
        (
            "retry: {cap: 49ms}",
            "retry.cap: must not be shorter than `base`",
        ),
        (
            "retry: {budget_percent: 101}",
            "retry.budget_percent: expected 0 to 100, found 101",
        ),
        (
            "limit: {in_flight: 0}",
            "limit.in_flight: expected 1 to 1000000, found 0",
        ),
        (
            "limit: {queue: 1000001}",
            "limit.queue: expected 0 to 1000000, found 1000001",
        ),
        (
            "max_answer: 1023",
            "max_answer: expected 1KiB to 64MiB, found 1023",
        ),
        (
            "max_answer: 65MiB",
            "max_answer: expected 1KiB to 64MiB, found 65MiB",
        ),
        (
            "timeout: {conect: 1s}",
            "timeout.conect: unknown key; did you mean `connect`?",
        ),
    ] {
        assert_eq!(read(text, &[], Settings::read).1, [problem], "{text}");
    }
}

#[test]
fn a_client_certificate_goes_with_its_key() {
    let dir = Dir::new();
    let file = dir.write("pem", "x");
    for (given, missing) in [
        ("client_cert_file", "client_key_file"),
        ("client_key_file", "client_cert_file"),
    ] {
        let text = format!("tls: {{{given}: {}}}", file.display());
        let problem = format!("tls.{missing}: required beside `{given}`");
        assert_eq!(read(&text, &[], Settings::read).1, [problem]);
        let (_, both) = read(&format!("tls: {{{given}: /no/such}}"), &[], Settings::read);
        assert_eq!(both.len(), 2, "{both:?}");
    }
    let (_, problems) = read("tls: {ca_file: /no/such/file}", &[], Settings::read);
    assert!(
        problems[0].starts_with("tls.ca_file: cannot read /no/such/file: "),
        "{problems:?}"
    );
    // A folder, or a pipe, which would be waited for.
    let folder = dir.path("");
    let (_, problems) = read(
        &format!("tls: {{ca_file: {}}}", folder.display()),
        &[],
        Settings::read,
    );
    let expected = format!("tls.ca_file: {} is not a regular file", folder.display());
    assert_eq!(problems, [expected]);
}

#[test]
fn urls() {
    const PLAIN: &str = "needs `allow_plaintext: true`";
    for (url, allowed, wrong) in [
        ("https://a.example", false, None),
        ("https://a.example:8443/x/y", false, None),
        ("http://localhost:1", false, None),
        ("http://127.1.2.3:1", false, None),
        ("http://[::1]:1", false, None),
        ("http://a.example", true, None),
        ("http://a.example", false, Some(PLAIN)),
        ("http://127.0.0.1.example", false, Some(PLAIN)),
        ("http://localhost.example", false, Some(PLAIN)),
        ("http://10.0.0.1", false, Some(PLAIN)),
        ("http://[::2]", false, Some(PLAIN)),
        (
            "ftp://a.example",
            true,
            Some("must begin with http:// or https://"),
        ),
        (
            "file:///etc/passwd",
            true,
            Some("must begin with http:// or https://"),
        ),
        (
            "https://hunter2@a.example",
            true,
            Some("user name or a password"),
        ),
        (
            "https://:hunter2@a.example",
            true,
            Some("user name or a password"),
        ),
        (
            "https://a.example?hunter2",
            true,
            Some("must have no query"),
        ),
        ("https://a.example/x?", true, Some("must have no query")),
        (
            "https://a.example#hunter2",
            true,
            Some("must have no fragment"),
        ),
        ("https://u:hunter2@:1", true, Some("expected a URL such as")),
        ("a.example", true, Some("expected a URL such as")),
    ] {
        let text = format!("url: \"{url}\"");
        let (read, problems) = read(&text, &[], |s| endpoint(s, "url", allowed));
        assert_eq!(read.is_some(), wrong.is_none(), "{url}");
        assert_eq!(problems.len(), usize::from(wrong.is_some()), "{problems:?}");
        assert!(
            problems.concat().contains(wrong.unwrap_or_default()),
            "{problems:?}"
        );
        assert!(!problems.concat().contains("hunter2"), "{problems:?}");
    }
}

#[test]
fn a_base_url_has_no_slash_at_its_end() {
    for (text, expected) in [
        ("https://a.example/x/y/", "https://a.example/x/y"),
        ("https://a.example/x", "https://a.example/x"),
        ("https://a.example/", "https://a.example/"),
        ("https://a.example", "https://a.example/"),
    ] {
        let (url, _) = read(&format!("base_url: {text}"), &[], |s| base_url(s, false));
        assert_eq!(url.unwrap().as_str(), expected);
    }
    let (_, problems) = read("{}", &[], |s| base_url(s, false));
    assert_eq!(problems, ["base_url: required, but missing"]);
}

#[test]
fn account_names() {
    let read = |text: &str| read(text, &[], |s| accounts(s, |one| one.required::<u32>("id")));
    let (good, problems) = read("accounts: {a: {id: 1}, B.c-d_9: {id: 2}, 7: {id: 3}}");
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(good.keys().collect::<Vec<_>>(), ["7", "B.c-d_9", "a"]);
    for name in ["a b", "é", "a/b", "", &"x".repeat(65)] {
        let (_, problems) = read(&format!("accounts: {{\"{name}\": {{id: 1}}}}"));
        assert!(
            problems[0].starts_with(&format!("accounts.{name}: a name has")),
            "{problems:?}"
        );
    }
    for none in ["{}", "accounts: {}", "accounts: null"] {
        assert_eq!(read(none).1, ["accounts: at least one account is required"]);
    }
    assert_eq!(read("accounts: 1").1, ["accounts: expected a mapping"]);
    assert_eq!(
        read("accounts: {a: null}").1,
        ["accounts.a.id: required, but missing"]
    );
}

#[test]
fn a_secret_must_be_readable_at_once() {
    let dir = Dir::new();
    let read = |path: &Path| {
        let text = format!("password_file: {}", path.display());
        read(&text, &[], |s| secret(s, "password_file"))
    };
    let there = dir.write("there", "hunter2\n");
    let (found, problems) = read(&there);
    assert_eq!(found.as_ref().and_then(Secret::path), Some(there.as_path()));
    assert_eq!(problems, Vec::<String>::new());
    let empty = dir.write("empty", "");
    let expected = format!("password_file: {} is empty", empty.display());
    assert_eq!(read(&empty).1, [expected]);
    let two_lines = dir.write("two-lines", "hunter2\n\n");
    let problems = read(&two_lines).1;
    assert!(problems[0].contains("control character"), "{problems:?}");
    assert!(!problems[0].contains("hunter2"), "{problems:?}");
    let gone = dir.path("gone");
    let expected = format!("password_file: cannot read {}: ", gone.display());
    assert!(read(&gone).1[0].starts_with(&expected));
}
