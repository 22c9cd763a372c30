//! Which resource a path names, and which operation a request asks for.

use bytes::Bytes;
use http::{Method, Request};
use serde_json::Value;

use super::notifications::{self, Meta};
use crate::sandbox::http::Operation;

pub(super) const ATTACH: &str = "AttachUserData";
pub(super) const UPDATE: &str = "UpdateUserData";
pub(super) const DELETE: &str = "DeleteUserData";
pub(super) const START: &str = "StartContactCenterSession";
pub(super) const END: &str = "EndContactCenterSession";

const LOGIN: Operation = Operation::login("Login");
const LIST: Operation = Operation::call("ListSessions");
const GET: Operation = Operation::call("GetSession");
/// Every request to the notification endpoint is one of these.
const HANDSHAKE: Operation = Operation::notification("Handshake");
const CONNECT: Operation = Operation::notification("Connect");
const SUBSCRIBE: Operation = Operation::notification("Subscribe");
const UNSUBSCRIBE: Operation = Operation::notification("Unsubscribe");
const DISCONNECT: Operation = Operation::notification("Disconnect");
const NOTIFICATIONS: Operation = Operation::notification("Notifications");

pub(super) const OPERATIONS: &[Operation] = &[
    LOGIN,
    LIST,
    GET,
    Operation::call(ATTACH),
    Operation::call(UPDATE),
    Operation::call(DELETE),
    Operation::call(START),
    Operation::call(END),
    HANDSHAKE,
    CONNECT,
    SUBSCRIBE,
    UNSUBSCRIBE,
    DISCONNECT,
    NOTIFICATIONS,
    Operation::UNKNOWN,
];

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    Me,
    Sessions,
    Session(String),
    Notifications,
}

pub(super) fn route(path: &str) -> Option<Route> {
    let segments: Vec<_> = path.strip_prefix("/api/v2/")?.split('/').collect();
    match segments.as_slice() {
        ["me"] => Some(Route::Me),
        ["me", "smssessions"] => Some(Route::Sessions),
        ["me", "smssessions", id] => decode(id).map(Route::Session),
        ["notifications"] => Some(Route::Notifications),
        _ => None,
    }
}

pub(super) fn operation(request: &Request<Bytes>) -> Operation {
    match (request.method(), route(request.uri().path())) {
        (_, Some(Route::Notifications)) => bayeux(request.body()),
        (&Method::GET, Some(Route::Me)) => LOGIN,
        (&Method::GET, Some(Route::Sessions)) => LIST,
        (&Method::GET, Some(Route::Session(_))) => GET,
        (&Method::POST, Some(Route::Me)) => named(request, &[START, END]),
        (&Method::POST, Some(Route::Session(_))) => named(request, &[ATTACH, UPDATE, DELETE]),
        _ => Operation::UNKNOWN,
    }
}

/// Of several messages the first gives the name.
fn bayeux(body: &[u8]) -> Operation {
    let messages = notifications::read(body).unwrap_or_default();
    match messages.first().and_then(notifications::Message::meta) {
        Some(Meta::Handshake) => HANDSHAKE,
        Some(Meta::Connect) => CONNECT,
        Some(Meta::Subscribe) => SUBSCRIBE,
        Some(Meta::Unsubscribe) => UNSUBSCRIBE,
        Some(Meta::Disconnect) => DISCONNECT,
        None => NOTIFICATIONS,
    }
}

/// One POST serves many operations; the body names the one that is meant.
fn named(request: &Request<Bytes>, known: &[&'static str]) -> Operation {
    let name = operation_name(request.body());
    let known = known.iter().find(|known| Some(**known) == name.as_deref());
    known.map_or(Operation::UNKNOWN, |known| Operation::call(known))
}

pub(super) fn operation_name(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body.get("operationName")?.as_str().map(str::to_owned)
}

/// Exactly once: an id may itself look percent-encoded. `None` for what no client should send.
fn decode(segment: &str) -> Option<String> {
    let mut bytes = segment.bytes();
    let mut decoded = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            hex(bytes.next()?)? << 4 | hex(bytes.next()?)?
        } else {
            byte
        });
    }
    String::from_utf8(decoded).ok().filter(|id| !id.is_empty())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}
