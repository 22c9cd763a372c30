//! The two cookies of an HTTP session, the server's own and the one by which a balancer finds the node, and the
//! one by which CometD knows a browser.

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

pub(super) const SESSION: &str = "JSESSIONID";
pub(super) const BALANCER: &str = "BIGipServerGWS";
pub(super) const BROWSER: &str = "BAYEUX_BROWSER";

pub(super) fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers
        .get_all(COOKIE)
        .into_iter()
        .filter_map(|line| line.to_str().ok());
    let pairs = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value)
        .next()
}

pub(super) fn give(headers: &mut HeaderMap, session: &str, node: &str) {
    append(headers, &format!("{SESSION}={session}; Path=/; HttpOnly"));
    append(headers, &format!("{BALANCER}={node}; Path=/"));
}

pub(super) fn give_browser(headers: &mut HeaderMap, browser: &str) {
    append(headers, &format!("{BROWSER}={browser}; Path=/; HttpOnly"));
}

fn append(headers: &mut HeaderMap, cookie: &str) {
    let value = HeaderValue::from_str(cookie).expect("a cookie is made of plain ASCII parts");
    headers.append(SET_COOKIE, value);
}
