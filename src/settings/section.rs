//! One mapping of settings, read key by key.

use std::{collections::BTreeMap, fmt::Display, ops::RangeInclusive};

use ::config::{Value, ValueKind};

use super::{
    Leaf, Problems,
    hint::hint,
    layers::{self, Table},
    leaf::expected,
};

/// One mapping at a path. What a method does not like it reports, and goes on with the default.
pub struct Section<'a> {
    path: String,
    table: Table,
    problems: &'a mut Problems,
    taken: Vec<&'static str>,
    /// Which variable a key's value is from, where it is from one.
    variables: BTreeMap<String, String>,
    wrong: Vec<String>,
}

impl<'a> Section<'a> {
    /// Reads a whole tree and refuses what `read` did not take.
    pub fn root<T>(
        table: Table,
        problems: &'a mut Problems,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        Self::inside(String::new(), table, problems, read)
    }

    fn inside<T>(
        path: String,
        table: Table,
        problems: &'a mut Problems,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let mut section = Section {
            path,
            table,
            problems,
            taken: Vec::new(),
            variables: BTreeMap::new(),
            wrong: Vec::new(),
        };
        let read = read(&mut section);
        section.finish();
        read
    }

    /// A setting that may be absent.
    pub fn optional<T: Leaf>(&mut self, key: &'static str) -> Option<T> {
        let value = self.take(key)?;
        match T::read(&value) {
            Ok(it) => Some(it),
            Err(message) => {
                self.problem(key, message);
                None
            }
        }
    }

    /// A setting that must be there.
    pub fn required<T: Leaf>(&mut self, key: &'static str) -> Option<T> {
        let absent = self.is_absent(key);
        let value = self.optional(key);
        if absent {
            self.problem(key, "required, but missing");
        }
        value
    }

    /// A setting with a default.
    pub fn or<T: Leaf>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// A setting with a default and limits.
    pub fn within<T: Leaf + PartialOrd + Display + Copy>(
        &mut self,
        key: &'static str,
        default: T,
        limits: RangeInclusive<T>,
    ) -> T {
        let value = self.or(key, default);
        let (low, high) = (limits.start(), limits.end());
        self.check(key, limits.contains(&value), || {
            format!("expected {low} to {high}, found {value}")
        });
        value
    }

    /// A setting that is one of a few words.
    pub fn one_of<T: Copy>(
        &mut self,
        key: &'static str,
        default: T,
        choices: &[(&'static str, T)],
    ) -> T {
        let Some(value) = self.take(key) else {
            return default;
        };
        let text = value.clone().into_string().unwrap_or_default();
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
            return *choice;
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let wanted = format!("one of {}", words.join(", "));
        self.problem(key, expected(&wanted, &value));
        default
    }

    /// A mapping whose keys all have defaults: absent, it is read as an empty one.
    pub fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let value = self.take(key).unwrap_or_default();
        self.descend(key, value, read)
    }

    /// A mapping that may be absent as a whole.
    pub fn optional_section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Option<T> {
        let value = self.take(key)?;
        Some(self.descend(key, value, read))
    }

    /// A mapping from names of the operator's choosing to mappings, read in the order of the names.
    pub fn map<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&str, &mut Section<'_>) -> Option<T>,
    ) -> BTreeMap<String, T> {
        self.section(key, |section| {
            let entries: BTreeMap<String, Value> = section.table.drain().collect();
            let one = |(name, value): (String, Value)| {
                let it = section.descend(&name, value, |inner| read(&name, inner))?;
                Some((name, it))
            };
            entries.into_iter().filter_map(one).collect()
        })
    }

    /// The names in a [`map`](Self::map) of a section, to be asked for before that is read.
    pub fn names(&self, section: &str, key: &str) -> Vec<String> {
        let table = |value: &Value| value.clone().into_table().ok();
        let section = self.table.get(section).and_then(table);
        let map = section.and_then(|it| it.get(key).and_then(table));
        map.into_iter().flatten().map(|(name, _)| name).collect()
    }

    /// A list of mappings that may be absent as a whole. A variable holds it as JSON.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_>) -> T,
    ) -> Option<Vec<T>> {
        let value = self.take(key)?;
        let Some(items) = list_items(&value) else {
            self.problem(key, "expected a list of mappings");
            return None;
        };
        let items = items.into_iter().enumerate();
        Some(
            items
                .map(|(i, item)| self.descend(&format!("{key}[{i}]"), item, &mut read))
                .collect(),
        )
    }

    /// Reports a problem with a key unless the condition holds, or the key has one already: of a
    /// value that could not be read only the default in its place is known.
    pub fn check<M: Into<String>>(&mut self, key: &str, holds: bool, message: impl FnOnce() -> M) {
        self.check_pair(key, key, holds, message);
    }

    /// [`check`](Self::check) of a condition that two keys make up.
    pub fn check_pair<M: Into<String>>(
        &mut self,
        key: &str,
        other: &str,
        holds: bool,
        message: impl FnOnce() -> M,
    ) {
        let wrong = self.wrong.iter().any(|it| it == key || it == other);
        if !wrong && !holds {
            self.problem(key, message());
        }
    }

    pub fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.wrong.push(key.to_owned());
        let mut message = message.into();
        // An item of a list is from where the list is.
        let whole = key.split_once('[').map_or(key, |(list, _)| list);
        if let Some(variable) = self.variables.get(whole) {
            message = format!("{message} (from {variable})");
        }
        self.problems.push(self.path_of(key), message);
    }

    pub fn is_absent(&self, key: &str) -> bool {
        let value = self.table.get(key);
        value.is_none_or(|it| it.kind == ValueKind::Nil)
    }

    /// Takes a key out of the mapping; `null` is as good as absent.
    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.taken.push(key);
        let value = self.table.remove(key)?;
        self.note(key, &value);
        (value.kind != ValueKind::Nil).then_some(value)
    }

    /// Where a value is from, before anything is wrong with it.
    fn note(&mut self, key: &str, value: &Value) {
        if let Some(variable) = layers::variable(value) {
            self.variables.insert(key.to_owned(), variable.to_owned());
        }
    }

    fn descend<T>(
        &mut self,
        key: &str,
        value: Value,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let path = self.path_of(key);
        self.note(key, &value);
        match value.kind {
            ValueKind::Table(table) => Section::inside(path, table, self.problems, read),
            ValueKind::Nil => Section::inside(path, Table::new(), self.problems, read),
            _ => {
                self.problem(key, "expected a mapping");
                // What is missing inside of what is no mapping would only be noise.
                Section::inside(path, Table::new(), &mut Problems::default(), read)
            }
        }
    }

    fn finish(mut self) {
        let left: BTreeMap<String, Value> = std::mem::take(&mut self.table).into_iter().collect();
        for (key, value) in left {
            let hint = hint(&key, &self.taken);
            self.note(&key, &value);
            self.problem(&key, format!("unknown key{hint}"));
        }
    }

    fn path_of(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }
}

fn list_items(value: &Value) -> Option<Vec<Value>> {
    match &value.kind {
        ValueKind::Array(items) => Some(items.clone()),
        // JSON is YAML, too, as long as its lines do not begin where the keys around it do.
        ValueKind::String(text) if layers::variable(value).is_some() => {
            let inner = text.replace('\n', "\n ");
            let mut table = layers::parse(&format!("list:\n {inner}")).ok()?;
            match table.remove("list")?.kind {
                ValueKind::Array(items) => Some(items),
                _ => None,
            }
        }
        _ => None,
    }
}
