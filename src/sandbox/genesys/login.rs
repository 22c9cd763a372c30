//! Who asks: HTTP Basic on every request, all cookies of an HTTP session, and the CSRF token that lives with it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use tokio::time::Instant;
use uuid::Uuid;

use super::{GENESYS_PASSWORD, cookies};

/// Jetty's default for inactivity.
const IDLE: Duration = Duration::from_secs(1800);
const CSRF_NAME: HeaderName = HeaderName::from_static("x-csrf-header");
const CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
const CSRF_TOKEN_AS_TOLD: HeaderValue = HeaderValue::from_static("X-CSRF-TOKEN");

#[derive(Debug)]
pub(super) struct Login {
    accounts: BTreeMap<String, String>,
    sessions: HashMap<String, HttpSession>,
    /// Whether the operator protects against CSRF.
    pub(super) csrf: bool,
    /// Requests that carried the HTTP session of one agent and the credentials of another.
    pub(super) mixed: u64,
    /// The number of the node that serves.
    node: u32,
}

#[derive(Debug)]
struct HttpSession {
    agent: String,
    /// The balancer's cookie: without it a request lands on a node that does not know the session.
    node: String,
    csrf: String,
    last_seen: Instant,
}

/// An agent who was let in, and the HTTP session the request runs in.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) agent: String,
    session: String,
    is_new: bool,
}

/// Why a request was not let in; nothing of it has been executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    Credentials,
    /// The CSRF token, or the cookies it lives with.
    Csrf,
}

impl Default for Login {
    fn default() -> Self {
        let account = |name: &str| (name.to_owned(), GENESYS_PASSWORD.to_owned());
        Self {
            accounts: BTreeMap::from([account("agent1"), account("agent2")]),
            sessions: HashMap::new(),
            csrf: true,
            mixed: 0,
            node: 1,
        }
    }
}

impl Login {
    pub(super) fn admit(&mut self, request: &Request<Bytes>) -> Result<Visitor, Denied> {
        let agent = self
            .authenticate(request.headers())
            .ok_or(Denied::Credentials)?;
        let visitor = self.enter(agent, request.headers())?;
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if self.csrf && !reads && !self.knows_token(&visitor, request.headers()) {
            if visitor.is_new {
                self.sessions.remove(&visitor.session);
            }
            return Err(Denied::Csrf);
        }
        Ok(visitor)
    }

    /// Cookies with the first answer of an HTTP session, the CSRF token with the answer of every GET.
    pub(super) fn mark(&self, visitor: &Visitor, method: &Method, response: &mut Response<Bytes>) {
        let Some(session) = self.sessions.get(&visitor.session) else {
            return;
        };
        let headers = response.headers_mut();
        if visitor.is_new {
            cookies::give(headers, &visitor.session, &session.node);
        }
        if self.csrf && *method == Method::GET {
            headers.insert(CSRF_NAME, CSRF_TOKEN_AS_TOLD);
            headers.insert(
                CSRF_TOKEN,
                HeaderValue::from_str(&session.csrf).expect("a token is made of hex digits"),
            );
        }
    }

    pub(super) fn leave(&mut self, visitor: &Visitor) {
        self.sessions.remove(&visitor.session);
    }

    pub(super) fn add_account(&mut self, name: &str, password: &str) {
        self.accounts.insert(name.to_owned(), password.to_owned());
    }

    pub(super) fn agents(&self) -> Vec<&String> {
        self.accounts.keys().collect()
    }

    pub(super) fn forget_all(&mut self) {
        self.sessions.clear();
    }

    /// Another node takes over, which knows no HTTP session.
    pub(super) fn fail_over(&mut self) {
        self.forget_all();
        self.node += 1;
    }

    pub(super) fn open(&self) -> usize {
        self.sessions.len()
    }

    fn authenticate(&self, headers: &HeaderMap) -> Option<String> {
        let (scheme, credentials) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        let decoded = STANDARD
            .decode(credentials.trim())
            .ok()
            .filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        // The server reads ISO-8859-1, in which every byte is the code point of the same number.
        let decoded: String = decoded.into_iter().map(char::from).collect();
        let (name, password) = decoded.split_once(':')?;
        self.accounts
            .get(name)
            .filter(|known| *known == password)
            .map(|_| name.to_owned())
    }

    fn enter(&mut self, agent: String, headers: &HeaderMap) -> Result<Visitor, Denied> {
        let (id, node) = (
            cookies::find(headers, cookies::SESSION),
            cookies::find(headers, cookies::BALANCER),
        );
        let known = id.and_then(|id| Some((id, self.sessions.get_mut(id)?)));
        let Some((id, session)) = known.filter(|(_, session)| session.is_alive()) else {
            return Ok(self.begin(agent));
        };
        if session.agent != agent {
            self.mixed += 1;
            return Err(Denied::Csrf);
        }
        if node != Some(session.node.as_str()) {
            return Ok(self.begin(agent));
        }
        session.last_seen = Instant::now();
        Ok(Visitor {
            agent,
            session: id.to_owned(),
            is_new: false,
        })
    }

    fn begin(&mut self, agent: String) -> Visitor {
        self.sessions.retain(|_, session| session.is_alive());
        let random = || Uuid::new_v4().simple().to_string();
        let node = format!("node{}.{}", self.node, random());
        let (id, csrf) = (random(), random());
        let session = HttpSession {
            agent: agent.clone(),
            node,
            csrf,
            last_seen: Instant::now(),
        };
        self.sessions.insert(id.clone(), session);
        Visitor {
            agent,
            session: id,
            is_new: true,
        }
    }

    fn knows_token(&self, visitor: &Visitor, headers: &HeaderMap) -> bool {
        let session = self.sessions.get(&visitor.session);
        let sent = headers.get(CSRF_TOKEN).map(HeaderValue::as_bytes);
        session.is_some_and(|session| sent == Some(session.csrf.as_bytes()))
    }
}

impl HttpSession {
    fn is_alive(&self) -> bool {
        self.last_seen.elapsed() < IDLE
    }
}
