//! The `dedupe` section: how long, and how many, `request_id`s are remembered.

use std::time::Duration;

use crate::{
    settings::{
        Section,
        yaml::{self, Node},
    },
    upstream::settings::positive,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedupe {
    pub window: Duration,
    pub max_entries: usize,
}

impl Default for Dedupe {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(600),
            max_entries: 100_000,
        }
    }
}

impl Dedupe {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            window: positive(section, "window", default.window),
            max_entries: section.within("max_entries", default.max_entries, 1..=100_000_000),
        }
    }

    pub(super) fn to_yaml(&self) -> Node {
        yaml::map([
            ("window", self.window.into()),
            ("max_entries", self.max_entries.into()),
            ("redis_url_file", Node::Null),
        ])
    }
}
