//! The service `contactcenter.v1.SmsSessionData`.

mod answers;
mod attach_user_data;
#[cfg(any(test, feature = "benchmarks"))]
pub(super) mod benchmarks;
mod delete_user_data;
pub(super) mod get_session;
pub(super) mod list_sessions;
pub(super) mod session;
mod update_user_data;
mod user_data;
mod watch_sessions;
pub(super) mod write;

use std::sync::Arc;

use prost_types::Struct;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use self::answers::WriteResponse;
use self::attach_user_data::AttachUserData;
use self::delete_user_data::DeleteUserData;
use self::get_session::GetSession;
use self::list_sessions::ListSessions;
use self::update_user_data::UpdateUserData;
use self::watch_sessions::{Watch, Watched};
use self::write::Write;
use super::Genesys;
use super::notifications::confirm::Confirmation;
use super::notifications::{Hub, Notifications};
use crate::grpc::dedupe::{self, Asked, Dedupe, Identity};
use crate::grpc::inbound::{account_name, addressed, open};
use crate::grpc::status;
use crate::grpc::validate::Violations;
use crate::pb::sms_session_data_server::SmsSessionData;
use crate::pb::{
    AttachUserDataRequest, AttachUserDataResponse, Confirmation as Wanted, DeleteUserDataRequest,
    DeleteUserDataResponse, GetSessionRequest, GetSessionResponse, ListSessionsRequest,
    ListSessionsResponse, UpdateUserDataRequest, UpdateUserDataResponse, WatchSessionsRequest,
};
use crate::upstream::client::{Client, Ticket};

/// Streams open at a time in the whole process. Each costs some kilobytes, a slow one up to a
/// megabyte and more.
const MOST_STREAMS: usize = 10_000;

/// Checks requests, calls the vendor, words the answers.
pub(super) struct Facade {
    client: Client<Genesys>,
    dedupe: Dedupe,
    notifications: Notifications,
    streams: Arc<Semaphore>,
    allow_undocumented: bool,
}

addressed!(
    AttachUserDataRequest: session_id,
    UpdateUserDataRequest: session_id,
    DeleteUserDataRequest: session_id,
    GetSessionRequest: session_id,
    ListSessionsRequest,
    WatchSessionsRequest,
);

/// What a write asks for beside what it writes.
struct Wish {
    confirmed: bool,
    identity: Identity,
    ticket: Ticket,
}

impl Facade {
    pub(super) fn new(
        client: Client<Genesys>,
        dedupe: Dedupe,
        notifications: Notifications,
        allow_undocumented: bool,
    ) -> Self {
        Facade {
            client,
            dedupe,
            notifications,
            streams: Arc::new(Semaphore::new(MOST_STREAMS)),
            allow_undocumented,
        }
    }

    /// What every request is checked for.
    fn violations(&self, account: &str) -> Violations {
        let mut violations = Violations::default();
        violations.account(self.client.knows(account_name(account)));
        violations
    }

    /// What an attach or an update is checked for beside.
    fn check_data(&self, session_id: &str, data: Option<&Struct>, violations: &mut Violations) {
        write::check_id("session_id", session_id, violations);
        user_data::check(data, self.allow_undocumented, violations);
    }

    fn hub(&self, account: &str) -> Result<Arc<Hub>, Status> {
        let hub = self.notifications.of(account);
        // Accounts were checked before.
        hub.cloned()
            .ok_or_else(|| status::defect("an account without notifications"))
    }

    /// Sends a checked write, once however often its `request_id` comes, and waits for as much
    /// as was asked for.
    async fn write<O, T>(&self, operation: O, wish: Wish) -> Result<Response<T>, Status>
    where
        O: Write,
        T: WriteResponse,
    {
        let Wish {
            confirmed,
            identity,
            ticket,
        } = wish;
        if confirmed {
            // Apart, as it is large, and most writes do not want it.
            return Box::pin(self.confirmed_write(operation, identity, ticket)).await;
        }
        self.dedupe
            .send(&self.client, identity, operation, ticket)
            .await
    }

    async fn confirmed_write<O, T>(
        &self,
        operation: O,
        identity: Identity,
        ticket: Ticket,
    ) -> Result<Response<T>, Status>
    where
        O: Write,
        T: WriteResponse,
    {
        let hub = self.hub(&ticket.account)?;
        let confirmation = Confirmation::new(self.client.clone(), hub, operation, ticket.clone());
        let again = Arc::clone(&confirmation);
        let work = async move { Ok(confirmation.write().await?.into()) };
        let settle = |kept: Result<T, Status>| async {
            match answers::unsettled(&kept) {
                Some(sent) => Ok(again.settle(sent).await?.into()),
                None => kept,
            }
        };
        let asked = Asked::of::<O>();
        let write = self.dedupe.run(asked, identity, &ticket, work, settle);
        Ok(Response::new(write.await?))
    }
}

/// Reads an answer that was judged a yes as each operation does.
#[cfg(any(test, fuzzing))]
pub(super) fn take_in(reply: &crate::upstream::operation::Reply) {
    let _ = session::read_all(reply);
    let _ = write::accepted(reply);
}

/// Checks a caller's data; what is allowed must come back from JSON as it was.
#[cfg(any(test, fuzzing))]
pub(super) fn take_in_data(data: &Struct) {
    for undocumented in [false, true] {
        let mut violations = Violations::default();
        user_data::check(Some(data), undocumented, &mut violations);
        if violations.finish().is_err() {
            continue;
        }
        let json = serde_json::to_string(&user_data::Json(data)).expect("JSON of what is allowed");
        let user_data::UserData(read) = serde_json::from_str(&json).expect("our own JSON");
        assert_eq!(read, *data);
    }
}

/// Whether a write is asked to be confirmed; `CONFIRMATION_UNSPECIFIED` is as good as `ACCEPTED`.
///
/// Taken out of the request, which stands for its `request_id` from then on: a repeat that wants more
/// confirmation than the first call did is the same write.
fn take_confirmed(confirmation: &mut i32, violations: &mut Violations) -> bool {
    let known = Wanted::try_from(std::mem::take(confirmation));
    violations.check(known.is_ok(), "confirmation", "is no known value");
    known == Ok(Wanted::Confirmed)
}

#[tonic::async_trait]
impl SmsSessionData for Facade {
    async fn attach_user_data(
        &self,
        request: Request<AttachUserDataRequest>,
    ) -> Result<Response<AttachUserDataResponse>, Status> {
        let (opened, mut request) = open(request)?;
        let mut violations = self.violations(&request.account);
        let data = request.user_data.as_ref();
        self.check_data(&request.session_id, data, &mut violations);
        dedupe::check_id(&request.request_id, &mut violations);
        let confirmed = take_confirmed(&mut request.confirmation, &mut violations);
        violations.finish()?;
        let wish = Wish {
            confirmed,
            identity: Identity::of(&opened, &request.request_id, &request),
            ticket: opened.ticket(&request.account),
        };
        self.write(AttachUserData(request), wish).await
    }

    async fn update_user_data(
        &self,
        request: Request<UpdateUserDataRequest>,
    ) -> Result<Response<UpdateUserDataResponse>, Status> {
        let (opened, mut request) = open(request)?;
        let mut violations = self.violations(&request.account);
        let data = request.user_data.as_ref();
        self.check_data(&request.session_id, data, &mut violations);
        dedupe::check_id(&request.request_id, &mut violations);
        let confirmed = take_confirmed(&mut request.confirmation, &mut violations);
        violations.finish()?;
        let wish = Wish {
            confirmed,
            identity: Identity::of(&opened, &request.request_id, &request),
            ticket: opened.ticket(&request.account),
        };
        self.write(UpdateUserData(request), wish).await
    }

    async fn delete_user_data(
        &self,
        request: Request<DeleteUserDataRequest>,
    ) -> Result<Response<DeleteUserDataResponse>, Status> {
        let (opened, mut request) = open(request)?;
        let mut violations = self.violations(&request.account);
        write::check_id("session_id", &request.session_id, &mut violations);
        delete_user_data::check(&request.keys, &mut violations);
        dedupe::check_id(&request.request_id, &mut violations);
        let confirmed = take_confirmed(&mut request.confirmation, &mut violations);
        violations.finish()?;
        let wish = Wish {
            confirmed,
            identity: Identity::of(&opened, &request.request_id, &request),
            ticket: opened.ticket(&request.account),
        };
        self.write(DeleteUserData(request), wish).await
    }

    async fn get_session(
        &self,
        request: Request<GetSessionRequest>,
    ) -> Result<Response<GetSessionResponse>, Status> {
        let (opened, request) = open(request)?;
        let mut violations = self.violations(&request.account);
        write::check_id("session_id", &request.session_id, &mut violations);
        violations.finish()?;
        let ticket = opened.ticket(&request.account);
        let session = self.client.call(GetSession(request), ticket).await?;
        Ok(Response::new(GetSessionResponse {
            session: Some(session),
        }))
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let (opened, request) = open(request)?;
        self.violations(&request.account).finish()?;
        let ticket = opened.ticket(&request.account);
        let sessions = self.client.call(ListSessions, ticket).await?;
        Ok(Response::new(ListSessionsResponse { sessions }))
    }

    type WatchSessionsStream = Watched;

    async fn watch_sessions(
        &self,
        request: Request<WatchSessionsRequest>,
    ) -> Result<Response<Watched>, Status> {
        let (opened, request) = open(request)?;
        let mut violations = self.violations(&request.account);
        watch_sessions::check(&request.session_ids, &mut violations);
        violations.finish()?;
        let account = account_name(&request.account);
        let hub = self.hub(account)?;
        opened.note_account(account);
        let place = Arc::clone(&self.streams).try_acquire_owned();
        let watch = Watch {
            _held: (
                place.map_err(|_| status::too_many_open())?,
                hub.open_stream(),
            ),
            consumer: hub.consume(watch_sessions::filter(request.session_ids)),
            deadline: opened.asked_deadline(),
            connection: opened.hold(),
            started: false,
        };
        Ok(Response::new(watch.into_stream()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::operation::{Operation, Replay};
    use crate::vendors::testing::assert_promises;

    #[test]
    fn what_the_proto_promises_is_what_the_operations_do() {
        let operations = [
            ("AttachUserData", AttachUserData::META),
            ("UpdateUserData", UpdateUserData::META),
            ("DeleteUserData", DeleteUserData::META),
            ("GetSession", GetSession::META),
            ("ListSessions", ListSessions::META),
        ];
        // A watch is made of requests that change nothing.
        let watch = ("WatchSessions", Replay::Safe);
        let promises = operations.map(|(rpc, meta)| (rpc, meta.replay));
        let promises: Vec<_> = promises.into_iter().chain([watch]).collect();
        assert_promises("SmsSessionData", &promises);
    }
}
