//! The commands of the real binary: what they print, and what their exit codes say.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use switchboard::pb::agent_settings_client::AgentSettingsClient;
use switchboard::pb::sms_session_data_client::SmsSessionDataClient;
use switchboard::pb::{
    AttachUserDataRequest, CreateAgentSettingsRequest, GetAgentSettingsRequest, GetSessionRequest,
};
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::sandbox::{Options, Sandbox, aicc};
use tokio::task::JoinHandle;
use tonic::transport::Endpoint;

use crate::support::authority::Authority;
use crate::support::child::{Running, switchboard};
use crate::support::dir;
use crate::support::doors::secrets;
use crate::support::mint::{ISSUER, Signer, jwks};
use crate::support::port::Port;
use crate::support::scan;
use crate::support::vendor::{Vendor, json};
use crate::support::watch::{in_time, until};
use crate::support::wire::Channel;
use crate::support::{self, USER};

/// `EX_CONFIG`.
const BAD_CONFIGURATION: i32 = 78;

/// A directory of a test's own, with the log of its process.
struct Dir(dir::Dir);

impl Dir {
    fn new() -> Dir {
        Dir(dir::Dir::new())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    fn write(&self, name: &str, contents: &str) -> String {
        let path = self.0.write(name, contents);
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if let Ok(log) = fs::read_to_string(self.path("stderr")) {
            scan::emit("processes", &log);
        }
    }
}

/// A gateway to be, in front of a sandbox, with secrets of its own.
struct Site {
    dir: Dir,
    sandbox: Sandbox,
    listen: SocketAddr,
    _ports: [Port; 2],
    config: String,
}

const PASSWORD: &str = "pass-7f3a9c51";
const APP_SECRET: &str = "secret-5b81e60d";

impl Site {
    async fn new() -> Site {
        Self::with("").await
    }

    /// With more lines in the `server` section.
    async fn with(server: &str) -> Site {
        let dir = Dir::new();
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        sandbox.genesys().add_agent("agent9", PASSWORD);
        sandbox.genesys().add_session("agent9", "session9");
        sandbox.aicc().set_secret(aicc::AICC_APP, APP_SECRET);
        let password = dir.write("password", &format!("{PASSWORD}\n"));
        let secret = dir.write("app_secret", &format!("{APP_SECRET}\n"));
        let ports = [Port::reserve(), Port::reserve()];
        let [listen, admin] = [&ports[0], &ports[1]].map(|port| port.address);
        let text = format!(
            "server:\n  listen: {listen}\n  admin_listen: {admin}\n{server}\
             genesys:\n  base_url: {}\n  accounts:\n    \
             default: {{ username: agent9, password_file: {password} }}\n\
             aicc:\n  base_url: {}\n  accounts:\n    \
             default: {{ app_key: {}, app_secret_file: {secret} }}\n",
            sandbox.genesys_url(),
            sandbox.aicc_url(),
            aicc::AICC_APP,
        );
        let config = dir.write("config.yaml", &text);
        Site {
            dir,
            sandbox,
            listen,
            _ports: ports,
            config,
        }
    }

    fn serve(&self) -> Command {
        let mut command = switchboard(&["serve", "--config", &self.config]);
        command.envs(scan::loud());
        command.stderr(Stdio::from(fs::File::create(self.stderr()).unwrap()));
        command
    }

    fn stderr(&self) -> PathBuf {
        self.dir.path("stderr")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        scan::confide_all(self.sandbox.journal());
    }
}

/// Runs it to its end, off the runtime: the sandbox is served by this one.
async fn run(mut command: Command) -> Output {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = in_time("the command", output).await.unwrap();
    scan::emit("commands", &(out(&output) + &err(&output)));
    output
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

async fn health(address: SocketAddr, service: &str) -> Output {
    let address = address.to_string();
    let arguments = ["health", "--addr", &address, "--service", service];
    run(switchboard(&arguments)).await
}

async fn serving(address: SocketAddr) {
    let ask = async { while code(&health(address, "").await) != 0 {} };
    in_time("a gateway that serves", ask).await;
}

#[tokio::test]
async fn serve_serves_until_it_is_told_to_end() {
    let site = Site::with("  shutdown_delay: 0s\n").await;
    let mut gateway = Running::spawn(site.serve());
    serving(site.listen).await;
    gateway.terminate();
    assert_eq!(gateway.exit_code().await, 0);
}

#[tokio::test]
async fn serve_finds_its_configuration_and_changes_in_the_environment() {
    let site = Site::with("  shutdown_delay: 0s\n").await;
    let port = Port::reserve();
    let elsewhere = port.address;
    let mut command = switchboard(&["serve"]);
    command
        .env("SWITCHBOARD_CONFIG", &site.config)
        .env("SWITCHBOARD__SERVER__LISTEN", elsewhere.to_string())
        .stderr(Stdio::null());
    let mut gateway = Running::spawn(command);
    serving(elsewhere).await;
    assert_eq!(code(&health(site.listen, "").await), 1);
    gateway.terminate();
    assert_eq!(gateway.exit_code().await, 0);
}

/// As from who is used to a service that reads its files again then.
#[tokio::test]
async fn a_hang_up_ends_nothing_where_there_is_no_terminal() {
    let site = Site::with("  shutdown_delay: 0s\n").await;
    let mut gateway = Running::spawn(site.serve());
    serving(site.listen).await;
    for _ in 0..2 {
        gateway.signal("-HUP");
        let told = || fs::read_to_string(site.stderr()).unwrap();
        until("it is told", || told().contains("SIGHUP changes nothing")).await;
        attach(site.listen).await.unwrap();
    }
    gateway.terminate();
    assert_eq!(gateway.exit_code().await, 0);
}

#[tokio::test]
async fn a_drain_that_had_to_be_cut_shows_in_the_exit_code() {
    let site = Site::with("  shutdown_delay: 0s\n  drain_timeout: 100ms\n").await;
    let hang = Rule::new(Fault::Hang);
    site.sandbox.faults().push(hang).unwrap();
    let mut gateway = Running::spawn(site.serve());
    serving(site.listen).await;
    let call = at_the_vendor(&site).await;
    gateway.terminate();
    assert_eq!(gateway.exit_code().await, 1);
    let stderr = fs::read_to_string(site.stderr()).unwrap();
    assert!(stderr.contains("the drain had to be cut"), "{stderr}");
    call.abort();
}

/// Whose number is 1, as in a container, is not ended by a signal that it does not listen for.
#[tokio::test]
async fn a_signal_during_the_start_ends_it() {
    let dir = Dir::new();
    let config = dir.path("config.yaml");
    let made = Command::new("mkfifo").arg(&config).status().unwrap();
    assert!(made.success());
    let command = switchboard(&["serve", "--config", config.to_str().unwrap()]);
    let mut gateway = Running::spawn(command);
    // Opened once the gateway reads it, and nothing is written.
    let open = move || fs::File::options().write(true).open(config).unwrap();
    let _unwritten = in_time("a reader", tokio::task::spawn_blocking(open)).await;
    gateway.terminate();
    assert_eq!(gateway.exit_code().await, 0);
}

#[tokio::test]
async fn a_reader_of_the_log_who_reads_no_more_does_not_keep_it_from_ending() {
    let site = Site::with("  shutdown_delay: 0s\n  drain_timeout: 100ms\n").await;
    let (unread, mut full) = std::io::pipe().unwrap();
    let mut command = site.serve();
    command.stderr(full.try_clone().unwrap());
    // One of them waits for the reader.
    command.env("TOKIO_WORKER_THREADS", "4");
    // As much as a pipe holds.
    let fill = move || full.write_all(&[b'.'; 64 * 1024]).unwrap();
    in_time("a full pipe", tokio::task::spawn_blocking(fill))
        .await
        .unwrap();
    let mut gateway = Running::spawn(command);
    serving(site.listen).await;
    // Its line in the audit log comes before its answer.
    let call = at_the_vendor(&site).await;
    gateway.terminate();
    assert_eq!(gateway.exit_code().await, 1);
    call.abort();
    drop(unread);
}

#[tokio::test]
async fn a_bad_configuration_is_refused_with_all_its_problems() {
    let dir = Dir::new();
    let config = dir.write(
        "config.yaml",
        "server:\n  listen: 0.0.0.0:50051\n  max_deadline: soon\n  lissten: 127.0.0.1:1\n\
         genesys:\n  base_url: http://gws.example.com\n  accounts: {}\n\
         aicc:\n  token_lifetime: 2h\n  accounts:\n    \
         default: { app_key: my-app, app_secret_file: /nowhere/secret }\n\
         policy: []\nunheard_of: 1\n",
    );
    for command in ["serve", "check"] {
        let output = run(switchboard(&[command, "--config", &config])).await;
        assert_eq!(code(&output), BAD_CONFIGURATION, "{output:?}");
        assert_eq!(out(&output), "");
        let stderr = err(&output);
        for path in [
            "server.listen",
            "server.max_deadline",
            "server.lissten",
            "genesys.base_url",
            "genesys.accounts",
            "aicc.base_url",
            "aicc.token_lifetime",
            "aicc.accounts.default.app_secret_file",
            "unheard_of",
        ] {
            let named = stderr.lines().any(|line| {
                let line = line.trim_start_matches("switchboard: ");
                line.starts_with(&format!("{path}: "))
            });
            assert!(named, "{path} in {stderr}");
        }
        assert!(stderr.contains("server.lissten: unknown key"), "{stderr}");
    }
}

#[tokio::test]
async fn a_configuration_that_is_not_there_is_named() {
    let dir = Dir::new();
    let path = dir.path("gone.yaml");
    let path = path.to_str().unwrap();
    for command in ["serve", "check"] {
        let output = run(switchboard(&[command, "--config", path])).await;
        assert_eq!(code(&output), BAD_CONFIGURATION, "{output:?}");
        assert!(err(&output).contains(path), "{output:?}");
    }
}

#[tokio::test]
async fn a_wrong_variable_is_named() {
    let site = Site::new().await;
    let mut command = switchboard(&["check", "--config", &site.config]);
    command.env("SWITCHBOARD__SERVER__MAX_IN_FLIGHT", "many");
    let output = run(command).await;
    assert_eq!(code(&output), BAD_CONFIGURATION, "{output:?}");
    let stderr = err(&output);
    assert!(stderr.contains("server.max_in_flight: "), "{stderr}");
    assert!(
        stderr.contains("SWITCHBOARD__SERVER__MAX_IN_FLIGHT"),
        "{stderr}"
    );
}

#[tokio::test]
async fn check_prints_what_is_in_force_and_no_secret() {
    let site = Site::new().await;
    let mut command = switchboard(&["check", "--config", &site.config]);
    command.env("SWITCHBOARD__SERVER__MAX_IN_FLIGHT", "77");
    let output = run(command).await;
    assert_eq!(code(&output), 0, "{output:?}");
    let printed = out(&output);
    for line in [
        format!("listen: \"{}\"", site.listen),
        "max_in_flight: 77".to_owned(),
        "max_deadline: 30s".to_owned(),
        "username: agent9".to_owned(),
    ] {
        assert!(has_line(&printed, &line), "{line} in {printed}");
    }
    for secret in [PASSWORD, APP_SECRET] {
        assert!(!printed.contains(secret) && !err(&output).contains(secret));
    }
    // Nothing was sent anywhere.
    assert!(site.sandbox.journal().entries().is_empty());

    // It is a configuration as good as the one it was made of.
    let again = site.dir.write("again.yaml", &printed);
    let output = run(switchboard(&["check", "--config", &again])).await;
    assert_eq!((code(&output), out(&output)), (0, printed));
}

/// A line of YAML, however its value is quoted.
fn has_line(yaml: &str, line: &str) -> bool {
    let plain = |text: &str| text.trim().replace(['"', '\''], "");
    yaml.lines().any(|it| plain(it) == plain(line))
}

#[tokio::test]
async fn check_online_logs_every_account_in() {
    let site = Site::new().await;
    let arguments = ["check", "--online", "--config", &site.config];
    let output = run(switchboard(&arguments)).await;
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(out(&output).contains("genesys account default: logged in"));
    assert!(out(&output).contains("aicc account default: logged in"));
    let journal = site.sandbox.journal();
    assert_eq!(journal.count("genesys", "Login"), 1);
    assert_eq!(journal.count("aicc", "Token"), 1);

    site.sandbox.aicc().set_secret(aicc::AICC_APP, "another");
    let output = run(switchboard(&arguments)).await;
    assert_eq!(code(&output), 1, "{output:?}");
    let told = out(&output) + &err(&output);
    assert!(
        told.contains("genesys account default: logged in"),
        "{told}"
    );
    assert!(told.contains("aicc account default: FAILED"), "{told}");
    for secret in [PASSWORD, APP_SECRET] {
        assert!(!told.contains(secret), "{told}");
    }
}

#[tokio::test]
async fn check_online_fetches_the_keys_of_tokens() {
    let keys = Vendor::saying(json(jwks(&[Signer::es256().jwk("k1")]))).await;
    let none = Vendor::saying(json(r#"{"keys":[]}"#)).await;
    for (issuer, expected, words) in [
        (&keys, 0, "# server.jwt.jwks_url: had"),
        (&none, 1, "# server.jwt.jwks_url: FAILED"),
    ] {
        let jwt = format!(
            "  jwt: {{ issuer: {ISSUER}, audiences: [switchboard], jwks_url: {}/keys }}\n",
            issuer.url
        );
        let site = Site::with(&jwt).await;
        let check = ["check", "--config", &site.config];
        let output = run(switchboard(&check)).await;
        assert_eq!(code(&output), 0, "{output:?}");
        assert!(issuer.seen().is_empty());
        let online = ["check", "--online", "--config", &site.config];
        let output = run(switchboard(&online)).await;
        assert_eq!(code(&output), expected, "{output:?}");
        assert!(out(&output).contains(words), "{}", out(&output));
        assert!(out(&output).contains("aicc account default: logged in"));
        assert_eq!(issuer.seen().len(), 1);
    }
}

#[tokio::test]
async fn health_tells_by_its_exit_code() {
    let site = Site::with("  shutdown_delay: 1h\n").await;
    let nobody = health(site.listen, "").await;
    assert_eq!(code(&nobody), 1);
    assert!(err(&nobody).contains("cannot connect"), "{nobody:?}");

    let mut gateway = Running::spawn(site.serve());
    serving(site.listen).await;
    for service in [
        "",
        "contactcenter.v1.SmsSessionData",
        "contactcenter.v1.AgentSettings",
    ] {
        let output = health(site.listen, service).await;
        let told = (code(&output), out(&output));
        assert_eq!(told, (0, "SERVING\n".to_owned()), "{service}");
    }
    let unknown = health(site.listen, "contactcenter.v1.Nothing").await;
    assert_eq!(code(&unknown), 1);
    assert!(err(&unknown).contains("NotFound"), "{unknown:?}");

    gateway.terminate();
    let draining = async {
        loop {
            let output = health(site.listen, "").await;
            if code(&output) != 0 {
                return output;
            }
        }
    };
    let draining = in_time("health to turn", draining).await;
    assert_eq!(code(&draining), 1);
    assert!(err(&draining).contains("NOT_SERVING"), "{draining:?}");
    // The second one ends the time in which calls are still accepted.
    gateway.terminate();
    assert_eq!(gateway.exit_code().await, 0);
}

/// A call that the vendor has, and that is not answered yet.
async fn at_the_vendor(site: &Site) -> JoinHandle<Result<(), tonic::Status>> {
    let call = tokio::spawn(attach(site.listen));
    until("the vendor has the request", || {
        site.sandbox.journal().count("genesys", "AttachUserData") == 1
    })
    .await;
    call
}

async fn attach(address: SocketAddr) -> Result<(), tonic::Status> {
    let mut sms = SmsSessionDataClient::new(channel(address));
    let request = AttachUserDataRequest {
        session_id: "session9".into(),
        user_data: Some(support::data(&[("Card", "card-4929-1187")])),
        ..Default::default()
    };
    sms.attach_user_data(request).await.map(drop)
}

fn channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    endpoint.unwrap().connect_lazy().into()
}

/// A few calls of every kind that sees a secret: logins, reads, writes, refusals, failures.
async fn rehearse(site: &Site) {
    let mut sms = SmsSessionDataClient::new(channel(site.listen));
    let mut settings = AgentSettingsClient::new(channel(site.listen));
    let get = || GetSessionRequest {
        session_id: "session9".into(),
        ..Default::default()
    };
    let query = || GetAgentSettingsRequest {
        user_id: USER.into(),
        ..Default::default()
    };
    let faults = [
        None,
        Some(Fault::Unauthorized),
        Some(Fault::ForbiddenToken),
        Some(Fault::Garbage),
        Some(Fault::Reset),
        Some(Fault::status(500)),
    ];
    for fault in faults {
        let rules = fault.map(Rule::new).into_iter().collect();
        site.sandbox.faults().replace(rules).unwrap();
        let _ = sms.get_session(get()).await;
        let _ = settings.get_agent_settings(query()).await;
        let _ = attach(site.listen).await;
        let create = CreateAgentSettingsRequest {
            user_id: "1660270845627002402".into(),
            ..Default::default()
        };
        let _ = settings.create_agent_settings(create).await;
    }
    let absent = support::get();
    sms.get_session(absent).await.unwrap_err();
}

/// Files of certificates, and the lines of the configuration that name them.
fn encrypted(dir: &Dir, ours: &Authority) -> String {
    let (server, caller) = (ours.server(), ours.dns("caller.example"));
    let write = |name: &str, contents: &str| dir.write(name, contents);
    write("caller.crt", &caller.cert);
    write("caller.key", &caller.key);
    format!(
        "  shutdown_delay: 0s\n  tls: {{ cert_file: {}, key_file: {}, client_ca_file: {} }}\n",
        write("tls.crt", &server.cert),
        write("tls.key", &server.key),
        write("ca.crt", &ours.pem()),
    )
}

#[tokio::test]
async fn health_asks_over_tls_and_shows_a_certificate() {
    let (dir, ours) = (Dir::new(), Authority::new("ours"));
    let site = Site::with(&encrypted(&dir, &ours)).await;
    let mut gateway = Running::spawn(site.serve());
    let file = |name: &str| dir.path(name).to_str().unwrap().to_owned();
    let address = site.listen.to_string();
    let ask = async |more: &[(&str, &str)]| {
        let named = more.iter().flat_map(|(option, value)| [*option, *value]);
        let arguments: Vec<_> = ["health", "--addr", &address]
            .into_iter()
            .chain(named)
            .collect();
        run(switchboard(&arguments)).await
    };
    let (ca, cert, key) = (file("ca.crt"), file("caller.crt"), file("caller.key"));
    let own = [
        ("--ca-file", &*ca),
        ("--cert-file", &*cert),
        ("--key-file", &*key),
    ];
    in_time("a gateway that serves", async {
        while code(&ask(&own).await) != 0 {}
    })
    .await;
    let named = [&own[..], &[("--server-name", "localhost")]].concat();
    assert_eq!(code(&ask(&named).await), 0);
    let misnamed = [&own[..], &[("--server-name", "elsewhere.example")]].concat();
    let refused = ask(&misnamed).await;
    assert_eq!(code(&refused), 1);
    assert!(err(&refused).contains("certificate"), "{}", err(&refused));
    // Which is no word about the gateway's health.
    for (options, word) in [(&[][..], "--ca-file"), (&own[..1], "--cert-file")] {
        let unheard = ask(options).await;
        assert_eq!(code(&unheard), 1);
        let told = err(&unheard);
        assert!(told.contains("no answer") && told.contains(word), "{told}");
    }
    assert_eq!(
        code(&ask(&own[..2]).await),
        2,
        "a certificate without its key"
    );
    gateway.terminate();
    assert_eq!(gateway.exit_code().await, 0);
}

/// As behind a load balancer whose own backend is gone: a probe ends all the same.
#[tokio::test]
async fn health_does_not_wait_for_ever_for_who_says_nothing() {
    let (dir, ours) = (Dir::new(), Authority::new("ours"));
    let ca = dir.write("ca.crt", &ours.pem());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    for more in [&[][..], &["--ca-file", &ca]] {
        let mut command = switchboard(&[&["health", "--addr", &address], more].concat());
        let log = dir.path("stderr");
        command.stderr(Stdio::from(fs::File::create(&log).unwrap()));
        assert_eq!(Running::spawn(command).exit_code().await, 1, "{more:?}");
        let told = fs::read_to_string(&log).unwrap();
        assert!(told.contains("no answer"), "{told}");
    }
}

#[tokio::test]
async fn health_refuses_an_address_that_names_no_port() {
    for address in ["127.0.0.1", "127.0.0.1:99999", "::1:50051", ":50051"] {
        let output = run(switchboard(&["health", "--addr", address])).await;
        assert_eq!(code(&output), 1, "{output:?}");
        assert!(err(&output).contains("expected HOST:PORT"), "{output:?}");
    }
}

#[tokio::test]
async fn check_prints_who_may_call_what() {
    let (dir, ours) = (Dir::new(), Authority::new("ours"));
    let site = Site::with(&encrypted(&dir, &ours)).await;
    let table = async |arguments: Vec<(&str, &str)>| {
        let mut command = switchboard(&["check", "--config", &site.config]);
        command.envs(arguments);
        let output = run(command).await;
        assert_eq!(code(&output), 0, "{}", err(&output));
        let printed = out(&output);
        let at = printed.find("# Who may call what").expect("a table");
        printed[at..].lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let policy = r#"[{"callers": ["dns:*.example", "jwt:a"], "methods": ["*/Get*"], "accounts": ["default"]}]"#;
    assert_eq!(
        table(vec![("SWITCHBOARD__POLICY", policy)]).await[1..],
        [
            "# callers               methods                  accounts",
            "# anybody               grpc.health.v1.Health/*  *",
            "# dns:*.example, jwt:a  */Get*                   default",
            "# everybody else        none                     none",
        ]
    );
    let without = table(vec![]).await;
    assert!(
        without[3].starts_with("# whoever has an identity  *"),
        "{without:?}"
    );
    let anybody = table(vec![("SWITCHBOARD__SERVER__TLS__CLIENT_CA_FILE", "")]).await;
    assert_eq!(
        anybody[1..],
        ["# callers  methods  accounts", "# anybody  *        *"]
    );
}

/// What was redirected into a file must not pass for the whole of it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn check_fails_where_its_output_has_no_room() {
    let site = Site::new().await;
    let mut command = switchboard(&["check", "--config", &site.config]);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    command.stdout(Stdio::from(full)).stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || command.spawn().unwrap().wait_with_output());
    let output = in_time("the command", output).await.unwrap().unwrap();
    assert_eq!(code(&output), 1, "{output:?}");
    assert!(err(&output).contains("cannot be printed"), "{output:?}");
}

/// Whatever a pattern holds: the table is a comment below what can be loaded again.
#[tokio::test]
async fn what_check_prints_of_a_policy_loads_again() {
    let (dir, ours) = (Dir::new(), Authority::new("ours"));
    let site = Site::with(&encrypted(&dir, &ours)).await;
    let policy =
        r#"[{"callers": ["a\nlog: {level: debug}"], "methods": ["*"], "accounts": ["*"]}]"#;
    let mut command = switchboard(&["check", "--config", &site.config]);
    command.env("SWITCHBOARD__POLICY", policy);
    let printed = out(&run(command).await);
    let again = site.dir.write("again.yaml", &printed);
    let output = run(switchboard(&["check", "--config", &again])).await;
    assert_eq!((code(&output), out(&output)), (0, printed), "{output:?}");
}

#[tokio::test]
async fn files_of_tls_that_cannot_be_used_are_a_wrong_configuration() {
    let (dir, ours) = (Dir::new(), Authority::new("ours"));
    let site = Site::with(&encrypted(&dir, &ours)).await;
    dir.write("tls.key", &ours.server().key);
    for command in ["serve", "check"] {
        let output = run(switchboard(&[command, "--config", &site.config])).await;
        assert_eq!(code(&output), BAD_CONFIGURATION, "{command}");
        let said = err(&output);
        assert!(
            said.contains("server.tls: ") && said.contains("of no use together"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn all_files_that_cannot_be_used_are_told_at_once() {
    let (dir, ours) = (Dir::new(), Authority::new("ours"));
    let nothing = dir.write("nothing", "x");
    let jwt = format!("  jwt: {{ issuer: a, audiences: [b], jwks_file: {nothing} }}\n");
    let site = Site::with(&(encrypted(&dir, &ours) + &jwt)).await;
    dir.write("tls.crt", "x");
    for command in ["serve", "check"] {
        let mut command = switchboard(&[command, "--config", &site.config]);
        command.env("SWITCHBOARD__GENESYS__TLS__CA_FILE", &nothing);
        command.env("SWITCHBOARD__AICC__TLS__CA_FILE", &nothing);
        let output = run(command).await;
        assert_eq!(code(&output), BAD_CONFIGURATION, "{output:?}");
        let said = err(&output);
        for path in ["server.tls", "server.jwt", "genesys.tls", "aicc.tls"] {
            let told = format!("{path}: ");
            let mut lines = said
                .lines()
                .map(|it| it.trim_start_matches("switchboard: "));
            assert!(lines.any(|it| it.starts_with(&told)), "{path}: {said}");
        }
    }
}

#[tokio::test]
async fn all_of_a_section_s_files_that_hold_nothing_are_told_at_once() {
    let (dir, ours) = (Dir::new(), Authority::new("ours"));
    let site = Site::with(&encrypted(&dir, &ours)).await;
    let files = ["tls.crt", "tls.key", "ca.crt", "crl.pem"].map(|name| dir.write(name, "x"));
    let [cert, key, ca, crl] = &files;
    let mut command = switchboard(&["check", "--config", &site.config]);
    for (variable, file) in [
        ("SERVER__TLS__CLIENT_CA_FILE", ca),
        ("SERVER__TLS__CRL_FILE", crl),
        ("AICC__TLS__CA_FILE", ca),
        ("AICC__TLS__CLIENT_CERT_FILE", cert),
        ("AICC__TLS__CLIENT_KEY_FILE", key),
    ] {
        command.env(format!("SWITCHBOARD__{variable}"), file);
    }
    let output = run(command).await;
    assert_eq!(code(&output), BAD_CONFIGURATION, "{output:?}");
    let said = err(&output);
    for (section, files) in [("server.tls: ", &files[..]), ("aicc.tls: ", &files[..3])] {
        let line = said.lines().find(|line| line.contains(section)).unwrap();
        let told = |file: &String| line.contains(&format!("{file} holds no "));
        assert!(files.iter().all(told), "{line}");
    }
}

#[tokio::test]
async fn a_proxy_that_cannot_be_used_is_a_wrong_configuration() {
    let site = Site::new().await;
    for proxy in [
        "http://user:hunter2@:3128",
        "http://user:hunter2@proxy.example:99999",
    ] {
        let mut command = switchboard(&["check", "--config", &site.config]);
        command.env_remove("https_proxy").env("HTTPS_PROXY", proxy);
        let output = run(command).await;
        assert_eq!(code(&output), BAD_CONFIGURATION, "{proxy}: {output:?}");
        let told = err(&output);
        assert!(told.contains("http://HOST:PORT"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    for proxy in ["http://u:p@proxy.example:3128", "https://proxy", "proxy:1"] {
        let mut command = switchboard(&["check", "--config", &site.config]);
        command.env("HTTPS_PROXY", proxy);
        assert_eq!(code(&run(command).await), 0, "{proxy}");
    }
}

/// To open one would wait for somebody who writes into it.
#[tokio::test]
async fn a_pipe_is_no_file_to_wait_for() {
    let (dir, ours) = (Dir::new(), Authority::new("ours"));
    let site = Site::with(&encrypted(&dir, &ours)).await;
    let pipe = dir.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    for key in ["SERVER__TLS__CERT_FILE", "AICC__TLS__CA_FILE"] {
        let mut command = switchboard(&["check", "--config", &site.config]);
        command.env(format!("SWITCHBOARD__{key}"), &pipe);
        command.stderr(Stdio::from(fs::File::create(site.stderr()).unwrap()));
        let code = Running::spawn(command).exit_code().await;
        assert_eq!(code, BAD_CONFIGURATION, "{key}");
        let told = fs::read_to_string(site.stderr()).unwrap();
        assert!(told.contains("is not a regular file"), "{told}");
    }
}

/// The real process, its log level off: who did what is written all the same.
#[tokio::test]
async fn the_audit_log_is_written_whatever_the_level_is() {
    let site = Site::with("  shutdown_delay: 0s\nlog: { level: \"off\" }\n").await;
    let mut command = site.serve();
    command.env_remove("SWITCHBOARD__LOG__LEVEL");
    let mut gateway = Running::spawn(command);
    serving(site.listen).await;
    attach(site.listen).await.unwrap();
    gateway.terminate();
    assert_eq!(gateway.exit_code().await, 0);
    let log = fs::read_to_string(site.stderr()).unwrap();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    let line = &lines[0];
    assert_eq!(line["target"], "switchboard::audit");
    assert_eq!(line["caller"], "anonymous");
    assert_eq!(
        line["method"],
        "contactcenter.v1.SmsSessionData/AttachUserData"
    );
    assert_eq!(line["code"], "OK");
    assert_eq!(line["trace_id"].as_str().unwrap().len(), 32, "{line}");
}

#[tokio::test]
async fn no_log_holds_a_secret_however_loud() {
    let site = Site::with("  shutdown_delay: 0s\n").await;
    let mut command = site.serve();
    command.env("RUST_LOG", "trace");
    let mut gateway = Running::spawn(command);
    serving(site.listen).await;
    rehearse(&site).await;
    gateway.terminate();
    assert_eq!(gateway.exit_code().await, 0);
    let log = fs::read_to_string(site.stderr()).unwrap();
    let seen = log.contains("h2::") && log.contains("hyper_util::");
    assert!(seen, "the log was to be as loud as it can be");
    let entries = site.sandbox.journal().entries();
    let mut secrets: Vec<String> = entries.iter().flat_map(secrets).collect();
    // Of each scheme there was something to find.
    assert!(secrets.len() > 20, "{secrets:?}");
    let own = [PASSWORD, APP_SECRET, "card-4929-1187"];
    secrets.extend(own.map(str::to_owned));
    secrets.sort();
    secrets.dedup();
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None, "holds {secret}");
    }
}

#[tokio::test]
async fn an_address_in_use_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let site = Site::new().await;
    let mut command = switchboard(&["serve", "--config", &site.config]);
    command.env("SWITCHBOARD__SERVER__LISTEN", address.to_string());
    let output = run(command).await;
    assert_eq!(code(&output), 1, "{output:?}");
    let told = err(&output);
    assert!(told.contains("server.listen"), "{told}");
    assert!(told.contains(&address.to_string()), "{told}");
}

/// By one handle more each time, until there are enough for a start and its end.
#[tokio::test]
async fn a_start_that_has_too_few_handles_says_what_for() {
    let site = Site::with("  shutdown_delay: 0s\n").await;
    let mut failed = 0;
    loop {
        let serve = site.serve();
        // With fewer tokio itself panics, or nothing is loaded.
        let limit = format!("ulimit -n {}; exec \"$0\" \"$@\"", 8 + failed);
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(limit)
            .arg(serve.get_program())
            .args(serve.get_args());
        command.stderr(Stdio::from(fs::File::create(site.stderr()).unwrap()));
        let mut gateway = Running::spawn(command);
        let log = || fs::read_to_string(site.stderr()).unwrap();
        let mut ended = false;
        until("it serves, or has ended", || {
            ended = gateway.0.try_wait().unwrap().is_some();
            ended || log().contains("\"serving\"")
        })
        .await;
        if !ended {
            gateway.terminate();
        }
        if gateway.exit_code().await == 0 {
            break;
        }
        let told = log();
        assert!(!told.contains("panicked"), "{told}");
        let line = told.lines().find(|line| line.ends_with("(os error 24)"));
        assert!(
            !line.unwrap().starts_with("switchboard: Too many"),
            "{told}"
        );
        failed += 1;
    }
    assert!(failed > 3, "{failed} starts failed");
}

/// Whoever reads the tour may have read enough: `switchboard sandbox --once | head`.
#[tokio::test]
async fn the_tour_goes_on_to_its_end_when_nobody_reads_it() {
    let (unread, out) = std::io::pipe().unwrap();
    drop(unread);
    let mut command = switchboard(&["sandbox", "--once"]);
    command.stdout(out).stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || command.spawn().unwrap().wait_with_output());
    let output = in_time("the tour", output).await.unwrap().unwrap();
    assert_eq!((code(&output), err(&output)), (0, String::new()));
}

#[tokio::test]
async fn an_address_in_use_is_told_by_the_sandbox_too() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for option in ["--listen", "--admin-listen", "--control-listen"] {
        let mut command = switchboard(&["sandbox"]);
        for other in ["--listen", "--admin-listen", "--control-listen"] {
            let free = "127.0.0.1:0";
            command.args([other, if other == option { &address } else { free }]);
        }
        let output = run(command).await;
        assert_eq!(code(&output), 1, "{output:?}");
        assert!(err(&output).contains(&address), "{option}: {output:?}");
    }
}

/// With port 0 nobody else knows where the gateway is.
#[tokio::test]
async fn the_log_tells_where_it_listens() {
    let site = Site::with("  shutdown_delay: 0s\n").await;
    let mut command = site.serve();
    for key in ["LISTEN", "ADMIN_LISTEN"] {
        command.env(format!("SWITCHBOARD__SERVER__{key}"), "127.0.0.1:0");
    }
    let mut gateway = Running::spawn(command);
    let mut told = None;
    until("it says that it serves", || {
        let log = fs::read_to_string(site.stderr()).unwrap();
        let mut lines = log.lines().filter_map(|it| serde_json::from_str(it).ok());
        told = lines.find(|it: &serde_json::Value| it["message"] == "serving");
        told.is_some()
    })
    .await;
    let told = told.unwrap();
    let address = |key: &str| told[key].as_str().unwrap().parse::<SocketAddr>().unwrap();
    serving(address("listen")).await;
    TcpStream::connect(address("admin_listen")).unwrap();
    gateway.terminate();
    assert_eq!(gateway.exit_code().await, 0);
}
