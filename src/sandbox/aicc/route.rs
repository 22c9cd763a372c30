//! Which operation a path names; the case of its letters matters.

use crate::sandbox::http::Operation;

const TOKEN_PATH: &str = "/apigovernance/api/oauth/tokenByAkSk";
const SETTINGS_PATH: &str = "/apiaccess/CC-Management/v1/openapp/agentsettings/";

const TOKEN: Operation = Operation::login("Token");
const CREATE: Operation = Operation::call("create");
const UPDATE: Operation = Operation::call("update");
const QUERY: Operation = Operation::call("query");
const DELETE: Operation = Operation::call("delete");

pub(super) const OPERATIONS: &[Operation] =
    &[TOKEN, CREATE, UPDATE, QUERY, DELETE, Operation::UNKNOWN];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Token,
    Create,
    Update,
    Query,
    Delete,
}

pub(super) fn route(path: &str) -> Option<Route> {
    if path == TOKEN_PATH {
        return Some(Route::Token);
    }
    match path.strip_prefix(SETTINGS_PATH)? {
        "create" => Some(Route::Create),
        "update" => Some(Route::Update),
        "query" => Some(Route::Query),
        "delete" => Some(Route::Delete),
        _ => None,
    }
}

impl Route {
    pub(super) fn operation(self) -> Operation {
        match self {
            Self::Token => TOKEN,
            Self::Create => CREATE,
            Self::Update => UPDATE,
            Self::Query => QUERY,
            Self::Delete => DELETE,
        }
    }
}
