//! Each fault does on the wire what it says.

use std::io::{ErrorKind, Write};

use serde_json::json;
use tokio::time::{Duration, Instant};

use super::{attach, genesys, query, request, sandbox, token, until};
use crate::sandbox::Sandbox;
use crate::sandbox::faults::{Fault, Rule};

fn plan(sandbox: &Sandbox, rule: Rule) {
    sandbox.faults().replace(vec![rule]).unwrap();
}

#[tokio::test]
async fn a_reset_before_leaves_the_vendor_untouched() {
    let sandbox = sandbox().await;
    plan(&sandbox, Rule::new(Fault::Reset).times(1));
    let heard = attach(&sandbox).await;
    assert_eq!(
        (heard.end, heard.status),
        (Some(ErrorKind::ConnectionReset), 0)
    );
    assert!(sandbox.genesys().writes().is_empty());
    assert_eq!(attach(&sandbox).await.json(), json!({"statusCode": 0}));
}

#[tokio::test]
async fn a_reset_after_hides_what_the_vendor_did() {
    let sandbox = sandbox().await;
    plan(&sandbox, Rule::new(Fault::Reset).after().times(1));
    let heard = attach(&sandbox).await;
    assert_eq!(
        (heard.end, heard.status),
        (Some(ErrorKind::ConnectionReset), 0)
    );
    assert_eq!(sandbox.genesys().attaches().len(), 1);
    let entry = sandbox.journal().entries().pop().unwrap();
    assert_eq!(
        (entry.status, entry.applied, entry.fault),
        (None, true, Some("reset"))
    );
    attach(&sandbox).await;
    let twice = ("0071023821aec011".to_owned(), "UserData1".to_owned());
    assert_eq!(sandbox.genesys().attaches(), [twice.clone(), twice]);
}

#[tokio::test]
async fn a_cut_body_promises_more_than_it_sends() {
    let sandbox = sandbox().await;
    plan(&sandbox, Rule::new(Fault::CutBody).after());
    let heard = attach(&sandbox).await;
    assert_eq!(heard.header("content-length"), Some("16"));
    assert_eq!((heard.text().as_str(), heard.end), ("{\"status", None));
    assert_eq!(sandbox.genesys().writes().len(), 1);
}

#[tokio::test]
async fn a_hang_lasts_until_the_sandbox_stops() {
    let sandbox = sandbox().await;
    plan(&sandbox, Rule::new(Fault::Hang));
    let hanging = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { attach(&sandbox).await }
    });
    until("the attach has come", async || {
        sandbox.journal().count("genesys", "AttachUserData") == 1
    })
    .await;
    sandbox.stop().await;
    let heard = hanging.await.unwrap();
    assert_eq!(
        (heard.end, heard.status),
        (Some(ErrorKind::ConnectionReset), 0)
    );
    assert_eq!(sandbox.journal().entries()[0].status, None);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_hang_and_its_latency() {
    for fault in [Fault::Hang, Fault::Latency { ms: 3_600_000 }] {
        let sandbox = sandbox().await;
        plan(&sandbox, Rule::new(fault));
        let address = sandbox.genesys_listener().address();
        let mut client = std::net::TcpStream::connect(address).unwrap();
        let path = "/api/v2/me/smssessions?fields=*";
        client
            .write_all(request("GET", path, &[], "").as_bytes())
            .unwrap();
        until("the read has come", async || {
            sandbox.journal().count("genesys", "ListSessions") == 1
        })
        .await;
        assert_eq!(sandbox.genesys_listener().connections(), 1);
        drop(client);
        until("the connection has ended", async || {
            sandbox.genesys_listener().connections() == 0
        })
        .await;
        assert_eq!(sandbox.journal().entries()[0].status, None);
    }
}

#[tokio::test]
async fn latency_and_trickle_take_time_and_change_nothing_else() {
    for (fault, least) in [
        (Fault::Latency { ms: 30 }, 30),
        (Fault::Trickle { ms_per_byte: 2 }, 32),
    ] {
        let sandbox = sandbox().await;
        plan(&sandbox, Rule::new(fault));
        let start = Instant::now();
        assert_eq!(attach(&sandbox).await.json(), json!({"statusCode": 0}));
        assert!(start.elapsed() >= Duration::from_millis(least));
        assert_eq!(sandbox.genesys().writes().len(), 1);
    }
}

#[tokio::test]
async fn throttling_says_when_to_come_back() {
    let sandbox = sandbox().await;
    plan(
        &sandbox,
        Rule::new(Fault::Throttle {
            retry_after: "7".to_owned(),
        }),
    );
    let heard = query(&sandbox).await;
    assert_eq!(
        (heard.status, heard.header("retry-after")),
        (429, Some("7"))
    );
}

#[tokio::test]
async fn a_status_carries_what_the_rule_gives_it() {
    let sandbox = sandbox().await;
    let fault = Fault::Status {
        status: 302,
        body: Some("gone".to_owned()),
        content_type: Some("text/x-note".to_owned()),
        retry_after: Some("Wed, 21 Oct 2026 07:28:00 GMT".to_owned()),
        location: Some("http://elsewhere/".to_owned()),
    };
    plan(&sandbox, Rule::new(fault));
    let heard = attach(&sandbox).await;
    assert_eq!((heard.status, heard.text().as_str()), (302, "gone"));
    assert_eq!(heard.header("content-type"), Some("text/x-note"));
    assert_eq!(
        heard.header("retry-after"),
        Some("Wed, 21 Oct 2026 07:28:00 GMT")
    );
    assert_eq!(heard.header("location"), Some("http://elsewhere/"));
    plan(&sandbox, Rule::new(Fault::status(503)));
    let heard = attach(&sandbox).await;
    assert_eq!((heard.status, heard.text().as_str()), (503, ""));
}

#[tokio::test]
async fn each_vendor_says_no_in_its_own_words() {
    let sandbox = sandbox().await;
    let coded = Fault::VendorCode {
        code: 4.into(),
        message: "Internal error".to_owned(),
    };
    let spelt = Fault::VendorCode {
        code: "-1".into(),
        message: "no".to_owned(),
    };
    let illegal = r#"{"errorCode":"0","exceptionInfo":"auth fail! the access token is illegal"}"#;
    let table = [
        (
            coded,
            200,
            r#"{"statusCode":4,"statusMessage":"Internal error"}"#,
            200,
            r#"{"returnCode":4,"returnDesc":"Internal error"}"#,
        ),
        (
            spelt,
            200,
            r#"{"statusCode":"-1","statusMessage":"no"}"#,
            200,
            r#"{"returnCode":"-1","returnDesc":"no"}"#,
        ),
        (
            Fault::WrongType,
            200,
            r#"{"statusCode":{}}"#,
            200,
            r#"{"returnCode":["0"]}"#,
        ),
        (Fault::NoCode, 200, "{}", 200, "{}"),
        (
            Fault::Unauthorized,
            401,
            r#"{"statusCode":20,"statusMessage":"Authentication required"}"#,
            401,
            "",
        ),
        (
            Fault::ForbiddenToken,
            403,
            "Missing or invalid Csrf token",
            403,
            illegal,
        ),
    ];
    for (fault, genesys_status, genesys_body, aicc_status, aicc_body) in table {
        plan(&sandbox, Rule::new(fault));
        let heard = attach(&sandbox).await;
        assert_eq!(
            (heard.status, heard.text().as_str()),
            (genesys_status, genesys_body)
        );
        let heard = query(&sandbox).await;
        assert_eq!(
            (heard.status, heard.text().as_str()),
            (aicc_status, aicc_body)
        );
    }
    assert!(sandbox.genesys().writes().is_empty());
}

#[tokio::test]
async fn garbage_and_pages_are_no_json() {
    let sandbox = sandbox().await;
    plan(&sandbox, Rule::new(Fault::Garbage));
    let heard = attach(&sandbox).await;
    assert_eq!(
        (heard.status, heard.header("content-type")),
        (200, Some("application/json"))
    );
    assert!(serde_json::from_slice::<serde_json::Value>(&heard.body).is_err());
    plan(&sandbox, Rule::new(Fault::Html { status: 502 }));
    let heard = attach(&sandbox).await;
    assert_eq!(
        (heard.status, heard.header("content-type")),
        (502, Some("text/html"))
    );
    assert!(heard.text().contains("<h1>502 Bad Gateway</h1>"));
}

#[tokio::test]
async fn an_oversized_body_is_a_valid_yes_of_that_size() {
    let sandbox = sandbox().await;
    plan(&sandbox, Rule::new(Fault::Oversize { bytes: 300_000 }));
    let heard = attach(&sandbox).await;
    assert_eq!(
        (heard.body.len(), &heard.json()["statusCode"]),
        (300_000, &json!(0))
    );
    let heard = query(&sandbox).await;
    assert_eq!(
        (heard.body.len(), &heard.json()["returnCode"]),
        (300_000, &json!("0"))
    );
    // Of so much only the beginning stays in memory.
    assert!(sandbox.journal().entries()[0].response_body.len() < 100_000);
}

#[tokio::test]
async fn logins_go_wrong_only_when_named() {
    let sandbox = sandbox().await;
    plan(&sandbox, Rule::new(Fault::status(500)));
    assert_eq!(token(&sandbox).await.status, 200);
    assert_eq!(genesys(&sandbox, "GET", "/api/v2/me", "").await.status, 200);
    plan(&sandbox, Rule::new(Fault::status(500)).operation("Token"));
    assert_eq!(token(&sandbox).await.status, 500);
    plan(&sandbox, Rule::new(Fault::status(500)).operation("Login"));
    assert_eq!(genesys(&sandbox, "GET", "/api/v2/me", "").await.status, 500);
    assert_eq!(attach(&sandbox).await.status, 200);
}
