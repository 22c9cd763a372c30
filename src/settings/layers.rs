//! Where settings come from: a YAML file, and the environment laid over it.
//!
//! `SWITCHBOARD__SERVER__LISTEN` sets `server.listen`. A variable without a value is `null`: it
//! brings the default back.

use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

use ::config::{ConfigError, FileFormat, Map, Source, Value, ValueKind};
use yaml_rust2::ScanError;

use super::{Problem, Problems, extent};

/// With two underscores: `SWITCHBOARD_CONFIG` is no setting, nor is the `SWITCHBOARD_PORT` that
/// Kubernetes puts into every pod next to a service of our name.
const PREFIX: &str = "SWITCHBOARD__";
const SEPARATOR: &str = "__";

/// A configuration has some KiB; a file beyond this has been named by mistake.
const MAX_BYTES: u64 = 1 << 20;

pub type Table = Map<String, Value>;

/// The settings in a YAML file. That it cannot be read at all is one problem, not many.
pub fn file(path: &Path) -> Result<Table, Problem> {
    read(path).map_err(|message| Problem {
        path: path.display().to_string(),
        message,
    })
}

fn read(path: &Path) -> Result<Table, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|why| format!("cannot be read: {why}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err("is longer than 1 MiB".to_owned());
    }
    let text = str::from_utf8(&bytes).map_err(|_| "is not UTF-8 text".to_owned())?;
    parse(text.strip_prefix('\u{feff}').unwrap_or(text))
}

pub(crate) fn parse(text: &str) -> Result<Table, String> {
    extent::check(text)?;
    // `collect` and not a builder, which would take a key `server.listen` for a path.
    ::config::File::from_str(text, FileFormat::Yaml)
        .collect()
        .map_err(|error| why_not_yaml(&error))
}

fn why_not_yaml(error: &ConfigError) -> String {
    let ConfigError::FileParse { cause, .. } = error else {
        return "cannot be read as YAML".to_owned();
    };
    if let Some(scan) = cause.downcast_ref::<ScanError>() {
        let (line, column) = (scan.marker().line(), scan.marker().col() + 1);
        // That of a key that is there twice quotes it.
        let why = match scan.info() {
            why if why.ends_with("duplicated key in mapping") => "a key for the second time",
            why => why,
        };
        return format!("not YAML: line {line}, column {column}: {why}");
    }
    // The cause itself would quote the text, and this may be a secret's file, passed by mistake.
    if cause.downcast_ref::<Box<ConfigError>>().is_some() {
        return "expected a mapping of settings, found something else".to_owned();
    }
    "expected one YAML document, its keys text and its numbers finite".to_owned()
}

/// The process's environment, in the form that [`overlay`] takes; unlike `std::env::vars` it does
/// not panic on a variable that is not Unicode.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| {
        let text = |it: std::ffi::OsString| it.to_string_lossy().into_owned();
        (text(name), text(value))
    })
}

/// Lays the variables that begin with `SWITCHBOARD__` over the settings of the file.
pub fn overlay(
    table: &mut Table,
    environment: impl Iterator<Item = (String, String)>,
    problems: &mut Problems,
) {
    // Sorted, so that the same environment always gives the same problems in the same order.
    let variables: BTreeMap<String, String> = environment
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    for (name, text) in variables {
        let segments: Vec<&str> = name[PREFIX.len()..].split(SEPARATOR).collect();
        let kind = match text.as_str() {
            "" => ValueKind::Nil,
            _ => ValueKind::String(text),
        };
        if let Err(message) = set(table, &segments, Value::new(Some(&name), kind)) {
            problems.push(name, message);
        }
    }
}

/// The variable that a value is from. Only variables have an origin: it is their name, and the file is
/// read without one.
pub(super) fn variable(value: &Value) -> Option<&str> {
    value.origin()
}

fn set(table: &mut Table, segments: &[&str], value: Value) -> Result<(), String> {
    let Some((segment, rest)) = segments.split_first().filter(|(it, _)| !it.is_empty()) else {
        return Err("names no setting: a part of it is empty".to_owned());
    };
    let key = spelling(table, segment)?;
    if rest.is_empty() {
        if let Some(ValueKind::Table(_)) = table.get(&key).map(|it| &it.kind) {
            return Err(format!("`{key}` is a section: set its keys one by one"));
        }
        table.insert(key, value);
        return Ok(());
    }
    let there = table.get(&key).is_some_and(|it| it.kind != ValueKind::Nil);
    if value.kind == ValueKind::Nil && !there {
        return Ok(()); // an empty variable brings no section into being
    }
    let child = table.entry(key.clone()).or_default();
    if child.kind == ValueKind::Nil {
        child.kind = ValueKind::Table(Table::new());
    }
    match &mut child.kind {
        ValueKind::Table(inner) => set(inner, rest, value),
        _ => Err(format!("`{key}` is not a section")),
    }
}

/// The key that a part of a variable's name means. Variables are in capitals, names of accounts
/// are as their owner wrote them: as it stands in lower case, else the one key that differs in
/// case only.
fn spelling(table: &Table, segment: &str) -> Result<String, String> {
    let lower = segment.to_lowercase();
    if table.contains_key(&lower) {
        return Ok(lower);
    }
    let mut alike = table.keys().filter(|key| key.to_lowercase() == lower);
    match (alike.next(), alike.next()) {
        (None, _) => Ok(lower),
        (Some(key), None) => Ok(key.clone()),
        (Some(_), Some(_)) => Err(format!("`{lower}` could be several keys of the file")),
    }
}
