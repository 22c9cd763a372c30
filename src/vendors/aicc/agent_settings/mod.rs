//! The service `contactcenter.v1.AgentSettings`.

#[cfg(any(test, feature = "benchmarks"))]
pub(super) mod benchmarks;
mod create;
mod delete;
mod get;
mod update;

use serde::Serialize;
use tonic::{Request, Response, Status};

use self::create::Create;
use self::delete::Delete;
use self::get::Get;
use self::update::Update;
use super::Aicc;
use super::wire::Written;
use crate::grpc::dedupe::{self, Dedupe, Identity};
use crate::grpc::inbound::{account_name, addressed, open};
use crate::grpc::validate::{Violations, at_most, text, unless};
use crate::pb::agent_settings_server::AgentSettings;
use crate::pb::{
    CallType, CreateAgentSettingsRequest, CreateAgentSettingsResponse, DeleteAgentSettingsRequest,
    DeleteAgentSettingsResponse, GetAgentSettingsRequest, GetAgentSettingsResponse,
    PersonalSettings, UpdateAgentSettingsRequest, UpdateAgentSettingsResponse,
};
use crate::upstream::client::{Client, Ticket};
use crate::upstream::error::{Error, Failure};

const LONGEST_ID: usize = 64;
const MOST_NUMBERS: usize = 5;
const LONGEST_NUMBER: usize = 15;

addressed!(
    CreateAgentSettingsRequest: user_id,
    GetAgentSettingsRequest: user_id,
    UpdateAgentSettingsRequest: user_id,
    DeleteAgentSettingsRequest: user_id,
);

/// The body of a query or a delete.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserId<'a> {
    user_id: &'a str,
}

/// Checks requests, calls the vendor, words the answers.
pub(super) struct Facade {
    client: Client<Aicc>,
    dedupe: Dedupe,
}

impl Facade {
    pub(super) fn new(client: Client<Aicc>, dedupe: Dedupe) -> Self {
        Facade { client, dedupe }
    }

    /// What every request is checked for.
    fn violations(&self, account: &str, user_id: &str) -> Violations {
        let mut violations = Violations::default();
        violations.account(self.client.knows(account_name(account)));
        violations.field("user_id", text(user_id, LONGEST_ID));
        violations
    }

    /// Deletes; a refusal after an attempt of unknown outcome may mean that the attempt had
    /// done it, and so may one of a call that its caller makes again. So then the record is looked
    /// for. The refusal stands where the vendor has the record, or refuses that, too.
    async fn delete(&self, user_id: &str, ticket: Ticket) -> Result<String, Failure> {
        let delete = Delete {
            user_id: user_id.to_owned(),
        };
        let failure = match self.client.call(delete, ticket.clone()).await {
            Ok(written) => return Ok(written.description),
            Err(failure) => failure,
        };
        let perhaps_done = failure.was_in_doubt || ticket.caller_repeats;
        if !(perhaps_done && matches!(failure.error, Error::Refused { .. })) {
            return Err(failure);
        }
        let query = Get(GetAgentSettingsRequest {
            user_id: user_id.to_owned(),
            ..Default::default()
        });
        let progress = &ticket.progress;
        let look = Ticket {
            progress: progress.part(),
            ..ticket.clone()
        };
        match self.client.call(query, look).await {
            Err(found) if found.error.is_not_found() => Ok(String::new()),
            Err(found) if !matches!(found.error, Error::Refused { .. }) => Err(Failure {
                error: found.error,
                sent: progress.sent(),
                budget_spent: found.budget_spent,
                ..failure
            }),
            found => Err(Failure {
                sent: progress.sent(),
                was_in_doubt: failure.was_in_doubt && found.is_err(),
                ..failure
            }),
        }
    }
}

fn check_settings(settings: Option<&PersonalSettings>, violations: &mut Violations) {
    let Some(settings) = settings else { return };
    let known = CallType::try_from(settings.call_type).is_ok();
    violations.check(known, "settings.call_type", "is not a value of CallType");
    check_numbers(
        "settings.caller_present",
        &settings.caller_present,
        violations,
    );
    check_numbers("settings.call_number", &settings.call_number, violations);
    let defaults = [
        (
            "settings.call_number_default",
            &settings.call_number_default,
        ),
        (
            "settings.caller_present_default",
            &settings.caller_present_default,
        ),
    ];
    for (path, number) in defaults {
        violations.field(path, at_most(number, LONGEST_NUMBER));
    }
}

/// Too many numbers are named from the first that is too much.
fn check_numbers(path: &str, numbers: &[String], violations: &mut Violations) {
    for (index, number) in numbers.iter().enumerate() {
        let beyond = unless(
            index < MOST_NUMBERS,
            "is beyond the 5 that the vendor takes",
        );
        let comma = unless(!number.contains(','), "must not contain a comma");
        let broken = beyond.into_iter().chain(text(number, LONGEST_NUMBER));
        violations.field(format_args!("{path}[{index}]"), broken.chain(comma));
    }
}

#[tonic::async_trait]
impl AgentSettings for Facade {
    async fn create_agent_settings(
        &self,
        request: Request<CreateAgentSettingsRequest>,
    ) -> Result<Response<CreateAgentSettingsResponse>, Status> {
        let (opened, request) = open(request)?;
        let mut violations = self.violations(&request.account, &request.user_id);
        check_settings(request.settings.as_ref(), &mut violations);
        dedupe::check_id(&request.request_id, &mut violations);
        violations.finish()?;
        let identity = Identity::of(&opened, &request.request_id, &request);
        let ticket = opened.ticket(&request.account);
        let operation = Create(request);
        self.dedupe
            .send(&self.client, identity, operation, ticket)
            .await
    }

    async fn get_agent_settings(
        &self,
        request: Request<GetAgentSettingsRequest>,
    ) -> Result<Response<GetAgentSettingsResponse>, Status> {
        let (opened, request) = open(request)?;
        self.violations(&request.account, &request.user_id)
            .finish()?;
        let ticket = opened.ticket(&request.account);
        let found = self.client.call(Get(request), ticket).await?;
        Ok(Response::new(found))
    }

    async fn update_agent_settings(
        &self,
        request: Request<UpdateAgentSettingsRequest>,
    ) -> Result<Response<UpdateAgentSettingsResponse>, Status> {
        let (opened, request) = open(request)?;
        let mut violations = self.violations(&request.account, &request.user_id);
        violations.field("id", text(&request.id, LONGEST_ID));
        check_settings(request.settings.as_ref(), &mut violations);
        update::check_mask(&request, &mut violations);
        dedupe::check_id(&request.request_id, &mut violations);
        violations.finish()?;
        let identity = Identity::of(&opened, &request.request_id, &request);
        let ticket = opened.ticket(&request.account);
        let operation = Update(request);
        self.dedupe
            .send(&self.client, identity, operation, ticket)
            .await
    }

    async fn delete_agent_settings(
        &self,
        request: Request<DeleteAgentSettingsRequest>,
    ) -> Result<Response<DeleteAgentSettingsResponse>, Status> {
        let (opened, request) = open(request)?;
        self.violations(&request.account, &request.user_id)
            .finish()?;
        let ticket = opened.ticket(&request.account);
        let description = self.delete(&request.user_id, ticket).await?;
        Ok(Response::new(DeleteAgentSettingsResponse { description }))
    }
}

impl From<Written> for CreateAgentSettingsResponse {
    fn from(Written { id, description }: Written) -> Self {
        CreateAgentSettingsResponse { id, description }
    }
}

impl From<Written> for UpdateAgentSettingsResponse {
    fn from(Written { id, description }: Written) -> Self {
        UpdateAgentSettingsResponse { id, description }
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
            ("CreateAgentSettings", Create::META),
            ("GetAgentSettings", Get::META),
            ("UpdateAgentSettings", Update::META),
            ("DeleteAgentSettings", Delete::META),
        ];
        assert_promises(
            "AgentSettings",
            &operations.map(|(rpc, meta)| (rpc, meta.replay)),
        );
    }
}
