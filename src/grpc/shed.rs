//! Calls that the gateway has no room or no time for are refused at once: over a bound on those in
//! flight in the whole process, and while those that have arrived wait too long for their turn.
//!
//! Health and reflection answer also then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use opentelemetry::metrics::Meter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::deadline::DeadlineLayer;
use super::lateness::Lateness;
use super::turns::Turns;
use super::{methods, status};
use crate::telemetry::recent::Details;

/// One limit for all connections; clones share it.
#[derive(Debug, Clone)]
pub(super) struct ShedLayer(Arc<Places>);

#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    most: usize,
    refused: AtomicU64,
    turns: Turns,
    /// How many calls with a place have not begun.
    waiting: AtomicUsize,
    lateness: Lateness,
    deadlines: DeadlineLayer,
    full: Response<()>,
    behind: Response<()>,
}

/// A call with a place that has not begun.
struct Waiting {
    places: Arc<Places>,
    since: Instant,
    time: Duration,
}

impl ShedLayer {
    pub(super) fn new(max_in_flight: usize, deadlines: DeadlineLayer) -> Self {
        ShedLayer(Arc::new(Places {
            free: Arc::new(Semaphore::new(max_in_flight)),
            most: max_in_flight,
            refused: AtomicU64::new(0),
            turns: Turns::new(),
            waiting: AtomicUsize::new(0),
            lateness: Lateness::new(),
            deadlines,
            full: refusal(&status::overloaded()),
            behind: refusal(&status::behind()),
        }))
    }

    /// Calls that take a place.
    pub(super) fn in_flight(&self) -> usize {
        self.0.most - self.0.free.available_permits()
    }

    /// Read when somebody asks for metrics; calls only count.
    pub(super) fn observe(&self, meter: &Meter) {
        let calls = self.clone();
        meter
            .u64_observable_gauge("switchboard_in_flight")
            .with_description("Calls that take a place of server.max_in_flight, writes that outlive their callers among them.")
            .with_callback(move |gauge| gauge.observe(calls.in_flight() as u64, &[]))
            .build();
        let places = Arc::clone(&self.0);
        meter
            .f64_observable_gauge("switchboard_start_delay")
            .with_unit("s")
            .with_description("How long the call that began last had waited for the processor.")
            .with_callback(move |gauge| gauge.observe(places.lateness.waited().as_secs_f64(), &[]))
            .build();
        let places = Arc::clone(&self.0);
        meter
            .u64_observable_counter("switchboard_shed")
            .with_description(
                "Calls refused because server.max_in_flight were in flight, or because calls waited too long for the processor.",
            )
            .with_callback(move |counter| {
                counter.observe(places.refused.load(Ordering::Relaxed), &[]);
            })
            .build();
    }
}

/// Made once: who has too much to do has no time for making it again and again.
fn refusal(status: &Status) -> Response<()> {
    let mut refusal = status.clone().into_http();
    let details = Details::of(refusal.headers());
    refusal.extensions_mut().insert(details);
    refusal
}

impl Places {
    /// A place, or what is said to who gets none.
    fn admit(
        self: &Arc<Self>,
        headers: &HeaderMap,
    ) -> Result<(OwnedSemaphorePermit, Waiting), &Response<()>> {
        // Somebody has to be waiting still: once all have begun, whatever they had waited for is
        // over, and the next one is welcome.
        if self.waiting.load(Ordering::Relaxed) > 0 && self.lateness.lasts() {
            return Err(&self.behind);
        }
        let free = Arc::clone(&self.free);
        let place = free.try_acquire_owned().map_err(|_| &self.full)?;
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting {
            places: Arc::clone(self),
            since: Instant::now(),
            time: self.deadlines.time(headers),
        };
        Ok((place, waiting))
    }
}

impl Waiting {
    /// Until it is the call's turn.
    async fn over(self) {
        self.places.turns.next().await;
        self.places.lateness.begins(self.since, self.time);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.places.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Clone)]
pub(super) struct Shed<S> {
    inner: S,
    places: Arc<Places>,
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Shed {
            inner,
            places: Arc::clone(&self.0),
        }
    }
}

impl<S, B> Service<Request<B>> for Shed<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if methods::is_standard(request.uri().path()) {
            return Box::pin(self.inner.call(request));
        }
        let (place, waiting) = match self.places.admit(request.headers()) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.places.refused.fetch_add(1, Ordering::Relaxed);
                let refusal = refusal.clone().map(|()| Body::empty());
                return Box::pin(std::future::ready(Ok(refusal)));
            }
        };
        // What of the call outlives its caller keeps the place, too.
        let place = Arc::new(place);
        request.extensions_mut().insert(Arc::clone(&place));
        let answer = self.inner.call(request);
        Box::pin(async move {
            waiting.over().await;
            let answer = answer.await;
            drop(place);
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::poll;
    use tokio::time::sleep;
    use tonic::Code;
    use tower::ServiceExt;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DEADLINES: DeadlineLayer = DeadlineLayer {
        default: SECOND,
        max: SECOND,
    };

    /// A gateway of so many places whose calls take a second each.
    fn gateway(
        places: usize,
    ) -> impl Service<Request<()>, Response = Response<Body>, Error = Infallible> + Clone {
        ShedLayer::new(places, DEADLINES).layer(tower::service_fn(|_: Request<()>| async {
            sleep(SECOND).await;
            Ok(Response::new(Body::empty()))
        }))
    }

    fn is_refused(response: &Response<Body>) -> bool {
        let status = Status::from_header_map(response.headers());
        status.is_some_and(|status| status.code() == Code::ResourceExhausted)
    }

    #[tokio::test(start_paused = true)]
    async fn over_the_limit_calls_are_refused_at_once_and_under_it_none() {
        let gateway = gateway(3);
        let calls = (0..10).map(|_| async {
            let start = Instant::now();
            let response = gateway.clone().oneshot(Request::new(())).await.unwrap();
            (is_refused(&response), start.elapsed())
        });
        let answers = futures_util::future::join_all(calls).await;
        let (refused, served): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(no, _)| *no);
        assert_eq!((refused.len(), served.len()), (7, 3));
        assert!(refused.iter().all(|(_, took)| took.is_zero()), "queued");
        let later = gateway.oneshot(Request::new(())).await.unwrap();
        assert!(!is_refused(&later), "a place was lost");
    }

    #[tokio::test(start_paused = true)]
    async fn while_calls_wait_too_long_for_their_turn_further_ones_are_refused() {
        const LONG: Duration = Duration::from_millis(600);
        let gateway = gateway(100);
        let arrive = || Box::pin(gateway.clone().oneshot(Request::new(())));
        // Each waits from its first try to its second, and the next one arrives meanwhile.
        let mut calls = vec![arrive()];
        assert!(poll!(&mut calls[0]).is_pending());
        for begun in 0..4 {
            sleep(LONG).await;
            let mut next = arrive();
            assert!(poll!(&mut next).is_pending(), "a burst is admitted");
            assert!(poll!(&mut calls[begun]).is_pending(), "it begins");
            calls.push(next);
        }
        sleep(LONG).await;
        let refused = arrive().await.unwrap();
        assert!(is_refused(&refused));
        let details = refused.extensions().get::<Details>().cloned();
        let reason = details.and_then(|details| details.reason);
        assert_eq!(reason.as_deref(), Some("OVERLOADED"));

        let last = calls.pop().unwrap();
        drop(last);
        let welcome = arrive().await.unwrap();
        assert!(!is_refused(&welcome), "nobody waited any more");
        for call in calls {
            assert!(!is_refused(&call.await.unwrap()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_makes_room() {
        let gateway = gateway(1);
        let mut first = Box::pin(gateway.clone().oneshot(Request::new(())));
        assert!(poll!(&mut first).is_pending());
        let second = gateway.clone().oneshot(Request::new(())).await.unwrap();
        assert!(is_refused(&second));
        drop(first);
        let third = gateway.oneshot(Request::new(())).await.unwrap();
        assert!(!is_refused(&third));
    }

    #[tokio::test(start_paused = true)]
    async fn what_outlives_its_call_keeps_the_place() {
        let kept = Arc::new(std::sync::Mutex::new(None));
        let keeps = Arc::clone(&kept);
        let gateway =
            ShedLayer::new(1, DEADLINES).layer(tower::service_fn(move |request: Request<()>| {
                let place = request.extensions().get::<Arc<OwnedSemaphorePermit>>();
                *keeps.lock().unwrap() = place.cloned();
                std::future::ready(Ok::<_, Infallible>(Response::new(Body::empty())))
            }));
        let call = || gateway.clone().oneshot(Request::new(()));
        assert!(!is_refused(&call().await.unwrap()));
        assert!(is_refused(&call().await.unwrap()), "the rest goes on");
        *kept.lock().unwrap() = None;
        assert!(!is_refused(&call().await.unwrap()));
    }

    /// The limit is the process's: services and connections have clones of it.
    #[tokio::test(start_paused = true)]
    async fn services_share_the_limit() {
        let layer = ShedLayer::new(1, DEADLINES);
        let service = || {
            layer
                .clone()
                .layer(tower::service_fn(|_: Request<()>| async {
                    sleep(SECOND).await;
                    Ok::<_, Infallible>(Response::new(Body::empty()))
                }))
        };
        let mut first = Box::pin(service().oneshot(Request::new(())));
        assert!(poll!(&mut first).is_pending());
        let second = service().oneshot(Request::new(())).await.unwrap();
        assert!(is_refused(&second));
    }
}
