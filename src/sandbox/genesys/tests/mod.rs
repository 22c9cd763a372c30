//! A client as careful as the documents ask for, without a wire in between.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use serde_json::Value;

use super::{GENESYS_PASSWORD, Genesys};
use crate::sandbox::http::{Answer, Simulator};

mod login;
mod user_data;

const SESSION: &str = "/api/v2/me/smssessions/0071023821aec011";
const CSRF_TEXT: &[u8] = b"Missing or invalid Csrf token";

/// One account, one cookie jar, one CSRF token.
#[derive(Default, Clone)]
struct Client {
    agent: String,
    cookies: String,
    csrf: String,
}

impl Client {
    fn new(agent: &str) -> Self {
        Self {
            agent: agent.to_owned(),
            ..Self::default()
        }
    }

    fn logged_in(genesys: &Genesys, agent: &str) -> Self {
        let mut client = Self::new(agent);
        let response = client.send(genesys, "GET", "/api/v2/me", "").response;
        assert_eq!(response.status(), 200);
        client.learn(&response);
        client
    }

    fn learn(&mut self, response: &Response<Bytes>) {
        let given = response.headers().get_all("set-cookie").iter();
        let pairs: Vec<_> = given
            .map(|it| it.to_str().unwrap().split(';').next().unwrap())
            .collect();
        self.cookies = pairs.join("; ");
        let name = response.headers()["x-csrf-header"].to_str().unwrap();
        self.csrf = response.headers()[name].to_str().unwrap().to_owned();
    }

    fn send(&self, genesys: &Genesys, method: &str, path: &str, body: &str) -> Answer {
        let pair = STANDARD.encode(format!("{}:{GENESYS_PASSWORD}", self.agent));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Basic {pair}"))
            .header("cookie", &self.cookies)
            .header("x-csrf-token", &self.csrf)
            .header("content-type", "application/json");
        handle(
            genesys,
            &request.body(Bytes::from(body.to_owned())).unwrap(),
        )
    }

    fn post(&self, genesys: &Genesys, body: &Value) -> (u16, Value) {
        read(&self.send(genesys, "POST", SESSION, &body.to_string()))
    }

    fn get(&self, genesys: &Genesys, path: &str) -> (u16, Value) {
        read(&self.send(genesys, "GET", path, ""))
    }
}

/// Nothing is waited for here: only held connects take their time, and those are tested over real sockets.
fn handle(genesys: &Genesys, request: &Request<Bytes>) -> Answer {
    let answer = genesys.handle(request).now_or_never();
    answer.expect("a call is answered at once")
}

fn read(answer: &Answer) -> (u16, Value) {
    let body = serde_json::from_slice(answer.response.body()).unwrap_or(Value::Null);
    (answer.response.status().as_u16(), body)
}

fn lost(answer: &Answer) -> bool {
    answer.response.status() == 403 && answer.response.body() == CSRF_TEXT
}
