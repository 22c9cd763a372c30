//! What was sent to a vendor in confidence does not come back to a caller in an error, however
//! the vendor echoes it: secrets, tokens, cookies, user data, numbers.

use bytes::Bytes;
use http::Response;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prost_types::Struct;
use serde_json::json;
use switchboard::pb::{
    AttachUserDataRequest, CreateAgentSettingsRequest, DeleteUserDataRequest, PersonalSettings,
    UpdateAgentSettingsRequest, UpdateUserDataRequest,
};
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::upstream::secret::Secret;
use tonic::Status;

use crate::support::calls::{ALL, Call};
use crate::support::vendor::{self, Seen, Vendor, answer};
use crate::support::verdict::all_words;
use crate::support::{self, Gateway, RECORD, SESSION, USER, get, number, relocate, text};

/// Values of user data, and pieces of them that would give them away.
const VALUES: [(&str, &str); 9] = [
    ("name", "Alice Doe"),
    ("short", "Bo"),
    ("lines", "Elm Street five\r\nSpringfield"),
    ("quoted", "she said \"yes\" \\ twice"),
    ("umlaut", "Jürgen Müller-Lüdenscheidt"),
    ("emoji", "\u{1F600} Chen 陈伟"),
    ("mail", "alice.doe@example.com"),
    ("phone", "+49 151 234 567"),
    ("controls", "first\tsecond\u{85}third"),
];
const PIECES: [&str; 12] = [
    "Alice",
    " Bo ",
    "Elm Street",
    "Springfield",
    "she said",
    "twice",
    "rgen M",
    "denscheidt",
    "Chen",
    "alice.doe",
    "151 234",
    "second",
];

const PIN: f64 = 4711.0;

const NUMBERS: [&str; 5] = ["+491511234567", "0800", "*21#", "233", "99-88-77"];

#[tokio::test]
async fn user_data_that_the_vendor_echoes() {
    for echo in echoes() {
        let (_vendor, gateway) = echoing(echo).await;
        for error in write_all(&gateway).await {
            hides(&error, &PIECES);
            hides(&error, &["4711"]);
        }
    }
}

#[tokio::test]
async fn numbers_that_the_vendor_echoes() {
    for echo in echoes() {
        let (_vendor, gateway) = echoing(echo).await;
        for error in set_numbers(&gateway).await {
            hides(&error, &NUMBERS);
        }
    }
}

#[tokio::test]
async fn a_value_that_is_cut_on_its_way() {
    let long = "the quick brown fox jumps over the lazy dog ".repeat(200);
    for kept in [20, 60, 200, 1000, 1600, 5000, long.len()] {
        let part = long[..kept].to_owned();
        for message in [
            part.clone(),
            format!("too long: {part}"),
            format!("{part} is too long"),
        ] {
            let body = json!({"statusCode": 10, "statusMessage": message});
            let vendor = Vendor::saying(vendor::json(body.to_string())).await;
            let gateway = Gateway::start_with(|config| relocate(config, &vendor.url)).await;
            let error = update(&gateway, support::data(&[("story", &long)])).await;
            hides(&error.unwrap_err(), &["quick", "brown", "fox", "lazy"]);
        }
    }
}

#[tokio::test]
async fn result_codes_are_no_way_around_it() {
    let vendor = Vendor::start(|seen: Seen| async move {
        let sent: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
        let code = &sent["callNumber"][0];
        let described = format!("no {code}");
        vendor::json(json!({"returnCode": code, "returnDesc": described}).to_string())
    })
    .await;
    let gateway = Gateway::start_with(|config| relocate(config, &vendor.url)).await;
    for planted in ["+491511234567", "Alice Doe", "0171 2345"] {
        let request = CreateAgentSettingsRequest {
            user_id: "u".into(),
            settings: Some(PersonalSettings {
                call_number: vec![planted.into()],
                ..Default::default()
            }),
            ..Default::default()
        };
        let error = gateway
            .settings()
            .create_agent_settings(request)
            .await
            .unwrap_err();
        assert_eq!(support::reason(&error), "VENDOR_REJECTED");
        hides(&error, &[planted]);
    }
}

#[tokio::test]
async fn tokens_cookies_and_passwords_in_use() {
    for echo in echoes() {
        let vendor = Vendor::start_with(move |seen| {
            let answer = if seen.is_login() {
                planting(&seen)
            } else {
                echo(&seen.headers_as_text())
            };
            Box::pin(async move { answer })
        })
        .await;
        let gateway = Gateway::start_with(|config| {
            relocate(config, &vendor.url);
            let genesys = config.genesys.as_mut().unwrap();
            genesys.accounts.get_mut("default").unwrap().password = Secret::fixed("hunter2 ü");
        })
        .await;
        for call in ALL {
            let error = call.send(&gateway).await.unwrap_err();
            hides(
                &error,
                &["hunter", "tok-en", "cookie-value", "balance", "csrf-value"],
            );
            // The password in the form in which it travels.
            hides(&error, &["YWdlbnQxOmh1bnRlcjIg"]);
        }
    }
}

#[tokio::test]
async fn secrets_of_a_login() {
    for echo in echoes() {
        let vendor = Vendor::start_with(move |seen| {
            let body = String::from_utf8_lossy(&seen.body).into_owned();
            let told = format!("{} {body} hunter2 geheim", seen.headers_as_text());
            let answer = echo(&told);
            Box::pin(async move { answer })
        })
        .await;
        let gateway = Gateway::start_with(|config| {
            relocate(config, &vendor.url);
            let genesys = config.genesys.as_mut().unwrap();
            genesys.accounts.get_mut("default").unwrap().password = Secret::fixed("hunter2");
            let aicc = config.aicc.as_mut().unwrap();
            aicc.accounts.get_mut("default").unwrap().secret = Secret::fixed("geheim");
        })
        .await;
        for call in [Call::Attach, Call::CreateSettings] {
            let error = call.send(&gateway).await.unwrap_err();
            assert_eq!(support::attempts(error.metadata()), 0);
            hides(&error, &["YWdlbnQxOmh1bnRlcjI"]);
            hides(
                &error,
                &[if call == Call::Attach {
                    "hunter2"
                } else {
                    "geheim"
                }],
            );
        }
    }
}

#[tokio::test]
async fn words_without_secrets_come_through() {
    let gateway = Gateway::start().await;
    let fault = Fault::VendorCode {
        code: 11.into(),
        message: "Property name is read-only, Alice Doe".into(),
    };
    gateway
        .sandbox
        .faults()
        .push(Rule::new(fault).vendor("genesys"))
        .unwrap();
    for error in write_all(&gateway).await {
        assert!(error.message().contains("is read-only"), "{error:?}");
        hides(&error, &["Alice"]);
    }
}

#[tokio::test]
async fn what_is_asked_for_is_still_told() {
    let gateway = Gateway::start().await;
    update(&gateway, planted()).await.unwrap();
    let request = get();
    let answer = gateway.sms().get_session(request).await.unwrap();
    let read = answer.into_inner().session.unwrap().user_data.unwrap();
    for (key, value) in planted().fields {
        assert_eq!(read.fields[&key], value);
    }
}

/// As a careful server writes what goes into a page, by name and by number.
fn for_a_page(text: &str) -> String {
    let escaped = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '"' => "&quot;".to_owned(),
        '<' => "&lt;".to_owned(),
        '@' => format!("&#x{:X};", u32::from(c)),
        c if c.is_ascii_alphanumeric() || " ,.".contains(c) => c.to_string(),
        c => format!("&#{};", u32::from(c)),
    };
    text.chars().map(escaped).collect()
}

/// The ways in which a vendor may say no and quote what it was sent.
fn echoes() -> Vec<fn(&str) -> Response<Bytes>> {
    fn as_json(status: u16, body: &serde_json::Value) -> Response<Bytes> {
        answer(status, "application/json", body.to_string())
    }
    fn envelope(told: &str) -> serde_json::Value {
        json!({
            "statusCode": 1, "statusMessage": format!("bad: {told}"),
            "returnCode": "1", "returnDesc": format!("bad: {told}"),
        })
    }
    vec![
        |told| as_json(200, &envelope(told)),
        |told| as_json(400, &envelope(told)),
        |told| as_json(500, &envelope(told)),
        |told| {
            as_json(
                403,
                &json!({"errorCode": "0", "exceptionInfo": format!("no {told}")}),
            )
        },
        // No envelope that is known.
        |told| as_json(400, &json!({"error": format!("bad '{told}'")})),
        |told| as_json(409, &json!({"statusMessage": told, "errors": [told]})),
        |told| {
            let ascii = told.chars().flat_map(|c| {
                let mut units = [0; 2];
                let escape = |unit: &u16| format!("\\u{unit:04x}");
                c.encode_utf16(&mut units)
                    .iter()
                    .map(escape)
                    .collect::<Vec<_>>()
            });
            let ascii: String = ascii.collect();
            answer(
                422,
                "application/json",
                format!("{{\"error\":\"{ascii}\"}}"),
            )
        },
        // Packed once more than it was, by whoever passes it on.
        |told| as_json(400, &json!({"fault": envelope(told).to_string()})),
        |told| {
            let inner = json!({"fault": envelope(told).to_string()});
            as_json(500, &json!({"detail": inner.to_string()}))
        },
        |told| as_json(400, &envelope(&for_a_page(told))),
        |told| {
            let told = utf8_percent_encode(told, NON_ALPHANUMERIC).to_string();
            as_json(400, &envelope(&told))
        },
        |told| answer(400, "text/plain", format!("bad request: {told}")),
        |told| answer(404, "text/plain", told.to_owned()),
        |told| answer(418, "text/plain", told.to_owned()),
        |told| answer(403, "text/html", format!("<html>{told}</html>")),
        |told| answer(500, "text/plain", told.to_owned()),
        |told| answer(502, "text/plain", told.to_owned()),
        // Not a no, but nothing that can be read either.
        |told| answer(200, "text/plain", told.to_owned()),
        |told| {
            as_json(
                200,
                &json!({"statusCode": told, "returnCode": {"code": told}}),
            )
        },
        |told| {
            as_json(
                200,
                &json!({"statusCode": [told], "smssessions": told, "id": [told]}),
            )
        },
    ]
}

/// A vendor that quotes the values of the request, each in words of its own.
async fn echoing(echo: fn(&str) -> Response<Bytes>) -> (Vendor, Gateway) {
    let vendor = Vendor::start(move |seen: Seen| async move {
        let sent: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
        let mut told = Vec::new();
        scalars(&sent, &mut told);
        told.retain(|value| !value.ends_with("UserData"));
        echo(&told.join(" , "))
    })
    .await;
    let gateway = Gateway::start_with(|config| {
        relocate(config, &vendor.url);
        support::upstreams(config).for_each(|upstream| upstream.retry.attempts = 1);
    })
    .await;
    (vendor, gateway)
}

fn scalars(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Array(items) => items.iter().for_each(|it| scalars(it, found)),
        serde_json::Value::Object(fields) => fields.values().for_each(|it| scalars(it, found)),
        serde_json::Value::String(text) => found.push(text.clone()),
        other => found.push(other.to_string()),
    }
}

/// A login that gives out credentials which no pattern would tell from words.
fn planting(seen: &Seen) -> Response<Bytes> {
    if seen.method == http::Method::POST {
        return vendor::json(r#"{"AccessToken":"tok-en","Expires":"600"}"#);
    }
    let mut login = vendor::login(seen);
    let headers = login.headers_mut();
    headers.append(
        "set-cookie",
        "JSESSIONID=cookie-value; Path=/".parse().unwrap(),
    );
    headers.append("set-cookie", "B=balance; Path=/".parse().unwrap());
    headers.insert("x-csrf-header", "X-CSRF-TOKEN".parse().unwrap());
    headers.insert("x-csrf-token", "csrf-value".parse().unwrap());
    login
}

impl Seen {
    /// With the password as Genesys reads it.
    fn headers_as_text(&self) -> String {
        let pairs = self.headers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            format!("{name} was {value}")
        });
        let pairs: Vec<_> = pairs.filter(|pair| !pair.starts_with("accept")).collect();
        let password = if self.target.starts_with("/api/v2") {
            "hunter2 ü"
        } else {
            ""
        };
        format!("{password} and {}", pairs.join(" ; "))
    }
}

#[track_caller]
fn hides(error: &Status, planted: &[&str]) {
    let words = all_words(error);
    for piece in planted {
        assert!(!words.contains(piece), "{piece:?} came back: {words}");
    }
}

async fn write_all(gateway: &Gateway) -> Vec<Status> {
    let mut sms = gateway.sms();
    let attach = AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(planted()),
        ..Default::default()
    };
    let delete = DeleteUserDataRequest {
        session_id: SESSION.into(),
        keys: VALUES
            .iter()
            .map(|(_, value)| (*value).to_owned())
            .collect(),
        ..Default::default()
    };
    vec![
        sms.attach_user_data(attach).await.unwrap_err(),
        update(gateway, planted()).await.unwrap_err(),
        sms.delete_user_data(delete).await.unwrap_err(),
    ]
}

async fn update(gateway: &Gateway, user_data: Struct) -> Result<(), Status> {
    let request = UpdateUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(user_data),
        ..Default::default()
    };
    gateway.sms().update_user_data(request).await.map(drop)
}

async fn set_numbers(gateway: &Gateway) -> Vec<Status> {
    let mut client = gateway.settings();
    let settings = Some(PersonalSettings {
        call_number: NUMBERS.iter().map(|it| (*it).to_owned()).collect(),
        call_number_default: NUMBERS[0].into(),
        ..Default::default()
    });
    let create = CreateAgentSettingsRequest {
        user_id: "u".into(),
        settings: settings.clone(),
        ..Default::default()
    };
    let update = UpdateAgentSettingsRequest {
        id: RECORD.into(),
        user_id: USER.into(),
        settings,
        ..Default::default()
    };
    vec![
        client.create_agent_settings(create).await.unwrap_err(),
        client.update_agent_settings(update).await.unwrap_err(),
    ]
}

fn planted() -> Struct {
    let texts = VALUES
        .iter()
        .map(|(key, value)| ((*key).to_owned(), text(value)));
    Struct {
        fields: texts.chain([("pin".to_owned(), number(PIN))]).collect(),
    }
}
