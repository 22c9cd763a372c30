//! Lets calls through that the operator allows, and says for whom.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::audit::{Audited, Record};
use super::bearer::bearer;
use super::lapse::{Proof, lapsing};
use super::{Access, Permit, policy};
use crate::grpc::connections::Peer;
use crate::grpc::deadline::DeadlineLayer;
use crate::grpc::methods::Method;
use crate::grpc::status;
use crate::telemetry::server::{Notes, OTHER};

pub(super) const WITHDRAWN: &str = "the client certificate is no longer accepted";

/// Around every service, health and reflection too.
#[derive(Clone)]
pub(in crate::grpc) struct CallerLayer {
    access: Arc<Access>,
    /// By their paths.
    methods: Arc<HashMap<String, Method>>,
    deadlines: DeadlineLayer,
}

#[derive(Clone)]
pub(in crate::grpc) struct CallerService<S> {
    inner: S,
    layer: CallerLayer,
}

/// How a call begins.
struct Arrival {
    method: Arc<str>,
    streams: bool,
    audited: Audited,
}

/// A caller, and what tells that it is this one.
struct Known {
    identity: Arc<str>,
    proof: Proof,
}

impl CallerLayer {
    pub(in crate::grpc) fn new(
        access: Arc<Access>,
        methods: Vec<Method>,
        deadlines: DeadlineLayer,
    ) -> Self {
        let by_path = |method: Method| (format!("/{}", method.name), method);
        CallerLayer {
            access,
            methods: Arc::new(methods.into_iter().map(by_path).collect()),
            deadlines,
        }
    }

    fn arrive(&self, request: &Parts) -> Arrival {
        let known = self.methods.get(request.uri.path());
        // Anybody can make up names; such a call ends below, and is nobody's write.
        let method = known.map_or_else(|| OTHER.into(), |known| Arc::clone(&known.name));
        let peer = request.extensions.get::<Peer>();
        let audited = Audited {
            method: Arc::clone(&method),
            caller: None,
            peer: peer.and_then(|peer| peer.address.clone()),
            record: Record::default(),
            writes: known.is_some_and(|known| known.writes),
            told: false,
        };
        Arrival {
            method,
            streams: known.is_some_and(|known| known.streams),
            audited,
        }
    }

    /// Who calls; `Err` when a caller has to be known, and is not.
    async fn identify(&self, request: &Parts) -> Result<Option<Known>, Status> {
        if !self.access.is_closed() {
            return Ok(None);
        }
        if let Some(tokens) = &self.access.tokens
            && let Some(token) = bearer(&request.headers)?
        {
            let bearer = tokens.bearer(token, self.deadlines.of(request)).await?;
            return Ok(Some(Known {
                identity: bearer.identity,
                proof: Proof::Token(bearer.until),
            }));
        }
        let certificate = of_connection(request)?;
        certificate
            .map(Some)
            .ok_or_else(|| status::unauthenticated(self.demand()))
    }

    fn demand(&self) -> &'static str {
        match (self.access.certificates, self.access.tokens.is_some()) {
            (true, true) => {
                "a client certificate with a URI or DNS name, or `authorization: Bearer` and a \
                 token, is demanded"
            }
            (true, false) => "a client certificate with a URI or DNS name is demanded",
            (false, _) => "`authorization: Bearer` and a token are demanded",
        }
    }

    /// Whether the caller may call the method at all.
    async fn admit(
        &self,
        request: &Parts,
        arrival: &mut Arrival,
    ) -> Result<(Permit, Option<Proof>), Status> {
        let method = &arrival.method;
        let open = policy::any(&self.access.open_methods, method);
        // Nothing that a call to an open method brings can be wrong.
        let known = match open {
            true => None,
            false => self.identify(request).await?,
        };
        let (caller, proof) = known.map(|known| (known.identity, known.proof)).unzip();
        arrival.audited.caller.clone_from(&caller);
        if let (Some(policy), Some(caller)) = (&self.access.policy, &caller)
            && !policy.allows_method(caller, method)
        {
            return Err(status::denied("call this method"));
        }
        let permit = Permit {
            access: Arc::clone(&self.access),
            method: Arc::clone(method),
            caller,
            record: arrival.audited.record.clone(),
        };
        Ok((permit, proof))
    }
}

/// Who the connection's certificate names.
fn of_connection(request: &Parts) -> Result<Option<Known>, Status> {
    let peer = request.extensions.get::<Peer>();
    let Some(certificate) = peer.and_then(|peer| peer.certificate.as_ref()) else {
        return Ok(None);
    };
    if certificate.is_withdrawn() {
        return Err(status::unauthenticated(WITHDRAWN));
    }
    let known = |identity: &Arc<str>| Known {
        identity: Arc::clone(identity),
        proof: Proof::Certificate(Arc::clone(certificate)),
    };
    Ok(certificate.identity().map(known))
}

impl<S> Layer<S> for CallerLayer {
    type Service = CallerService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CallerService {
            inner,
            layer: self.clone(),
        }
    }
}

impl<S> Service<Request<Body>> for CallerService<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that is ready goes along, since a token may have to be waited for.
        let next = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, next);
        let layer = self.layer.clone();
        // Apart from the body, which no two threads may look at.
        let (mut head, body) = request.into_parts();
        Box::pin(async move {
            let mut arrival = layer.arrive(&head);
            let admitted = layer.admit(&head, &mut arrival).await;
            if let Some(notes) = head.extensions.get::<Notes>() {
                notes.called_by(arrival.audited.caller.clone());
            }
            let (response, proof) = match admitted {
                Ok((permit, proof)) => {
                    head.extensions.insert(permit);
                    (inner.call(Request::from_parts(head, body)).await?, proof)
                }
                Err(refusal) => (refusal.into_http(), None),
            };
            if let Some(told) = arrival.audited.answered(response.headers()) {
                told.written_with_others().await;
            }
            Ok(match proof {
                // A single answer is there already.
                Some(proof) if arrival.streams => {
                    response.map(|body| lapsing(body, proof, arrival.audited))
                }
                _ => response,
            })
        })
    }
}
