//! The `server` section: where the gateway listens, and how much and how long it bears.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::callers::{self, Jwt, Tls};
use crate::{
    grpc::caller::policy::Pattern,
    settings::{
        Section,
        yaml::{self, Node},
    },
    upstream::settings::positive,
};

/// Far beyond use, and below what a semaphore can count.
const MOST_CALLS: usize = 1_000_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    pub allow_anonymous: bool,
    /// Without it the gateway speaks in clear.
    pub tls: Option<Tls>,
    pub jwt: Option<Jwt>,
    pub open_methods: Vec<Pattern>,
    pub max_in_flight: usize,
    pub max_connections: usize,
    pub max_connection_age: Duration,
    pub max_deadline: Duration,
    pub default_deadline: Duration,
    pub shutdown_delay: Duration,
    pub drain_timeout: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::UNSPECIFIED, 50051).into(),
            admin_listen: (Ipv4Addr::UNSPECIFIED, 9090).into(),
            allow_anonymous: false,
            tls: None,
            jwt: None,
            open_methods: vec![Pattern::new("grpc.health.v1.Health/*")],
            max_in_flight: 4096,
            max_connections: 4096,
            max_connection_age: Duration::from_secs(30 * 60),
            max_deadline: Duration::from_secs(30),
            default_deadline: Duration::from_secs(10),
            shutdown_delay: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(20),
        }
    }
}

impl Server {
    /// Whether callers can say who they are, and so have to.
    pub fn knows_callers(&self) -> bool {
        self.jwt.is_some() || self.demands_certificates()
    }

    /// Demands, or takes where there may be a token instead.
    pub fn demands_certificates(&self) -> bool {
        let tls = self.tls.as_ref();
        tls.is_some_and(|tls| tls.client_ca_file.is_some())
    }

    /// Whether everybody on the way could read callers' tokens.
    pub fn takes_tokens_in_clear(&self) -> bool {
        self.jwt.is_some() && self.tls.is_none() && !self.is_on_loopback()
    }

    fn is_on_loopback(&self) -> bool {
        self.listen.ip().to_canonical().is_loopback()
    }

    /// `None` goes with a problem reported.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let default = Self::default();
        let tls = section.optional_section("tls", Tls::read);
        let jwt = section.optional_section("jwt", Jwt::read);
        let wrong = matches!(tls, Some(None)) || matches!(jwt, Some(None));
        let max_deadline = positive(section, "max_deadline", default.max_deadline);
        let server = Self {
            listen: section.or("listen", default.listen),
            admin_listen: section.or("admin_listen", default.admin_listen),
            allow_anonymous: section.or("allow_anonymous", default.allow_anonymous),
            tls: tls.flatten(),
            jwt: jwt.flatten(),
            open_methods: callers::open_methods(section),
            max_in_flight: section.within("max_in_flight", default.max_in_flight, 1..=MOST_CALLS),
            max_connections: section.within(
                "max_connections",
                default.max_connections,
                1..=MOST_CALLS,
            ),
            max_connection_age: positive(section, "max_connection_age", default.max_connection_age),
            max_deadline,
            // Left out, it follows a shorter maximum down.
            default_deadline: positive(
                section,
                "default_deadline",
                default.default_deadline.min(max_deadline),
            ),
            shutdown_delay: section.or("shutdown_delay", default.shutdown_delay),
            drain_timeout: section.or("drain_timeout", default.drain_timeout),
        };
        server.check(section, wrong);
        (!wrong).then_some(server)
    }

    /// Of sources of identities that are `wrong` nothing is known.
    fn check(&self, section: &mut Section<'_>, wrong: bool) {
        let deadlines = self.default_deadline <= self.max_deadline;
        section.check_pair(
            "default_deadline",
            "max_deadline",
            deadlines,
            || "must not be longer than `max_deadline`",
        );
        let clash = collide(self.listen, self.admin_listen);
        section.check_pair("admin_listen", "listen", !clash, || {
            format!("the same address as `listen`, {}", self.listen)
        });
        let safe = self.allow_anonymous || self.is_on_loopback() || self.knows_callers() || wrong;
        section.check_pair("listen", "allow_anonymous", safe, || {
            format!(
                "{} is beyond loopback, where anybody could call: \
                 set server.tls.client_ca_file or server.jwt, or \
                 server.allow_anonymous: true to allow that, or listen on 127.0.0.1:{}",
                self.listen,
                self.listen.port()
            )
        });
    }

    pub(super) fn to_yaml(&self) -> Node {
        yaml::map([
            ("listen", self.listen.into()),
            ("admin_listen", self.admin_listen.into()),
            ("allow_anonymous", self.allow_anonymous.into()),
            ("tls", self.tls.as_ref().map_or(Node::Null, Tls::to_yaml)),
            ("jwt", self.jwt.as_ref().map_or(Node::Null, Jwt::to_yaml)),
            ("open_methods", callers::listed(&self.open_methods)),
            ("max_in_flight", self.max_in_flight.into()),
            ("max_connections", self.max_connections.into()),
            ("max_connection_age", self.max_connection_age.into()),
            ("max_deadline", self.max_deadline.into()),
            ("default_deadline", self.default_deadline.into()),
            ("shutdown_delay", self.shutdown_delay.into()),
            ("drain_timeout", self.drain_timeout.into()),
        ])
    }
}

/// Whether two listeners want the same port of the same address; port 0 is a new one each time.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let every = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && (every || a.ip() == b.ip())
}
