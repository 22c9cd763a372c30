//! The only way to a vendor.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use http::Request;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};
use url::Url;

use super::auth::Credentials;
use super::breaker::{BreakerLayer, BreakerState};
use super::error::{Error, Failure, LoginError};
use super::operation::{Call, Meta, Operation, Replay, Reply, Vendor};
use super::outlive::Outlive;
use super::progress::Progress;
use super::retry::Policy;
use super::stack::{self, Kit, Stack};
use super::token_cache::TokenCache;
use super::transport::Renewal;

/// How long a login may take in all; who waits for it has a deadline of his own.
const LOGIN_DEADLINE: Duration = Duration::from_secs(30);

/// Calls a vendor with the credentials of a named account.
pub struct Client<V> {
    accounts: Arc<BTreeMap<String, Account>>,
    /// Writes that outlive their callers; the drain waits for them.
    tasks: TaskTracker,
    policy: Policy,
    breaker: BreakerLayer,
    renewal: Arc<Renewal>,
    vendor: PhantomData<fn() -> V>,
}

impl<V> Clone for Client<V> {
    fn clone(&self) -> Self {
        Client {
            accounts: Arc::clone(&self.accounts),
            tasks: self.tasks.clone(),
            policy: self.policy.clone(),
            breaker: self.breaker.clone(),
            renewal: Arc::clone(&self.renewal),
            vendor: PhantomData,
        }
    }
}

struct Account {
    name: Arc<str>,
    stack: Stack,
    polls: Stack,
    login: Box<dyn Fn() -> BoxFuture<'static, Result<(), LoginError>> + Send + Sync>,
    token: Box<dyn Fn() -> Option<(Duration, Option<Duration>)> + Send + Sync>,
}

/// The token that an account holds, without a word of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldToken {
    pub account: Arc<str>,
    /// Since its login was sent.
    pub age: Duration,
    /// None where the vendor does not say how long it lives.
    pub left: Option<Duration>,
}

/// What the gateway knows of a call beside its operation.
#[derive(Debug, Clone)]
pub struct Ticket {
    pub account: String,
    pub deadline: Instant,
    /// The caller is itself repeating.
    pub caller_repeats: bool,
    pub progress: Progress,
    /// The call's place in the gateway. It is free again when nothing of the call goes on, also
    /// where that outlives its caller.
    pub place: Option<Arc<OwnedSemaphorePermit>>,
}

impl Ticket {
    /// Of a call that the gateway makes on its own.
    pub fn new(account: &str, deadline: Instant) -> Self {
        Ticket {
            account: account.to_owned(),
            deadline,
            caller_repeats: false,
            progress: Progress::default(),
            place: None,
        }
    }
}

impl<V: Vendor> Client<V> {
    /// One stack per account; `credentials` makes an account's way to log in from the stack
    /// that its logins go through.
    pub fn new<A, C: Credentials>(
        kit: &Kit,
        base: &Url,
        accounts: &BTreeMap<String, A>,
        credentials: impl Fn(&A) -> C,
        tasks: TaskTracker,
    ) -> Self {
        let transport = kit.connections.to(base);
        Self::over(kit, base, accounts, credentials, tasks, &transport)
    }

    /// With another way to the vendor than its connections.
    pub(super) fn over<A, C, T>(
        kit: &Kit,
        base: &Url,
        accounts: &BTreeMap<String, A>,
        credentials: impl Fn(&A) -> C,
        tasks: TaskTracker,
        transport: &T,
    ) -> Self
    where
        C: Credentials,
        T: Service<Call, Response = Reply, Error = Error> + Clone + Send + Sync + 'static,
        T::Future: Send + 'static,
    {
        let stacks = accounts.iter().map(|(name, account)| {
            let tokens = TokenCache::new(
                V::NAME,
                name.clone(),
                credentials(account),
                Arc::clone(&kit.observer),
                kit.breaker.clone(),
            );
            let stack =
                stack::vendor_stack::<V, C, T>(kit, base, tokens.clone(), transport.clone());
            let polls = stack::poll_stack::<V, C>(kit, base, tokens.clone());
            let held = tokens.clone();
            let login = Box::new(move || -> BoxFuture<'static, _> {
                let tokens = tokens.clone();
                Box::pin(async move { tokens.login().await })
            });
            let account = Account {
                name: name.as_str().into(),
                stack,
                polls,
                login,
                token: Box::new(move || held.times()),
            };
            (name.clone(), account)
        });
        Client {
            accounts: Arc::new(stacks.collect()),
            tasks,
            policy: kit.policy.clone(),
            breaker: kit.breaker.clone(),
            renewal: Arc::clone(&kit.renewal),
            vendor: PhantomData,
        }
    }

    /// The tokens that are held now.
    pub fn tokens(&self) -> Vec<HeldToken> {
        let held = |account: &Account| {
            let (age, left) = (account.token)()?;
            let account = Arc::clone(&account.name);
            Some(HeldToken { account, age, left })
        };
        self.accounts.values().filter_map(held).collect()
    }

    /// How many retries the vendor's budget would pay for now.
    pub fn retry_budget(&self) -> i64 {
        self.policy.budget_left()
    }

    /// The vendor's circuit breaker.
    pub fn breaker(&self) -> BreakerState {
        self.breaker.now()
    }

    /// What makes the vendor's connections follow its TLS files, for as long as it is kept up.
    pub fn renewal(&self) -> Arc<Renewal> {
        Arc::clone(&self.renewal)
    }

    pub fn knows(&self, account: &str) -> bool {
        self.accounts.contains_key(account)
    }

    /// Logs every account in, and says of each how it went.
    pub async fn log_in(&self) -> Vec<(String, Result<(), LoginError>)> {
        let logins = self.accounts.iter();
        join_all(logins.map(|(name, account)| async {
            let result = (account.login)().await;
            (name.clone(), result)
        }))
        .await
    }

    /// Calls the vendor and reads its answer.
    ///
    /// An operation that must not happen twice is not cut in half by a caller that leaves: it
    /// runs to its end, and its outcome is logged.
    pub async fn call<O>(&self, operation: O, ticket: Ticket) -> Result<O::Output, Failure>
    where
        O: Operation<Vendor = V> + Sync,
    {
        let client = self.clone();
        let travel = async move { client.travel(&operation, &ticket).await };
        match O::META.replay {
            Replay::Safe | Replay::Idempotent => travel.await,
            Replay::Once => self.outlive(const { &O::META }, travel).await,
        }
    }

    /// Does a piece of work that must not be cut in half when its caller leaves, and that may have
    /// sent a write of this operation.
    pub async fn outlive<T: Send + 'static>(
        &self,
        meta: &'static Meta,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        // Caught, so that a defect after sending is not told as if nothing was done.
        let work = AssertUnwindSafe(work).catch_unwind();
        let work = work.map(|end| end.unwrap_or_else(|_| Err(abandoned(V::NAME, meta))));
        Outlive::new(meta.name, self.tasks.clone(), work.boxed()).await
    }

    /// Sends one request that the vendor may hold until `deadline`; never sent again from here.
    pub async fn poll(
        &self,
        account: &str,
        meta: &'static Meta,
        request: Request<Bytes>,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let call = Call {
            meta,
            request: Box::new(request),
            deadline,
            caller_repeats: false,
            replayed: false,
            progress: Progress::default(),
            signed: None,
        };
        self.account(account)?.polls.clone().oneshot(call).await
    }

    fn account(&self, name: &str) -> Result<&Account, Error> {
        let unknown = || Error::Unbuildable {
            cause: format!("no account {name:?}"),
        };
        self.accounts.get(name).ok_or_else(unknown)
    }

    async fn travel<O>(&self, operation: &O, ticket: &Ticket) -> Result<O::Output, Failure>
    where
        O: Operation<Vendor = V>,
    {
        let result = self.send(operation, ticket).await;
        result.map_err(|error| {
            let meta = const { &O::META };
            Failure::unsent(V::NAME, meta.name, meta.replay, error).after(&ticket.progress)
        })
    }

    async fn send<O>(&self, operation: &O, ticket: &Ticket) -> Result<O::Output, Error>
    where
        O: Operation<Vendor = V>,
    {
        let account = self.account(&ticket.account)?;
        ticket.progress.note_account(&account.name);
        let call = Call {
            meta: const { &O::META },
            request: Box::new(operation.request()?),
            deadline: ticket.deadline,
            caller_repeats: ticket.caller_repeats,
            replayed: false,
            progress: ticket.progress.clone(),
            signed: None,
        };
        let reply = account.stack.clone().oneshot(call).await?;
        operation.decode(&reply)
    }
}

/// A panic, which only a defect of ours can cause; the write may have gone out.
fn abandoned(vendor: &'static str, meta: &Meta) -> Failure {
    Failure {
        in_doubt: true,
        ..Failure::unsent(vendor, meta.name, meta.replay, Error::Abandoned)
    }
}

/// Sends one login request below a base URL, for a vendor's `Credentials`.
#[derive(Clone)]
pub struct LoginTransport {
    stack: Stack,
}

impl LoginTransport {
    pub fn new(kit: &Kit, base: &Url) -> Self {
        LoginTransport {
            stack: stack::login_stack(kit, base, None),
        }
    }

    /// For logins whose path the configuration says, as telemetry names it then.
    pub fn at(kit: &Kit, base: &Url, path: &str) -> Self {
        LoginTransport {
            stack: stack::login_stack(kit, base, Some(path)),
        }
    }

    /// The answer as it came: what it means is for the vendor's own rules to say.
    pub async fn send(&self, meta: &'static Meta, request: Request<Bytes>) -> Result<Reply, Error> {
        let call = Call {
            meta,
            request: Box::new(request),
            deadline: Instant::now() + LOGIN_DEADLINE,
            caller_repeats: false,
            replayed: false,
            progress: Progress::default(),
            signed: None,
        };
        self.stack.clone().oneshot(call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::observer::{Blind, Observer};
    use crate::upstream::settings::Settings;
    use crate::upstream::testing::{Logins, vendor};

    struct Anybody;

    impl Vendor for Anybody {
        const NAME: &'static str = "anybody";

        fn judge(_: &Meta, reply: Reply) -> Result<Reply, Error> {
            Ok(reply)
        }
    }

    struct Add;

    impl Operation for Add {
        type Vendor = Anybody;
        type Output = ();
        const META: Meta = Meta {
            name: "Add",
            method: http::Method::POST,
            template: "/thing",
            replay: Replay::Once,
            creates: false,
        };

        fn request(&self) -> Result<Request<Bytes>, Error> {
            Ok(Request::new(Bytes::new()))
        }

        fn decode(&self, _: &Reply) -> Result<(), Error> {
            Ok(())
        }
    }

    /// Of a vendor whose answer is more than our code can bear.
    fn client() -> Client<Anybody> {
        let observer: Arc<dyn Observer> = Arc::new(Blind);
        let kit = Kit::new("anybody", &Settings::default(), observer).unwrap();
        let base = Url::parse("http://vendor.example").unwrap();
        let accounts = BTreeMap::from([("default".to_owned(), Logins::new(None, []))]);
        let (vendor, _) = vendor(|_, call: Call| async move {
            call.progress.mark_sent();
            panic!("as the test wants it")
        });
        let tasks = TaskTracker::new();
        Client::over(&kit, &base, &accounts, Logins::clone, tasks, &vendor)
    }

    #[tokio::test]
    async fn a_write_that_panics_is_of_unknown_outcome() {
        let client = client();
        let ticket = Ticket::new("default", Instant::now() + Duration::from_secs(60));
        let failed = client.call(Add, ticket).await.unwrap_err();
        assert!(failed.outcome_unknown(), "{failed:?}");
        let work = async { panic!("as the test wants it") };
        let failed: Result<(), _> = client.outlive(const { &Add::META }, work).await;
        assert!(failed.unwrap_err().outcome_unknown());
    }
}
