//! Connections, and vendors that go down and come back.

use std::io::ErrorKind;

use super::{attach, basic, query, request, sandbox, say, until};
use crate::sandbox::{Options, Sandbox};

fn port(url: &str) -> std::net::SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

async fn refused(url: &str) -> bool {
    let refused = tokio::net::TcpStream::connect(port(url)).await;
    refused.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[tokio::test]
async fn a_connection_serves_request_after_request() {
    let sandbox = sandbox().await;
    let authorization = basic();
    let kept = request(
        "GET",
        "/api/v2/me",
        &[("Authorization", &authorization)],
        "",
    );
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Connection", "close"),
    ];
    let last = request("GET", "/api/v2/me/smssessions?fields=*", &headers, "");
    say(sandbox.genesys_url(), kept + &last).await;
    attach(&sandbox).await;
    let entries = sandbox.journal().for_vendor("genesys");
    let operations: Vec<_> = entries.iter().map(|entry| entry.operation).collect();
    assert_eq!(operations, ["Login", "ListSessions", "AttachUserData"]);
    assert_eq!(entries[0].connection, entries[1].connection);
    assert_ne!(entries[1].connection, entries[2].connection);
    assert_eq!(entries[1].target, "/api/v2/me/smssessions?fields=*");
    assert_eq!(
        entries
            .iter()
            .map(|entry| entry.applied)
            .collect::<Vec<_>>(),
        [false, false, true]
    );
    assert_eq!(
        entries
            .iter()
            .map(|entry| entry.is_login)
            .collect::<Vec<_>>(),
        [true, false, false]
    );
}

#[tokio::test]
async fn a_request_beyond_a_mebibyte_is_refused() {
    let sandbox = sandbox().await;
    let headers = [("Connection", "close")];
    let huge = request("POST", "/api/v2/me", &headers, &" ".repeat(1024 * 1024 + 1));
    assert_eq!(say(sandbox.genesys_url(), huge).await.status, 413);
}

#[tokio::test]
async fn after_a_stop_the_port_is_free_for_another_sandbox() {
    let first = sandbox().await;
    attach(&first).await;
    let options = Options {
        genesys: port(&first.genesys_url()),
        aicc: port(&first.aicc_url()),
        control: port(&first.control_url()),
    };
    first.stop().await;
    first.stop().await;
    assert!(refused(&first.genesys_url()).await);
    let second = Sandbox::start(options).await.unwrap();
    assert_eq!(second.genesys_url(), first.genesys_url());
    assert_eq!(query(&second).await.status, 200);
}

#[tokio::test]
async fn one_vendor_goes_down_and_comes_back_with_its_state() {
    let sandbox = sandbox().await;
    attach(&sandbox).await;
    sandbox.genesys_listener().stop().await;
    assert!(refused(&sandbox.genesys_url()).await);
    assert_eq!(query(&sandbox).await.status, 200);
    sandbox.genesys_listener().start().unwrap();
    sandbox.genesys_listener().start().unwrap();
    assert_eq!(attach(&sandbox).await.status, 200);
    assert_eq!(sandbox.genesys().writes().len(), 2);
}

#[tokio::test]
async fn while_a_vendor_is_down_nobody_else_is_given_its_port() {
    let sandbox = sandbox().await;
    sandbox.genesys_listener().stop().await;
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    let bound = other.bind(port(&sandbox.genesys_url()));
    assert_eq!(bound.unwrap_err().kind(), ErrorKind::AddrInUse);
    assert!(refused(&sandbox.genesys_url()).await);
}

#[tokio::test]
async fn the_last_clone_takes_the_sandbox_with_it() {
    let sandbox = sandbox().await;
    let url = sandbox.genesys_url();
    drop(sandbox.clone());
    assert_eq!(attach(&sandbox).await.status, 200);
    drop(sandbox);
    until("nobody listens", async || refused(&url).await).await;
}
