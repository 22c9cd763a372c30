//! Who may call: `server.tls`, `server.jwt`, `server.open_methods`, `policy`.

use super::*;
use crate::config::{Jwks, Jwt, Tls};
use crate::grpc::caller::policy::{Pattern, Policy, Rule};

/// The documentation's example, closed: certificates and tokens, and a policy.
fn closed(dir: &Dir) -> String {
    for name in ["tls.crt", "tls.key", "ca.crt", "crl.pem", "jwks.json"] {
        dir.write(name, "x");
    }
    let path = |name: &str| dir.path(name).display().to_string();
    let callers = format!(
        r#"
  tls: {{ cert_file: {}, key_file: {}, client_ca_file: {}, crl_file: null }}
  jwt: {{ issuer: https://issuer.example, audiences: [switchboard], jwks_file: {}, jwks_url: null }}
  open_methods: ["grpc.health.v1.Health/*"]
"#,
        path("tls.crt"),
        path("tls.key"),
        path("ca.crt"),
        path("jwks.json")
    );
    let policy = r#"
policy:
  - { callers: ["spiffe://corp.example/ns/bots/*"], methods: ["contactcenter.v1.SmsSessionData/*"], accounts: [default] }
  - { callers: ["jwt:system:serviceaccount:crm:*"], methods: ["*"], accounts: ["*"] }
log:"#;
    sample(dir)
        .replacen("\n  allow_anonymous: true\n", &callers, 1)
        .replacen("\nlog:", policy, 1)
}

#[test]
fn the_documented_example_loads_and_is_printed_as_the_same() {
    let dir = Dir::new();
    let config = load(&dir, &closed(&dir), &[]).unwrap();
    assert!(config.server.knows_callers() && !config.server.takes_tokens_in_clear());
    assert_eq!(
        config.server.tls,
        Some(Tls {
            cert_file: dir.path("tls.crt"),
            key_file: dir.path("tls.key"),
            client_ca_file: Some(dir.path("ca.crt")),
            crl_file: None,
        })
    );
    let jwks = Jwks::File(dir.path("jwks.json"));
    assert_eq!(
        config.server.jwt,
        Some(Jwt {
            issuer: "https://issuer.example".to_owned(),
            audiences: vec!["switchboard".to_owned()],
            jwks,
        })
    );
    let list = |text: &str| vec![Pattern::new(text)];
    let rules = vec![
        Rule {
            callers: list("spiffe://corp.example/ns/bots/*"),
            methods: list("contactcenter.v1.SmsSessionData/*"),
            accounts: list("default"),
        },
        Rule {
            callers: list("jwt:system:serviceaccount:crm:*"),
            methods: list("*"),
            accounts: list("*"),
        },
    ];
    assert_eq!(config.policy, Some(Policy(rules)));
    let printed = config.to_yaml();
    let again = load(&dir, &printed, &[]).unwrap();
    assert_eq!(format!("{config:?}"), format!("{again:?}"), "{printed}");
}

/// A line changed in the example, and what comes of it.
#[test]
fn rules() {
    let dir = Dir::new();
    let sample = closed(&dir);
    let (crt, jwks) = (dir.path("tls.crt"), dir.path("jwks.json"));
    let crt = format!("cert_file: {}, ", crt.display());
    let jwks = format!("jwks_file: {}", jwks.display());
    let crl = format!("crl_file: {}", dir.path("crl.pem").display());
    let ca = format!("client_ca_file: {}", dir.path("ca.crt").display());
    let both = format!("{ca}, crl_file: null");
    let only_crl = crl.clone();
    for (from, to, problem) in [
        (&*crt, "", "server.tls.cert_file: required, but missing"),
        (
            &*ca,
            "client_ca_file: /no/such/file",
            "server.tls.client_ca_file: cannot read /no/such/file: No such file or directory (os error 2)",
        ),
        (
            &*both,
            &*only_crl,
            "server.tls.crl_file: without `client_ca_file` there are no certificates to be revoked",
        ),
        (
            "issuer: https://issuer.example, ",
            "",
            "server.jwt.issuer: required, but missing",
        ),
        (
            "issuer: https://issuer.example",
            "issuer: \"\"",
            "server.jwt.issuer: must not be empty",
        ),
        (
            "audiences: [switchboard]",
            "audiences: []",
            "server.jwt.audiences: at least one audience is required, and none is empty",
        ),
        (
            "audiences: [switchboard], ",
            "",
            "server.jwt.audiences: required, but missing",
        ),
        (
            &*jwks,
            "jwks_file: null",
            "server.jwt.jwks_file: required, unless `jwks_url` is set",
        ),
        (
            "jwks_url: null",
            "jwks_url: https://issuer.example/jwks",
            "server.jwt.jwks_url: not beside `jwks_file`: one of them",
        ),
        (
            "[\"*\"], accounts",
            "[\"contactcenter.v1.SmsSessionData/Atach*\"], accounts",
            "policy[1].methods[0]: \"contactcenter.v1.SmsSessionData/Atach*\" matches no method; \
             they are written as package.Service/Method",
        ),
        (
            "[\"*\"], accounts",
            "[\"/contactcenter.v1.SmsSessionData/AttachUserData\"], accounts",
            "policy[1].methods[0]: \"/contactcenter.v1.SmsSessionData/AttachUserData\" matches no \
             method; they are written as package.Service/Method",
        ),
        (
            "accounts: [default] }",
            "accounts: [defualt] }",
            "policy[0].accounts[0]: \"defualt\" matches no account of any vendor",
        ),
        (
            ", accounts: [default] }",
            " }",
            "policy[0].accounts: required, but missing",
        ),
        (
            "accounts: [default] }",
            "accounts: [] }",
            "policy[0].accounts: at least one is required, and none is empty",
        ),
        (
            "callers: [\"jwt:",
            "caller: [\"jwt:",
            "policy[1].callers: required, but missing",
        ),
    ] {
        let changed = sample.replacen(from, to, 1);
        assert_ne!(changed, sample, "{from:?} is not in the example");
        let found = problems(&dir, &changed);
        assert!(found.contains(&problem.to_owned()), "{to}: {found:#?}");
        // A key that is misspelt is named, too.
        assert_eq!(
            found.len(),
            1 + usize::from(to.starts_with("caller:")),
            "{found:#?}"
        );
    }
}

#[test]
fn what_is_wrong_with_an_account_is_no_problem_of_the_policy_s() {
    let dir = Dir::new();
    let mine = closed(&dir)
        .replacen("accounts: [default]", "accounts: [mine]", 1)
        .replacen("default: { username", "mine: { username", 1);
    let password = dir.path("password").display().to_string();
    let unread = format!(
        "genesys.accounts.mine.password_file: cannot read /no{password}: No such file or directory (os error 2)"
    );
    for (from, to, problem) in [
        (
            "https://gws",
            "ftp://gws",
            "genesys.base_url: must begin with http:// or https://",
        ),
        ("password_file: /", "password_file: /no/", &unread),
    ] {
        let wrong = mine.replacen(from, to, 1);
        assert_eq!(problems(&dir, &wrong), [problem]);
    }
}

#[test]
fn keys_come_over_tls_or_from_this_machine() {
    let dir = Dir::new();
    let sample = closed(&dir);
    let file = format!(
        "jwks_file: {}, jwks_url: null",
        dir.path("jwks.json").display()
    );
    let with = |url: &str| sample.replacen(&file, &format!("jwks_url: {url}"), 1);
    for url in [
        "https://issuer.example/keys",
        "http://127.0.0.1:8080/keys",
        // As issuers have it that keep several sets of keys.
        "https://issuer.example/keys?p=sign-in",
        "https://issuer.example/?p=a/",
    ] {
        let printed = load(&dir, &with(url), &[]).unwrap().to_yaml();
        for text in [with(url), printed] {
            let jwt = load(&dir, &text, &[]).unwrap().server.jwt.unwrap();
            assert_eq!(jwt.jwks, Jwks::Url(url.parse().unwrap()));
        }
    }
    for (url, problem) in [
        (
            "http://issuer.example/keys",
            "must begin with https:// beyond loopback",
        ),
        ("https://issuer.example/keys#a", "must have no fragment"),
        (
            "https://me:secret@issuer.example/keys",
            "must not hold a user name or a password",
        ),
    ] {
        let problem = format!("server.jwt.jwks_url: {problem}");
        assert_eq!(problems(&dir, &with(url)), [problem]);
    }
}

#[test]
fn a_door_is_open_only_by_the_operators_word() {
    let dir = Dir::new();
    let closed = closed(&dir);
    let start = |key: &str| format!("  {key}: {{");
    let without = |text: &str, key: &str| {
        let lines = text.lines().filter(|line| !line.starts_with(&start(key)));
        lines.collect::<Vec<_>>().join("\n")
    };
    for key in ["tls", "jwt"] {
        let config = load(&dir, &without(&closed, key), &[]).unwrap();
        assert!(config.server.knows_callers(), "{key}");
        assert_eq!(config.server.takes_tokens_in_clear(), key == "tls");
    }
    // Encryption alone tells nobody's name.
    let ca = format!(", client_ca_file: {}", dir.path("ca.crt").display());
    let encrypted = without(&closed, "jwt").replacen(&ca, "", 1);
    let found = problems(&dir, &encrypted);
    assert!(
        found[0].starts_with("server.listen: 0.0.0.0:50051 is beyond loopback"),
        "{found:?}"
    );
    let nobody = "policy: nobody has an identity: set server.tls.client_ca_file or server.jwt";
    assert_eq!(found[1..], [nobody]);
    let local = encrypted.replacen("0.0.0.0:50051", "127.0.0.1:50051", 1);
    assert_eq!(problems(&dir, &local), [nobody]);
}

#[test]
fn a_policy_can_come_from_the_environment() {
    let dir = Dir::new();
    let rule = r#"[{"callers": ["a"], "methods": ["*"], "accounts": ["default"]}]"#;
    // As people write it, as a manifest's block of text has it, and as tools lay it out.
    let lines = rule.replace('{', "\n{").replace(", ", ",\n  ");
    let block = lines.replace(']', "]\n");
    for rule in [rule.to_owned(), block, lines.replace("  ", "\t")] {
        let variables = [("SWITCHBOARD__POLICY", &*rule)];
        let policy = load(&dir, &closed(&dir), &variables).unwrap().policy;
        assert_eq!(policy.unwrap().0[0].callers, [Pattern::new("a")], "{rule}");
    }
    for more in ["[]\nlog: {}", "[]\n---\n[]"] {
        let error = load(&dir, &closed(&dir), &[("SWITCHBOARD__POLICY", more)]).unwrap_err();
        let wrong = "policy: expected a list of mappings (from SWITCHBOARD__POLICY)";
        assert_eq!(error.to_string(), wrong, "{more}");
    }
    let emptied = load(&dir, &closed(&dir), &[("SWITCHBOARD__POLICY", "[]")]).unwrap_err();
    let emptied = emptied.to_string();
    assert!(
        emptied.starts_with("policy: at least one rule is required"),
        "{emptied}"
    );
    let given_up = load(&dir, &closed(&dir), &[("SWITCHBOARD__POLICY", "")]).unwrap();
    assert_eq!(given_up.policy, None);
}
