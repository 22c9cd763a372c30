//! The service `contactcenter.v1.SmsSessionData`.

mod attach_user_data;
mod delete_user_data;
mod get_session;
mod list_sessions;
mod session;
mod update_user_data;
mod user_data;
mod write;

use prost_types::Struct;
use tonic::{Request, Response, Status};

use self::attach_user_data::AttachUserData;
use self::delete_user_data::DeleteUserData;
use self::get_session::GetSession;
use self::list_sessions::ListSessions;
use self::update_user_data::UpdateUserData;
use self::write::Accepted;
use super::Genesys;
use crate::grpc::dedupe::{self, Dedupe, Identity};
use crate::grpc::inbound::{account_name, open};
use crate::grpc::validate::Violations;
use crate::pb::sms_session_data_server::SmsSessionData;
use crate::pb::{
    AttachUserDataRequest, AttachUserDataResponse, DeleteUserDataRequest, DeleteUserDataResponse,
    GetSessionRequest, GetSessionResponse, ListSessionsRequest, ListSessionsResponse, Outcome,
    UpdateUserDataRequest, UpdateUserDataResponse,
};
use crate::upstream::client::Client;

/// Checks requests, calls the vendor, words the answers.
pub(super) struct Facade {
    client: Client<Genesys>,
    dedupe: Dedupe,
    allow_undocumented: bool,
}

impl Facade {
    pub(super) fn new(client: Client<Genesys>, dedupe: Dedupe, allow_undocumented: bool) -> Self {
        Facade {
            client,
            dedupe,
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
        write::check_id(session_id, violations);
        user_data::check(data, self.allow_undocumented, violations);
    }
}

#[tonic::async_trait]
impl SmsSessionData for Facade {
    async fn attach_user_data(
        &self,
        request: Request<AttachUserDataRequest>,
    ) -> Result<Response<AttachUserDataResponse>, Status> {
        let (opened, request) = open(request)?;
        let mut violations = self.violations(&request.account);
        self.check_data(
            &request.session_id,
            request.user_data.as_ref(),
            &mut violations,
        );
        dedupe::check_id(&request.request_id, &mut violations);
        violations.finish()?;
        let ticket = opened.ticket(&request.account);
        let identity = Identity::of(&request.request_id, &request);
        let operation = AttachUserData(request);
        self.dedupe
            .send(&self.client, identity, operation, ticket)
            .await
    }

    async fn update_user_data(
        &self,
        request: Request<UpdateUserDataRequest>,
    ) -> Result<Response<UpdateUserDataResponse>, Status> {
        let (opened, request) = open(request)?;
        let mut violations = self.violations(&request.account);
        self.check_data(
            &request.session_id,
            request.user_data.as_ref(),
            &mut violations,
        );
        dedupe::check_id(&request.request_id, &mut violations);
        violations.finish()?;
        let ticket = opened.ticket(&request.account);
        let identity = Identity::of(&request.request_id, &request);
        let operation = UpdateUserData(request);
        self.dedupe
            .send(&self.client, identity, operation, ticket)
            .await
    }

    async fn delete_user_data(
        &self,
        request: Request<DeleteUserDataRequest>,
    ) -> Result<Response<DeleteUserDataResponse>, Status> {
        let (opened, request) = open(request)?;
        let mut violations = self.violations(&request.account);
        write::check_id(&request.session_id, &mut violations);
        delete_user_data::check(&request.keys, &mut violations);
        dedupe::check_id(&request.request_id, &mut violations);
        violations.finish()?;
        let ticket = opened.ticket(&request.account);
        let identity = Identity::of(&request.request_id, &request);
        let operation = DeleteUserData(request);
        self.dedupe
            .send(&self.client, identity, operation, ticket)
            .await
    }

    async fn get_session(
        &self,
        request: Request<GetSessionRequest>,
    ) -> Result<Response<GetSessionResponse>, Status> {
        let (opened, request) = open(request)?;
        let mut violations = self.violations(&request.account);
        write::check_id(&request.session_id, &mut violations);
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
}

impl From<Accepted> for AttachUserDataResponse {
    fn from(accepted: Accepted) -> Self {
        AttachUserDataResponse {
            outcome: Outcome::Accepted.into(),
            reference_id: accepted.reference_id,
        }
    }
}

impl From<Accepted> for UpdateUserDataResponse {
    fn from(accepted: Accepted) -> Self {
        UpdateUserDataResponse {
            outcome: Outcome::Accepted.into(),
            reference_id: accepted.reference_id,
        }
    }
}

impl From<Accepted> for DeleteUserDataResponse {
    fn from(accepted: Accepted) -> Self {
        DeleteUserDataResponse {
            outcome: Outcome::Accepted.into(),
            reference_id: accepted.reference_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::operation::Operation;
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
        assert_promises(
            "SmsSessionData",
            &operations.map(|(rpc, meta)| (rpc, meta.replay)),
        );
    }
}
