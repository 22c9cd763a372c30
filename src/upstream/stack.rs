//! The stacks that requests to vendors go through, read top to bottom.

use std::sync::Arc;
use std::time::Duration;

use tower::retry::RetryLayer;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder};
use url::Url;

use super::auth::{AuthLayer, Credentials};
use super::breaker::BreakerLayer;
use super::error::Error;
use super::judge::JudgeLayer;
use super::limit::LimitLayer;
use super::login::LoginLayer;
use super::observer::{Observer, Server};
use super::operation::{Call, Reply, Vendor};
use super::retry::Policy;
use super::settings::Settings;
use super::timeout::{AttemptTimeoutLayer, DeadlineLayer};
use super::token_cache::TokenCache;
use super::trace::AttemptSpanLayer;
use super::transport::{self, Connections, Files, Protocol, Renewal};

pub(super) type Stack = BoxCloneSyncService<Call, Reply, Error>;

/// What all accounts of one vendor share.
#[derive(Clone)]
pub struct Kit {
    pub(super) vendor: &'static str,
    pub(super) connections: Connections,
    /// Apart from the others: held requests must not take the place of calls.
    polls: Connections,
    /// What is polled, where the configuration says it.
    polled: Option<Arc<str>>,
    pub(super) renewal: Arc<Renewal>,
    pub(super) observer: Arc<dyn Observer>,
    attempt: Duration,
    pub(super) policy: Policy,
    pub(super) breaker: BreakerLayer,
    limit: LimitLayer,
}

impl Kit {
    pub fn new(
        vendor: &'static str,
        settings: &Settings,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, transport::TransportError> {
        let files = Files::read(&settings.tls)?;
        let connections = Connections::new(settings, Protocol::Negotiated, &files)?;
        let polls = Connections::new(settings, Protocol::Http1, &files)?;
        let both = [connections.clone(), polls.clone()];
        let breaker = BreakerLayer::new(vendor, &settings.breaker, &observer);
        let renewal = Renewal::new(vendor, settings, &files, both, Arc::clone(&observer));
        Ok(Kit {
            vendor,
            connections,
            polls,
            polled: None,
            renewal: Arc::new(renewal),
            attempt: settings.timeout.attempt,
            policy: Policy::new(vendor, &settings.retry, Arc::clone(&observer)),
            limit: LimitLayer::new(vendor, &settings.limit, breaker.clone(), &observer),
            breaker,
            observer,
        })
    }

    /// The same for polls of this path, as telemetry names it then.
    #[must_use]
    pub fn polling(self, path: &str) -> Self {
        Kit {
            polled: Some(path.into()),
            ..self
        }
    }

    fn attempt_span(&self, server: Server) -> AttemptSpanLayer {
        AttemptSpanLayer::new(self.vendor, server, Arc::clone(&self.observer))
    }
}

/// THE VENDOR STACK: what a call of one account goes through, outermost first, down to the
/// transport.
pub(super) fn vendor_stack<V, C, T>(
    kit: &Kit,
    base: &Url,
    tokens: TokenCache<C>,
    transport: T,
) -> Stack
where
    V: Vendor,
    C: Credentials,
    T: Service<Call, Response = Reply, Error = Error> + Clone + Send + Sync + 'static,
    T::Future: Send + 'static,
{
    ServiceBuilder::new()
        // Erases the type below, so that nothing else has to name it.
        .layer(BoxCloneSyncService::layer())
        // Above the retries: the deadline bounds tokens, sleeps and all attempts together.
        .layer(DeadlineLayer)
        // The only place that sends again.
        .layer(RetryLayer::new(kit.policy.clone()))
        // Below the retries, so that every attempt counts; above the limit, so that a vendor at
        // rest costs nobody a place in the queue.
        .layer(kit.breaker.clone())
        // Above the limit: a call that waits for a login holds no place.
        .layer(LoginLayer(tokens.clone()))
        // Below the retries: a call that sleeps holds no place.
        .layer(kit.limit.clone())
        // Below the retries and the limit: every attempt takes the token that is current when
        // it goes out.
        .layer(AuthLayer(tokens))
        // Around what goes over the wire, and nothing else.
        .layer(kit.attempt_span(transport::server(base)))
        // One slow answer must not take the time of the attempts after it.
        .layer(AttemptTimeoutLayer::new(kit.attempt))
        // Below all that look at errors: a 200 can be a no.
        .layer(JudgeLayer::<V>::new())
        .service(transport)
}

/// The stack for logins: no retry, no limit, no credentials; answers come back unjudged.
pub(super) fn login_stack(kit: &Kit, base: &Url, path: Option<&str>) -> Stack {
    let server = Server {
        path: path.map(Into::into),
        ..transport::server(base)
    };
    ServiceBuilder::new()
        .layer(BoxCloneSyncService::layer())
        // A login is a request on the wire like any other.
        .layer(kit.attempt_span(server))
        // Bounds the login, as those who wait for it are bounded by their own deadlines only.
        .layer(AttemptTimeoutLayer::new(kit.attempt))
        .service(kit.connections.to(base))
}

/// The stack for long polls: signed and judged like any call, and no more. A held request takes
/// no place of the limit, its end says nothing to the breaker, and when to ask again is for the
/// one who polls to say.
pub(super) fn poll_stack<V: Vendor, C: Credentials>(
    kit: &Kit,
    base: &Url,
    tokens: TokenCache<C>,
) -> Stack {
    let server = Server {
        path: kit.polled.clone(),
        ..transport::server(base)
    };
    ServiceBuilder::new()
        .layer(BoxCloneSyncService::layer())
        // The only bound on time: how long the vendor may hold the request is its own to say.
        .layer(DeadlineLayer)
        // The account's cookies and token are the ones of its calls, so that both reach one node.
        .layer(AuthLayer(tokens))
        .layer(kit.attempt_span(server))
        // Refused credentials are told apart, and vendors' words cleaned, as in any call.
        .layer(JudgeLayer::<V>::new())
        .service(kit.polls.to(base))
}
