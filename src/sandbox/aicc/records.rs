//! The records of all agents, by userId, and the ledger of applied creates.

use std::collections::BTreeMap;

use serde::Serialize;

use super::settings::Settings;

/// Above 2^53: an id that passes through a floating-point number comes out as another one.
const FIRST_ID: u64 = 1_307_145_259_662_215_169;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub id: String,
    pub user_id: String,
    pub agent_name: String,
    #[serde(flatten)]
    pub settings: Settings,
    pub create_time: String,
    pub partdb_id: String,
    pub tenant_id: String,
}

#[derive(Debug)]
pub(super) struct Records {
    by_user: BTreeMap<String, Record>,
    creates: Vec<String>,
    next_id: u64,
}

/// The documented sample is there at first; it was not created by anybody who is tested.
impl Default for Records {
    fn default() -> Self {
        let mut records = Self {
            by_user: BTreeMap::new(),
            creates: Vec::new(),
            next_id: FIRST_ID,
        };
        records.insert("1660270845627002401", documented());
        records
    }
}

impl Records {
    pub(super) fn all(&self) -> impl Iterator<Item = &Record> {
        self.by_user.values()
    }

    pub(super) fn find(&self, user_id: &str) -> Option<&Record> {
        self.by_user.get(user_id)
    }

    pub(super) fn creates(&self) -> &[String] {
        &self.creates
    }

    /// The new id, or `None` when the user has a record.
    pub(super) fn create(&mut self, user_id: &str, settings: Settings) -> Option<String> {
        if self.by_user.contains_key(user_id) {
            return None;
        }
        self.creates.push(user_id.to_owned());
        Some(self.insert(user_id, settings))
    }

    /// `false` when there is no record with this id and this userId.
    pub(super) fn update(&mut self, id: &str, user_id: &str, settings: Settings) -> bool {
        let record = self
            .by_user
            .get_mut(user_id)
            .filter(|record| record.id == id);
        record
            .map(|record| record.settings.merge(settings))
            .is_some()
    }

    pub(super) fn delete(&mut self, user_id: &str) -> bool {
        self.by_user.remove(user_id).is_some()
    }

    fn insert(&mut self, user_id: &str, settings: Settings) -> String {
        let id = self.next_id.to_string();
        self.next_id += 1;
        let record = Record {
            id: id.clone(),
            user_id: user_id.to_owned(),
            agent_name: format!("Agent {user_id}"),
            settings,
            create_time: "2021-01-12 10:15:32".to_owned(),
            partdb_id: "1".to_owned(),
            tenant_id: "202101120001".to_owned(),
        };
        self.by_user.insert(user_id.to_owned(), record);
        id
    }
}

fn documented() -> Settings {
    let numbers =
        |numbers: &[&str]| Some(numbers.iter().map(|number| (*number).to_owned()).collect());
    Settings {
        call_type: Some("1".to_owned()),
        caller_present: numbers(&["12323"]),
        call_number: numbers(&["12323", "232343", "233", "239343"]),
        call_number_default: Some("23232323".to_owned()),
        caller_present_default: Some("1212121212".to_owned()),
    }
}
