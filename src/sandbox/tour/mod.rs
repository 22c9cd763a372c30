//! The tour: the four documented calls go in by gRPC and out by REST, shown side by side and
//! held against the vendors' documents; and the notification of each write, out by CometD and in
//! by a gRPC stream.

mod page;
mod stops;
mod watch;

use std::io::{self, Write};

use serde_json::Value;
use tonic::transport::Channel;
use tonic::{Code, Status};

use self::page::Page;
use self::stops::{Stop, Told};
use self::watch::Watch;
use super::Sandbox;
use super::journal::Entry;

/// Plays every call; true when each went as documented.
pub async fn play(sandbox: &Sandbox, channel: &Channel, out: &mut impl Write) -> io::Result<bool> {
    let stops = stops::all();
    let total = stops.len();
    let mut wrong = 0;
    let mut watch = Watch::open(channel.clone()).await;
    for (index, stop) in stops.into_iter().enumerate() {
        let before = sandbox.journal().entries().len();
        let answer = stop.call(channel.clone()).await;
        let told = match (&stop.told, &mut watch) {
            (None, _) => None,
            (Some(_), Ok(watch)) => Some(watch.notification().await),
            (Some(_), Err(status)) => Some(Err(status.clone())),
        };
        let rest = requests(sandbox, before);
        let mut problems = stop.problems(&answer, &rest);
        if let (Some(expected), Some(told)) = (&stop.told, &told) {
            problems.extend(expected.problems(told));
        }
        let title = format!("{}/{total}  {}", index + 1, stop.title);
        let mut page = page(&title, &stop, &answer, &rest);
        if let Some(told) = &told {
            add_notification(&mut page, told, sandbox);
        }
        page.print(out)?;
        verdict(&problems, out)?;
        wrong += usize::from(!problems.is_empty());
    }
    writeln!(
        out,
        "{} of {total} calls were as documented.",
        total - wrong
    )?;
    Ok(wrong == 0)
}

/// What the vendor was sent since, logins and the listening to notifications left out.
fn requests(sandbox: &Sandbox, before: usize) -> Vec<Entry> {
    let entries = sandbox.journal().entries();
    entries
        .into_iter()
        .skip(before)
        .filter(|entry| !entry.is_login && !entry.is_notification)
        .collect()
}

fn page(title: &str, stop: &Stop, answer: &Result<Value, Status>, rest: &[Entry]) -> Page {
    let mut page = Page::new(title);
    page.heading("gRPC request", "REST request");
    page.row(
        &format!("{}\n{}", stop.rpc, page::json(&stop.request)),
        &rest_requests(rest),
    );
    page.heading("gRPC answer", "REST answer");
    page.row(&grpc_answer(answer), &rest_answers(rest));
    page
}

fn add_notification(page: &mut Page, told: &Result<Value, Status>, sandbox: &Sandbox) {
    let event = watch::on_the_wire(&sandbox.journal().entries());
    let event = event.map_or("no event".to_owned(), |event| page::json(&event));
    page.heading("gRPC stream: notification", "CometD: event");
    let streamed = format!(
        "contactcenter.v1.SmsSessionData/WatchSessions\n{}",
        match told {
            Ok(told) => page::json(told),
            Err(status) => format!("{:?}\n{}", status.code(), status.message()),
        }
    );
    page.row(&streamed, &event);
}

fn rest_requests(rest: &[Entry]) -> String {
    let shown = rest.iter().map(|entry| {
        let head = format!("{} {}", entry.method, entry.target);
        let headers = shown_headers(entry);
        format!("{head}\n{headers}{}", page::body(&entry.request_body))
    });
    shown.collect::<Vec<_>>().join("\n\n")
}

/// The headers that the vendors' documents speak of, credentials by their kind alone.
fn shown_headers(entry: &Entry) -> String {
    let value = |name: &str| entry.request_headers.get(name)?.to_str().ok();
    let mut shown = String::new();
    for name in ["content-type", "x-app-key"] {
        if let Some(value) = value(name) {
            shown.push_str(&format!("{name}: {value}\n"));
        }
    }
    for name in ["authorization", "cookie", "x-csrf-token"] {
        if let Some(value) = value(name) {
            // `Basic ` and `JSESSIONID=` may be seen; what follows them may not.
            let kind = value.find([' ', '=']).map_or("", |at| &value[..=at]);
            shown.push_str(&format!("{name}: {kind}***\n"));
        }
    }
    shown
}

fn rest_answers(rest: &[Entry]) -> String {
    let shown = rest.iter().map(|entry| {
        let status = entry
            .status
            .map_or("no answer".to_owned(), |status| format!("HTTP {status}"));
        format!("{status}\n{}", page::body(&entry.response_body))
    });
    shown.collect::<Vec<_>>().join("\n\n")
}

fn grpc_answer(answer: &Result<Value, Status>) -> String {
    match answer {
        Ok(message) => format!("OK\n{}", page::json(message)),
        Err(status) => format!("{:?}\n{}", status.code(), status.message()),
    }
}

fn verdict(problems: &[String], out: &mut impl Write) -> io::Result<()> {
    if problems.is_empty() {
        return writeln!(out, "  as documented\n");
    }
    for problem in problems {
        writeln!(out, "  NOT AS DOCUMENTED: {problem}")?;
    }
    writeln!(out)
}

impl Stop {
    /// Every difference between what happened and what the vendor's document shows.
    fn problems(&self, answer: &Result<Value, Status>, rest: &[Entry]) -> Vec<String> {
        let mut problems = Vec::new();
        let mut expect = |what: &str, expected: &Value, found: &Value| {
            if expected != found {
                problems.push(format!("{what} should be {expected}, was {found}"));
            }
        };
        match answer {
            Ok(answer) => expect("the gRPC answer", &self.answer, answer),
            Err(status) => expect(
                "the gRPC status",
                &code(Code::Ok).into(),
                &code(status.code()).into(),
            ),
        }
        expect("the number of REST requests", &1.into(), &rest.len().into());
        if let [entry] = rest {
            let line = format!("{} {}", entry.method, entry.target);
            expect("the REST request line", &self.line.into(), &line.into());
            let read = |body: &[u8]| serde_json::from_slice(body).unwrap_or(Value::Null);
            expect("the REST request", &self.sent, &read(&entry.request_body));
            expect("the REST status", &200.into(), &entry.status.into());
            expect(
                "the REST answer",
                &self.received,
                &read(&entry.response_body),
            );
        }
        problems
    }
}

impl Told {
    /// Every difference between the notification and what the vendor's document says of it.
    fn problems(&self, told: &Result<Value, Status>) -> Vec<String> {
        let told = match told {
            Ok(told) => told,
            Err(status) => return vec![format!("no notification came: {status}")],
        };
        let mut expected = vec![
            ("/message_type", stops::MESSAGE_TYPE.into()),
            ("/notification_type", "PropertiesUpdated".into()),
            ("/session/id", stops::SESSION.into()),
        ];
        let pairs = self.user_data.iter();
        let pairs: Vec<_> = pairs
            .map(|(key, value)| (format!("/session/user_data/{key}"), value.clone()))
            .collect();
        expected.extend(
            pairs
                .iter()
                .map(|(path, value)| (path.as_str(), value.clone())),
        );
        let found = |path| told.pointer(path).cloned().unwrap_or(Value::Null);
        expected
            .into_iter()
            .filter(|(path, value)| found(path) != *value)
            .map(|(path, value)| {
                format!(
                    "the notification's {path} should be {value}, was {}",
                    found(path)
                )
            })
            .collect()
    }
}

fn code(code: Code) -> String {
    format!("{code:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The comparison is what `--once` promises, so it has to be able to fail.
    #[test]
    fn every_kind_of_difference_is_told() {
        let stop = stops::all().remove(0);
        let nothing_sent = stop.problems(&Ok(stop.answer.clone()), &[]);
        assert_eq!(nothing_sent.len(), 1, "{nothing_sent:?}");
        let refused = stop.problems(&Err(Status::not_found("no")), &[]);
        assert_eq!(refused.len(), 2, "{refused:?}");
        assert!(refused[0].contains("NotFound"));
    }

    #[test]
    fn so_is_a_notification_that_differs_or_does_not_come() {
        let stop = stops::all().remove(0);
        let told = stop.told.expect("of a write to a session");
        assert_eq!(told.problems(&Err(Status::unavailable("no"))).len(), 1);
        let other = serde_json::json!({"notification_type": "StatusChange"});
        assert_eq!(told.problems(&Ok(other)).len(), 3 + told.user_data.len());
    }
}
