//! An agent's login: Basic on every request, all cookies, and the CSRF header where the
//! operator demands one.
//!
//! A login is one GET: its answer brings cookies and, with CSRF protection on, the name and
//! the value of the header that writes have to carry. Both live as long as the HTTP session.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use cookie_store::{CookieExpiration, CookieStore, RawCookie};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::config::Account;
use super::{Genesys, inferred};
use crate::upstream::auth::{Credentials, Grant, Token};
use crate::upstream::client::LoginTransport;
use crate::upstream::error::{Error, Kind, LoginError};
use crate::upstream::judge::unreadable;
use crate::upstream::operation::{Meta, Replay, Reply, Vendor, empty_request};
use crate::upstream::redact::Redactor;
use crate::upstream::secret;

/// Names the header to send, and that header has the value.
const CSRF_NAME: &str = "x-csrf-header";

/// Servers and balancers set a handful, and each goes with every request.
const MOST_COOKIES: usize = 50;

static LOGIN: Meta = Meta {
    name: "Login",
    method: Method::GET,
    template: inferred::LOGIN_PATH,
    replay: Replay::Safe,
    creates: false,
};

/// One agent. Two agents never share a cookie: each has sessions of its own.
pub(super) struct Agent {
    account: Account,
    base: Url,
    transport: LoginTransport,
}

impl Agent {
    pub(super) fn new(account: Account, base: Url, transport: LoginTransport) -> Self {
        Agent {
            account,
            base,
            transport,
        }
    }
}

impl Credentials for Agent {
    type Token = Session;

    fn fetch(&self) -> BoxFuture<'static, Result<Grant<Session>, LoginError>> {
        let session = Session::begin(&self.account, &self.base);
        let transport = self.transport.clone();
        Box::pin(async move {
            let session = session?;
            log_in(&session, &transport).await?;
            // Its end is not announced; it shows when a request is refused.
            Ok(Grant {
                token: session,
                life: None,
            })
        })
    }

    fn version(&self) -> secret::Version {
        self.account.password.version()
    }

    fn look(&self) -> secret::Version {
        self.account.password.look()
    }
}

async fn log_in(session: &Session, transport: &LoginTransport) -> Result<(), LoginError> {
    let mut request = empty_request(&LOGIN, inferred::LOGIN_PATH).map_err(unavailable)?;
    session.sign(&mut request);
    let redactor = Redactor::of(&request).knowing(&session.secrets());
    let reply = transport.send(&LOGIN, request).await.map_err(unavailable)?;
    session.answered(&reply.headers);
    granted(reply, session.has_begun(), &redactor)
}

fn granted(reply: Reply, began_session: bool, redactor: &Redactor) -> Result<(), LoginError> {
    let mut judged = Genesys::judge(&LOGIN, reply);
    if let Some(answer) = judged.as_mut().err().and_then(Error::answer_mut) {
        redactor.clean_answer(answer);
    }
    match judged {
        Ok(reply) if inferred::is_login(&reply, began_session) => Ok(()),
        // A page of something in front, say: nobody has been logged in by it.
        Ok(reply) => {
            let cause = "no JSON object with a numeric statusCode";
            Err(unavailable(unreadable(&reply, cause)))
        }
        Err(Error::CredentialRefused(refused)) => Err(LoginError::Refused(refused)),
        Err(Error::Refused { meaning, answer }) => Err(match inferred::is_failure(&answer) {
            true => LoginError::failed(&answer, false),
            false => LoginError::refused(meaning, answer, false),
        }),
        Err(other) => Err(unavailable(other)),
    }
}

/// Repeated only when the connection could not be made: accounts lock.
fn unavailable(error: Error) -> LoginError {
    let repeatable = error.kind() == Kind::NeverSent;
    LoginError::unanswered(error, repeatable)
}

/// A logged-in agent's HTTP session.
pub(super) struct Session {
    basic: HeaderValue,
    password: SecretString,
    /// By what cookies are chosen. As over TLS, whatever is spoken from here: where a proxy of the
    /// operator's adds it on the way (`allow_plaintext`), the vendor says `Secure` of cookies that it
    /// wants back all the same.
    base: Url,
    /// Read by every call, and changed by few answers: one after the other.
    state: ArcSwap<State>,
    changing: Mutex<()>,
}

#[derive(Default)]
struct State {
    jar: CookieStore,
    /// The header of them all, when every cookie goes with every request and for good.
    cookies: Option<HeaderValue>,
    csrf: Option<(HeaderName, HeaderValue)>,
}

impl Session {
    fn begin(account: &Account, base: &Url) -> Result<Session, LoginError> {
        let unusable = |cause: String| LoginError::Secret { cause };
        let password = account
            .password
            .read()
            .map_err(|error| unusable(error.to_string()))?;
        let encoded = inferred::basic(&account.username, password.expose_secret());
        let mut basic = HeaderValue::from_str(&format!("Basic {encoded}"))
            .map_err(|error| unusable(error.to_string()))?;
        basic.set_sensitive(true);
        let mut base = base.clone();
        base.set_scheme("https").expect("a base URL is of HTTP");
        Ok(Session {
            basic,
            password,
            base,
            state: ArcSwap::default(),
            changing: Mutex::default(),
        })
    }

    /// The server gave something to know the session by.
    fn has_begun(&self) -> bool {
        let state = self.state.load();
        state.csrf.is_some() || state.jar.iter_any().next().is_some()
    }

    /// The address that cookies are chosen for: their paths include the base URL's.
    fn below_base(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url
    }

    fn cookies(&self, state: &State, path: &str) -> Option<HeaderValue> {
        let chosen = || cookies(&state.jar, &self.below_base(path));
        state.cookies.clone().or_else(chosen)
    }
}

impl Token for Session {
    fn sign(&self, request: &mut Request<Bytes>) {
        let state = self.state.load();
        let cookies = self.cookies(&state, request.uri().path());
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, self.basic.clone());
        if let Some(cookies) = cookies {
            headers.insert(header::COOKIE, cookies);
        }
        if let Some((name, value)) = &state.csrf {
            headers.insert(name, value.clone());
        }
    }

    /// Cookies may change with any answer, and with them the CSRF token.
    fn answered(&self, headers: &HeaderMap) {
        let fresh = csrf(headers);
        let mut set = headers.get_all(header::SET_COOKIE).iter().peekable();
        if fresh.is_none() && set.peek().is_none() {
            return;
        }
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.state.load();
        let parsed = set.filter_map(|value| RawCookie::parse(value.to_str().ok()?.to_owned()).ok());
        let mut jar = before.jar.clone();
        jar.store_response_cookies(parsed, &self.base);
        // A server that gives each answer a cookie of its own would have every request grow.
        if jar.iter_any().count() > MOST_COOKIES {
            jar.clone_from(&before.jar);
        }
        let mut state = State {
            jar,
            cookies: None,
            csrf: fresh.or_else(|| before.csrf.clone()),
        };
        state.cookies = state
            .goes_everywhere(&self.base)
            .then(|| cookies(&state.jar, &self.base))
            .flatten();
        self.state.store(Arc::new(state));
    }

    fn secrets(&self) -> Vec<SecretString> {
        vec![self.password.clone()]
    }
}

impl State {
    /// Whether every cookie is for all that lies below the base, and none ends by itself.
    fn goes_everywhere(&self, base: &Url) -> bool {
        let mut cookies = self.jar.iter_any();
        cookies.all(|it| it.path.matches(base) && it.expires == CookieExpiration::SessionEnd)
    }
}

fn cookies(jar: &CookieStore, url: &Url) -> Option<HeaderValue> {
    let pairs: Vec<_> = jar
        .get_request_values(url)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut value = HeaderValue::from_str(&pairs.join("; ")).ok()?;
    value.set_sensitive(true);
    (!pairs.is_empty()).then_some(value)
}

fn csrf(headers: &HeaderMap) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(headers.get(CSRF_NAME)?.as_bytes()).ok()?;
    let mut value = headers.get(&name)?.clone();
    value.set_sensitive(true);
    Some((name, value))
}

/// Reads an answer to a login as the login does, and signs a request with what it brought.
#[cfg(any(test, fuzzing))]
pub(super) fn take_in(account: &Account, reply: &Reply) {
    let base = Url::parse("http://vendor.example/base").expect("a URL");
    let session = Session::begin(account, &base).expect("a password that fits into a header");
    session.answered(&reply.headers);
    let mut request = empty_request(&LOGIN, "/api/v2/me").expect("a request");
    session.sign(&mut request);
    let redactor = Redactor::of(&request).knowing(&session.secrets());
    let _ = granted(reply.clone(), session.has_begun(), &redactor);
    let cleaned = redactor.clean(&crate::upstream::judge::plain_text(reply));
    assert!(!cleaned.contains("hunter2-and-more"), "a secret is told");
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
