//! What gateways let out and what they were told in confidence, over the whole suite.
//!
//! With `SWITCHBOARD_LEAK_SCAN=FOLDER` the one is written below `FOLDER/emitted`, the other into
//! `FOLDER/secrets`, and `tests/acceptance/leaks.sh` looks for the second in the first. Without it
//! nothing here does anything.

mod confided;

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use http::HeaderMap;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use switchboard::config::Config;
use switchboard::telemetry::{self, Format, Telemetry};

pub use self::confided::{confide_all, confide_body, confide_headers};

static FOLDER: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let folder = PathBuf::from(std::env::var_os("SWITCHBOARD_LEAK_SCAN")?);
    fs::create_dir_all(folder.join("emitted")).unwrap();
    Some(folder)
});

/// The gateway's own log lines, as loud as its level can be made, on stderr.
static LOG: LazyLock<Telemetry> = LazyLock::new(|| {
    let options = telemetry::Options {
        level: "trace".to_owned(),
        format: Format::Json,
        audit: true,
    };
    telemetry::init(&options).unwrap()
});

static TOLD: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

pub fn is_on() -> bool {
    FOLDER.is_some()
}

/// Whoever listens to the log apart has to come after this.
pub fn begin_log() {
    if is_on() {
        LazyLock::force(&LOG);
    }
}

/// A gateway is about to start in this process.
pub fn begin(config: &Config) {
    if !is_on() {
        return;
    }
    begin_log();
    for account in config.genesys.iter().flat_map(|it| it.accounts.values()) {
        secret_of(&account.password);
    }
    for account in config.aicc.iter().flat_map(|it| it.accounts.values()) {
        secret_of(&account.secret);
    }
    if let Some(url) = &config.dedupe.redis_url {
        secret_of(url);
    }
}

fn secret_of(secret: &switchboard::upstream::secret::Secret) {
    use secrecy::ExposeSecret as _;
    if let Ok(secret) = secret.read() {
        confide("secret", secret.expose_secret());
    }
}

/// A gateway is about to end: its pages as they are now.
pub fn end(metrics: &telemetry::Metrics, admin: SocketAddr) {
    if !is_on() {
        return;
    }
    emit("metrics", &metrics.text());
    // Not those of the gateway, but of the process: whether log lines were lost.
    emit("log_metrics", &LOG.metrics().text());
    for (place, path) in [("status_json", "/status.json"), ("status_page", "/")] {
        // One that has drained has closed it.
        if let Ok(page) = page(admin, path) {
            emit(place, &page);
        }
    }
}

fn page(admin: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    Ok(page)
}

/// Something that a gateway has let out.
pub fn emit(place: &str, text: &str) {
    if let Some(folder) = &*FOLDER {
        append(&folder.join("emitted").join(place), text);
    }
}

/// The end of a call as its caller gets it.
pub fn emit_status(headers: &HeaderMap) {
    let mut text = String::new();
    for (name, value) in headers {
        let value = value.as_bytes();
        let value = match name.as_str().ends_with("-bin") {
            true => unpacked(value),
            false => percent_encoding::percent_decode(value)
                .decode_utf8_lossy()
                .into_owned(),
        };
        text.push_str(&format!("{name}: {value}\n"));
    }
    emit("statuses", &text);
}

fn unpacked(value: &[u8]) -> String {
    let unpadded = value.trim_ascii_end();
    let bytes = BASE64_STANDARD_NO_PAD.decode(unpadded);
    let bytes = bytes.or_else(|_| BASE64_STANDARD.decode(unpadded));
    String::from_utf8_lossy(&bytes.unwrap()).into_owned()
}

/// Something that a gateway was told in confidence.
pub fn confide(kind: &str, secret: &str) {
    let Some(folder) = &*FOLDER else { return };
    if secret.is_empty() || !TOLD.lock().unwrap().insert(secret.to_owned()) {
        return;
    }
    let json = serde_json::to_string(secret).unwrap();
    let json = &json[1..json.len() - 1];
    let mut forms = forms(secret);
    forms.insert(json.to_owned());
    for form in forms {
        append(&folder.join("secrets"), &format!("{kind}\t{json}\t{form}"));
    }
}

/// As it is, where a line of text can hold it, and as it might travel.
pub fn forms(secret: &str) -> HashSet<String> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = HashSet::from([
        BASE64_STANDARD_NO_PAD.encode(secret),
        BASE64_URL_SAFE_NO_PAD.encode(secret),
        utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
        hex,
        format!("{:?}", secret.as_bytes()),
    ]);
    if !secret.contains(char::is_control) {
        forms.insert(secret.to_owned());
    }
    forms
}

/// What makes a process of the gateway's own as loud as its level can be.
pub fn loud() -> Option<(&'static str, &'static str)> {
    is_on().then_some(("SWITCHBOARD__LOG__LEVEL", "trace"))
}

fn append(path: &std::path::Path, text: &str) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap();
    let file = OpenOptions::new().create(true).append(true).open(path);
    let mut file = file.unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.write_all(b"\n").unwrap();
}
