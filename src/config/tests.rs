use std::{net::SocketAddr, path::Path, time::Duration};

mod callers;

use super::{Config, ConfigError, Log, Server};
use crate::telemetry::Format;
use crate::{settings::testing::Dir, upstream::secret::Secret, vendors::genesys};

/// The documentation's example, with secrets that are there.
fn sample(dir: &Dir) -> String {
    let password = dir.write("password", "hunter2\n");
    let secret = dir.write("app_secret", "hunter3\n");
    format!(
        r#"
server:
  listen: 0.0.0.0:50051          # gRPC
  admin_listen: 0.0.0.0:9090
  allow_anonymous: true
  max_in_flight: 4096
  max_deadline: 30s
  default_deadline: 10s
  shutdown_delay: 5s
  drain_timeout: 20s
log: {{ level: info, format: auto }}
dedupe: {{ window: 10m, max_entries: 100000, redis_url_file: null }}
genesys:
  base_url: https://gws.example.com
  allow_undocumented_values: false
  notifications: {{ path: /api/v2/notifications, channels: ["/v2/me/*"] }}
  accounts:
    default: {{ username: agent1, password_file: {} }}
aicc:
  base_url: https://service.besclouds.com
  token_url: null
  token_lifetime: 600s
  accounts:
    default: {{ app_key: my-app, app_secret_file: {} }}
  breaker: {{ enabled: true, window: 10s, min_calls: 20, failure_percent: 50, open: 10s }}
"#,
        password.display(),
        secret.display()
    )
}

fn load(dir: &Dir, text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Config::load(&dir.write("config.yaml", text), variables.iter().map(owned))
}

fn problems(dir: &Dir, text: &str) -> Vec<String> {
    let error = load(dir, text, &[]).expect_err("was not refused");
    error.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn the_documented_example_loads() {
    let dir = Dir::new();
    let config = load(&dir, &sample(&dir), &[]).unwrap();
    let anonymous = Server {
        allow_anonymous: true,
        ..Server::default()
    };
    assert_eq!((config.server, config.log), (anonymous, Log::default()));
    let genesys = config.genesys.unwrap();
    assert_eq!(genesys.base_url.as_str(), "https://gws.example.com/");
    assert_eq!(
        genesys.notifications,
        genesys::config::Notifications::default()
    );
    assert_eq!(genesys.accounts["default"].username, "agent1");
    assert_eq!(
        genesys.accounts["default"].password.path(),
        Some(&*dir.path("password"))
    );
    let aicc = config.aicc.unwrap();
    let token_url = "https://service.besclouds.com/apigovernance/api/oauth/tokenByAkSk";
    assert_eq!(aicc.token_url.as_str(), token_url);
    assert_eq!(aicc.token_lifetime, Duration::from_secs(600));
    assert_eq!(aicc.accounts["default"].app_key, "my-app");
    assert_eq!(
        aicc.upstream,
        crate::upstream::settings::Settings::default()
    );
}

#[test]
fn one_vendor_is_enough_and_none_is_not() {
    let dir = Dir::new();
    let sample = sample(&dir);
    let (rest, aicc) = sample.split_once("aicc:").unwrap();
    let (server, genesys) = rest.split_once("genesys:").unwrap();
    let only_genesys = load(
        &dir,
        &format!("{server}\ngenesys:{genesys}\naicc: null"),
        &[],
    )
    .unwrap();
    assert!(only_genesys.genesys.is_some() && only_genesys.aicc.is_none());
    assert!(
        load(&dir, &format!("{server}\naicc:{aicc}"), &[])
            .unwrap()
            .genesys
            .is_none()
    );
    assert_eq!(
        problems(&dir, server),
        ["genesys, aicc: at least one vendor must be configured"]
    );
}

#[test]
fn every_problem_is_reported_at_once() {
    let dir = Dir::new();
    let good = dir.write("good", "hunter2");
    let text = format!(
        r#"
server: {{ listen: nowhere, max_in_flight: 0, default_deadline: 1h, lisen: 1, tls: {{ cert_file: a }} }}
log: {{ level: loud }}
policy: []
surprise: hunter2
genesys:
  base_url: ftp://gws.example.com
  notifications: {{ path: x, channels: [] }}
  retry: {{ attempts: 99 }}
  accounts:
    default: {{ username: "a:b", password_file: /no/such/file }}
    other: {{ username: c, password: hunter2 }}
aicc:
  base_url: http://service.besclouds.com
  token_lifetime: 2h
  accounts: {{ default: {{ app_key: "my app", app_secret_file: {} }} }}
  breaker: {{ min_calls: 0 }}
"#,
        good.display()
    );
    let reported = problems(&dir, &text);
    let paths: Vec<&str> = reported
        .iter()
        .filter_map(|it| Some(it.split_once(": ")?.0))
        .collect();
    let expected = [
        "server.tls.key_file",
        "server.tls.cert_file",
        "server.listen",
        "server.max_in_flight",
        "server.default_deadline",
        "server.lisen",
        "log.level",
        "genesys.retry.attempts",
        "genesys.base_url",
        "genesys.notifications.path",
        "genesys.notifications.channels",
        "genesys.accounts.default.password_file",
        "genesys.accounts.default.username",
        "genesys.accounts.other.password_file",
        "genesys.accounts.other.password",
        "aicc.breaker.min_calls",
        "aicc.base_url",
        "aicc.token_lifetime",
        "aicc.accounts.default.app_key",
        "policy",
        "surprise",
    ];
    assert_eq!(paths, expected, "{reported:#?}");
    assert!(!reported.concat().contains("hunter2"), "{reported:#?}");
}

/// A line changed in the example, and the one problem that comes of it.
#[test]
fn rules() {
    let dir = Dir::new();
    let sample = sample(&dir);
    for (from, to, problem) in [
        (
            "max_in_flight: 4096",
            "max_in_flight: 0",
            "server.max_in_flight: expected 1 to 1000000, found 0",
        ),
        (
            "max_in_flight: 4096",
            "max_connections: 0",
            "server.max_connections: expected 1 to 1000000, found 0",
        ),
        (
            "max_in_flight: 4096",
            "max_connection_age: 0s",
            "server.max_connection_age: must be longer than 0s",
        ),
        (
            "max_deadline: 30s",
            "max_deadline: 0s",
            "server.max_deadline: must be longer than 0s",
        ),
        (
            "max_deadline: 30s",
            "max_deadline: 9s",
            "server.default_deadline: must not be longer than `max_deadline`",
        ),
        (
            "default_deadline: 10s",
            "default_deadline: 0s",
            "server.default_deadline: must be longer than 0s",
        ),
        (
            "0.0.0.0:9090",
            "0.0.0.0:50051",
            "server.admin_listen: the same address as `listen`, 0.0.0.0:50051",
        ),
        (
            "0.0.0.0:9090",
            "127.0.0.1:50051",
            "server.admin_listen: the same address as `listen`, 0.0.0.0:50051",
        ),
        (
            "level: info",
            "level: loud",
            "log.level: expected one of off, error, warn, info, debug, trace, found the text \"loud\"",
        ),
        (
            "format: auto",
            "format: xml",
            "log.format: expected one of auto, text, json, found the text \"xml\"",
        ),
        (
            "log:",
            "server2: {}\nlog:",
            "server2: unknown key; did you mean `server`?",
        ),
        (
            "window: 10m",
            "window: 0s",
            "dedupe.window: must be longer than 0s",
        ),
        (
            "redis_url_file: null",
            "redis_url_file: /no/such/url",
            "dedupe.redis_url_file: cannot read /no/such/url: No such file or directory (os error 2)",
        ),
        (
            "  max_in_flight",
            "  open_methods: [a]\n  max_in_flight",
            "server.open_methods[0]: \"a\" matches no method; they are written as \
             package.Service/Method",
        ),
        (
            "min_calls: 20",
            "min_calls: 0",
            "aicc.breaker.min_calls: expected 1 to 1000000, found 0",
        ),
        (
            "path: /api/v2/notifications",
            "path: api",
            "genesys.notifications.path: must begin with `/`",
        ),
        (
            "path: /api/v2/notifications",
            "path: \"/my notifications\"",
            "genesys.notifications.path: must be written as in a URL, without `#`",
        ),
        (
            "path: /api/v2/notifications",
            "path: \"/notifications#now\"",
            "genesys.notifications.path: must be written as in a URL, without `#`",
        ),
        (
            "[\"/v2/me/*\"]",
            "[]",
            "genesys.notifications.channels: at least one channel is required",
        ),
        (
            "[\"/v2/me/*\"]",
            "[\"/a\", b]",
            "genesys.notifications.channels[1]: must begin with `/`",
        ),
        (
            "username: agent1",
            "username: \"a:b\"",
            "genesys.accounts.default.username: must not be empty, nor contain a colon or control characters",
        ),
        (
            "username: agent1",
            "username: \"a\\tb\"",
            "genesys.accounts.default.username: must not be empty, nor contain a colon or control characters",
        ),
        (
            "username: agent1",
            "username: \"\"",
            "genesys.accounts.default.username: must not be empty, nor contain a colon or control characters",
        ),
        (
            "username: agent1",
            "username: 12345",
            "genesys.accounts.default.username: expected text, found a number: quote it",
        ),
        (
            "username: agent1, ",
            "",
            "genesys.accounts.default.username: required, but missing",
        ),
        (
            "app_key: my-app",
            "app_key: \"my app\"",
            "aicc.accounts.default.app_key: must be printable ASCII without spaces, and not empty",
        ),
        (
            "app_key: my-app",
            "app_key: \"\"",
            "aicc.accounts.default.app_key: must be printable ASCII without spaces, and not empty",
        ),
        (
            "app_key: my-app",
            "app_key: é",
            "aicc.accounts.default.app_key: must be printable ASCII without spaces, and not empty",
        ),
        (
            "token_lifetime: 600s",
            "token_lifetime: 0s",
            "aicc.token_lifetime: must be whole seconds, 1s to 3600s",
        ),
        (
            "token_lifetime: 600s",
            "token_lifetime: 1500ms",
            "aicc.token_lifetime: must be whole seconds, 1s to 3600s",
        ),
        (
            "token_lifetime: 600s",
            "token_lifetime: 3601s",
            "aicc.token_lifetime: must be whole seconds, 1s to 3600s",
        ),
        (
            "token_url: null",
            "token_url: http://a.example",
            "aicc.token_url: plain http:// beyond loopback needs `allow_plaintext: true`",
        ),
    ] {
        let changed = sample.replacen(from, to, 1);
        assert_ne!(changed, sample, "{from:?} is not in the example");
        assert_eq!(problems(&dir, &changed), [problem], "{to}");
    }
}

#[test]
fn beyond_loopback_only_with_the_operators_word() {
    let dir = Dir::new();
    let sample = sample(&dir);
    let message = "server.listen: 0.0.0.0:50051 is beyond loopback, where anybody could call: \
         set server.tls.client_ca_file or server.jwt, or \
         server.allow_anonymous: true to allow that, or listen on 127.0.0.1:50051";
    let closed = sample.replace("allow_anonymous: true", "allow_anonymous: false");
    assert_eq!(problems(&dir, &closed), [message]);
    let (_, vendors) = sample.split_once("log:").unwrap();
    assert_eq!(
        problems(&dir, &format!("log:{vendors}")),
        [message],
        "the defaults"
    );
    for (listen, fine) in [
        ("127.0.0.1:50051", true),
        ("127.9.9.9:0", true),
        ("\"[::1]:50051\"", true),
        ("\"[::ffff:127.0.0.1]:50051\"", true),
        ("10.0.0.1:50051", false),
        ("\"[::]:50051\"", false),
    ] {
        let text = closed.replace("listen: 0.0.0.0:50051", &format!("listen: {listen}"));
        assert_eq!(load(&dir, &text, &[]).is_ok(), fine, "{listen}");
    }
    let any_port = sample.replace(":50051", ":0").replace(":9090", ":0");
    assert!(
        load(&dir, &any_port, &[]).is_ok(),
        "port 0 is never the same port"
    );
}

#[test]
fn the_environment_wins_and_is_typed_by_its_key() {
    let dir = Dir::new();
    let password = dir.write("12345", "hunter2");
    let config = load(
        &dir,
        &sample(&dir).replace("default: { username", "Default: { username"),
        &[
            ("SWITCHBOARD__SERVER__LISTEN", "127.0.0.1:0"),
            ("SWITCHBOARD__SERVER__ALLOW_ANONYMOUS", "false"),
            ("SWITCHBOARD__SERVER__MAX_IN_FLIGHT", "7"),
            ("SWITCHBOARD__SERVER__MAX_DEADLINE", "1m"),
            ("SWITCHBOARD__LOG__FORMAT", "json"),
            ("SWITCHBOARD__GENESYS__MAX_ANSWER", "1MiB"),
            ("SWITCHBOARD__GENESYS__NOTIFICATIONS__CHANNELS", "/a,/b"),
            ("SWITCHBOARD__GENESYS__ACCOUNTS__DEFAULT__USERNAME", "12345"),
            (
                "SWITCHBOARD__GENESYS__ACCOUNTS__DEFAULT__PASSWORD_FILE",
                password.to_str().unwrap(),
            ),
            ("SWITCHBOARD__AICC__ACCOUNTS__DEFAULT__APP_KEY", "true"),
            ("SWITCHBOARD__AICC__TOKEN_URL", "https://token.example/x"),
            ("SWITCHBOARD_CONFIG", "/etc/switchboard.yaml"),
        ],
    )
    .unwrap();
    assert_eq!(config.server.listen, SocketAddr::from(([127, 0, 0, 1], 0)));
    assert!(!config.server.allow_anonymous);
    assert_eq!(config.server.max_in_flight, 7);
    assert_eq!(config.server.max_deadline, Duration::from_secs(60));
    assert_eq!(config.log.format, Format::Json);
    let genesys = config.genesys.unwrap();
    assert_eq!(genesys.upstream.max_answer, 1 << 20);
    assert_eq!(genesys.notifications.channels, ["/a", "/b"]);
    assert_eq!(genesys.accounts["Default"].username, "12345");
    assert_eq!(
        genesys.accounts["Default"].password.path(),
        Some(&*password)
    );
    let aicc = config.aicc.unwrap();
    assert_eq!(aicc.accounts["default"].app_key, "true");
    assert_eq!(aicc.token_url.as_str(), "https://token.example/x");
}

#[test]
fn a_configuration_can_come_from_the_environment_alone() {
    let dir = Dir::new();
    let secret = dir.write("secret", "hunter2");
    let variables = [
        ("SWITCHBOARD__SERVER__LISTEN", "127.0.0.1:50051"),
        ("SWITCHBOARD__AICC__BASE_URL", "http://localhost:1/prefix/"),
        ("SWITCHBOARD__AICC__ACCOUNTS__DEFAULT__APP_KEY", "key"),
        (
            "SWITCHBOARD__AICC__ACCOUNTS__DEFAULT__APP_SECRET_FILE",
            secret.to_str().unwrap(),
        ),
    ];
    let aicc = load(&dir, "", &variables).unwrap().aicc.unwrap();
    let token_url = "http://localhost:1/prefix/apigovernance/api/oauth/tokenByAkSk";
    assert_eq!(aicc.token_url.as_str(), token_url);
}

#[test]
fn a_file_that_is_missing_is_the_only_problem() {
    let error = Config::load(Path::new("/no/such/file.yaml"), std::iter::empty()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/no/such/file.yaml: cannot be read: "),
        "{error}"
    );
    assert_eq!(error.problems.len(), 1);
}

#[test]
fn what_is_printed_loads_as_the_same() {
    let dir = Dir::new();
    let pem = dir.write("a file: with #signs", "x");
    let odd = sample(&dir)
        .replace("username: agent1", "username: \"0o17\"")
        .replace("app_key: my-app", "app_key: \"12345\"")
        .replace("default: { username", "\"007\": { username")
        .replace("max_deadline: 30s", "max_deadline: 90s")
        .replace("level: info", "level: \"off\"")
        .replace("service.besclouds.com", "service.besclouds.com/prefix/")
        + &format!(
            "  max_answer: 1500\n  tls: {{ ca_file: \"{}\" }}\n",
            pem.display()
        );
    for text in [sample(&dir), odd] {
        let config = load(&dir, &text, &[]).unwrap();
        let printed = config.to_yaml();
        let again = load(&dir, &printed, &[]).unwrap();
        assert_eq!(format!("{config:?}"), format!("{again:?}"), "{printed}");
        assert_eq!(again.to_yaml(), printed);
        assert!(!printed.contains("hunter"), "{printed}");
    }
}

#[test]
fn is_printed_in_the_documented_order() {
    let dir = Dir::new();
    let config = load(&dir, &sample(&dir), &[]).unwrap();
    let expected = format!(
        r#"server:
  listen: "0.0.0.0:50051"
  admin_listen: "0.0.0.0:9090"
  allow_anonymous: true
  tls: null
  jwt: null
  open_methods: ["grpc.health.v1.Health/*"]
  max_in_flight: 4096
  max_connections: 4096
  max_connection_age: 30m
  max_deadline: 30s
  default_deadline: 10s
  shutdown_delay: 5s
  drain_timeout: 20s
policy: null
log:
  level: info
  format: auto
dedupe:
  window: 10m
  max_entries: 100000
  redis_url_file: null
genesys:
  base_url: https://gws.example.com
  allow_undocumented_values: false
  notifications:
    path: /api/v2/notifications
    channels: ["/v2/me/*"]
  accounts:
    default:
      username: agent1
      password_file: {}
  allow_plaintext: false
  timeout:
    connect: 3s
    attempt: 5s
"#,
        dir.path("password").display()
    );
    let printed = config.to_yaml();
    assert!(printed.starts_with(&expected), "{printed}");
    assert!(printed.contains("  token_lifetime: 10m\n"), "{printed}");
    assert!(
        printed.ends_with("    client_cert_file: null\n    client_key_file: null\n"),
        "{printed}"
    );
}

#[test]
fn the_url_of_a_redis_is_looked_at_and_not_shown() {
    let dir = Dir::new();
    let file = dir.write("redis_url", "");
    let with = sample(&dir).replace(
        "redis_url_file: null",
        &format!("redis_url_file: {}", file.display()),
    );
    for url in [
        "redis://127.0.0.1\n",
        "redis://user:hunter4@redis.example:6380/3",
        "rediss://:hunter4@redis.example",
        "unix:///run/redis.sock",
    ] {
        dir.write("redis_url", url);
        let config = load(&dir, &with, &[]).unwrap();
        let secret = config.dedupe.redis_url.as_ref().unwrap();
        assert_eq!(secret.path(), Some(&*file));
        let printed = config.to_yaml();
        let line = format!("  redis_url_file: {}\n", file.display());
        assert!(printed.contains(&line), "{printed}");
        assert!(!format!("{printed}{config:?}").contains("hunter4"));
    }
    for url in [
        "http://hunter4.example",
        "redis.example:6379",
        "redis://hunter4/x",
        "redis://:hunter4/@redis.example",
        "rediss://hunter4.example/#insecure",
    ] {
        dir.write("redis_url", url);
        assert_eq!(
            problems(&dir, &with),
            [
                "dedupe.redis_url_file: the file must hold a URL that begins with redis://, \
              rediss:// or unix://; of a password /, ?, #, @ and % are written as %2F, %3F, %23, %40 and %25"
            ]
        );
    }
}

#[test]
fn fixed_secrets_are_printed_as_stars() {
    let dir = Dir::new();
    let mut config = load(&dir, &sample(&dir), &[]).unwrap();
    let mut aicc = config.aicc.take().unwrap();
    aicc.accounts.get_mut("default").unwrap().secret = Secret::fixed("hunter2");
    config.aicc = Some(aicc);
    let printed = config.to_yaml();
    assert!(printed.contains("app_secret_file: \"*****\""), "{printed}");
    assert!(!format!("{printed}{config:?}").contains("hunter2"));
}
