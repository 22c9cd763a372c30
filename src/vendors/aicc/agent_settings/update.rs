//! update: changes an agent's settings. Twice gives the same state as once.

use std::cell::LazyCell;

use bytes::Bytes;
use http::{Method, Request};
use serde::Serialize;

use crate::grpc::validate::Violations;
use crate::pb::{CallType, PersonalSettings, UpdateAgentSettingsRequest};
use crate::upstream::error::Error;
use crate::upstream::operation::{Meta, Operation, Replay, Reply, json_request};
use crate::vendors::aicc::Aicc;
use crate::vendors::aicc::wire::{FIELDS, Settings, Written};

pub(super) struct Update(pub(super) UpdateAgentSettingsRequest);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    id: &'a str,
    user_id: &'a str,
    #[serde(flatten)]
    settings: Settings<'a>,
}

/// The paths of the mask; an empty mask is no mask.
fn mask(request: &UpdateAgentSettingsRequest) -> Option<&[String]> {
    let mask = request.update_mask.as_ref()?;
    (!mask.paths.is_empty()).then_some(&mask.paths)
}

/// Known paths, each once; and nothing named that has no empty value.
pub(super) fn check_mask(request: &UpdateAgentSettingsRequest, violations: &mut Violations) {
    let paths = mask(request).unwrap_or_default();
    let unknown =
        LazyCell::new(|| format!("names no field of settings; known: {}", FIELDS.join(", ")));
    violations.distinct("update_mask.paths", paths, |path| {
        (!FIELDS.contains(&path)).then(|| unknown.as_str())
    });
    let call_type = request.settings.as_ref().map_or(0, |it| it.call_type);
    let unset = call_type == CallType::Unspecified as i32;
    violations.check(
        !(unset && paths.iter().any(|path| path == "call_type")),
        "settings.call_type",
        "is named by update_mask and must be set",
    );
}

impl Operation for Update {
    type Vendor = Aicc;
    type Output = Written;
    const META: Meta = Meta {
        name: "update",
        method: Method::POST,
        template: "/apiaccess/CC-Management/v1/openapp/agentsettings/update",
        replay: Replay::Idempotent,
        creates: false,
    };

    fn request(&self) -> Result<Request<Bytes>, Error> {
        let unset = PersonalSettings::default();
        let settings = self.0.settings.as_ref().unwrap_or(&unset);
        let body = Body {
            id: &self.0.id,
            user_id: &self.0.user_id,
            settings: match mask(&self.0) {
                Some(mask) => Settings::masked(settings, mask),
                None => Settings::populated(settings),
            },
        };
        json_request(&Self::META, Self::META.template, &body)
    }

    /// The vendor may leave the id out; it is the one that was asked for.
    fn decode(&self, reply: &Reply) -> Result<Written, Error> {
        let mut written = Written::of(reply);
        if written.id.is_empty() {
            written.id.clone_from(&self.0.id);
        }
        Ok(written)
    }
}
