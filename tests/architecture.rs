//! Who may import whom, as the code stands: the table that keeps the parts apart.
//!
//! A plain scan of the text is enough, since every path to another part begins with `crate`
//! or climbs up by `super`. Tests may import what they like.

#![allow(clippy::unwrap_used, reason = "clippy knows only the tests themselves")]

use std::fs;
use std::path::{Path, PathBuf};

/// What a part of `src` may use of the crate beside itself, and which libraries it may not name.
struct Part {
    /// Its path below `src`, as modules.
    path: &'static str,
    may: &'static [&'static str],
    /// Beginnings of names.
    not: &'static [&'static str],
}

/// The most particular row that fits a file is the one that counts for it.
const TABLE: [Part; 14] = [
    Part {
        path: "commands",
        may: &[
            "app",
            "config",
            "settings",
            "telemetry",
            "lifecycle",
            "sandbox",
            "grpc::caller",
            "upstream",
            "vendors",
        ],
        not: &["reqwest"],
    },
    Part {
        path: "app",
        may: &[
            "config",
            "telemetry",
            "admin",
            "lifecycle",
            "grpc",
            "upstream",
            "vendors",
            "pb",
        ],
        not: &["reqwest"],
    },
    Part {
        path: "config",
        may: &[
            "settings",
            "telemetry",
            "upstream",
            "vendors",
            "grpc::caller::policy",
            "grpc::methods",
        ],
        not: &["reqwest", "tonic", "prost"],
    },
    Part {
        path: "upstream",
        may: &["settings"],
        not: &["tonic", "prost", "reqwest"],
    },
    Part {
        path: "upstream::transport",
        may: &["upstream"],
        not: &["tonic", "prost"],
    },
    Part {
        path: "vendors::genesys",
        may: &["upstream", "grpc", "pb", "settings", "lifecycle"],
        not: &["reqwest"],
    },
    Part {
        path: "vendors::aicc",
        may: &["upstream", "grpc", "pb", "settings", "lifecycle"],
        not: &["reqwest"],
    },
    Part {
        path: "grpc",
        may: &["upstream", "lifecycle", "pb", "telemetry"],
        not: &["reqwest"],
    },
    Part {
        path: "sandbox",
        may: &[],
        not: &["tonic", "prost", "reqwest"],
    },
    Part {
        // It plays the documented calls, as a caller of the gateway.
        path: "sandbox::tour",
        may: &["sandbox", "pb"],
        not: &["reqwest"],
    },
    Part {
        path: "telemetry",
        may: &[],
        not: &["reqwest"],
    },
    Part {
        // The client that exporters over HTTP are given.
        path: "telemetry::export::wire",
        may: &["telemetry"],
        not: &[],
    },
    Part {
        path: "admin",
        may: &["telemetry", "lifecycle"],
        not: &["reqwest", "tonic"],
    },
    Part {
        path: "",
        may: &[""],
        not: &["reqwest"],
    },
];

/// These stand on nothing of the crate.
const ALONE: [&str; 2] = ["lifecycle", "settings"];

/// A file's modules, and what the file says outside of tests and comments.
struct Source {
    module: Vec<String>,
    text: String,
}

impl Source {
    fn new(path: &Path, text: &str) -> Source {
        let mut module: Vec<String> = path
            .with_extension("")
            .components()
            .map(|part| part.as_os_str().to_str().unwrap().to_owned())
            .collect();
        if matches!(
            module.last().map(String::as_str),
            Some("mod" | "lib" | "main")
        ) {
            module.pop();
        }
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        Source {
            module,
            text: lines.collect::<Vec<_>>().join("\n"),
        }
    }

    fn name(&self) -> String {
        self.module.join("::")
    }

    /// Every path of the crate that is named here, from the root.
    fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        for (at, word) in words(&self.text) {
            let rest = &self.text[at + word.len()..];
            // `pub(crate)` names nothing.
            if !rest.starts_with("::") {
                continue;
            }
            // `super::super` is met at its first word.
            let climbs = !self.text[..at].ends_with("super::");
            match word {
                "crate" => branches(rest, &[], &mut paths),
                "super" if climbs => {
                    let (rest, levels) = climb(rest);
                    let left = self.module.len().saturating_sub(levels);
                    branches(rest, &self.module[..left], &mut paths);
                }
                _ => {}
            }
        }
        paths
    }

    /// Whether a library is named whose name begins so.
    fn names(&self, library: &str) -> bool {
        words(&self.text).any(|(at, word)| {
            let path = self.text[at + word.len()..].starts_with("::");
            let whole = !self.text[..at].ends_with("::");
            let used = self.text[..at].ends_with("use ");
            word.starts_with(library) && whole && (path || used)
        })
    }

    /// What breaks the table here.
    fn breaches(&self) -> Vec<String> {
        let name = self.name();
        let part = TABLE
            .iter()
            .filter(|part| within(&name, part.path))
            .max_by_key(|part| part.path.len())
            .expect("the last row fits every file");
        let alone = ALONE.iter().find(|alone| within(&name, alone));
        let own = alone.copied().unwrap_or(part.path);
        let may = if alone.is_some() { &[] } else { part.may };
        let allowed = |path: &str| std::iter::once(&own).chain(may).any(|it| within(path, it));
        let paths = self.paths().into_iter().filter(|path| !allowed(path));
        let libraries = part.not.iter().filter(|library| self.names(library));
        let libraries = libraries.map(|library| format!("{library} (a library)"));
        paths
            .chain(libraries)
            .map(|path| format!("{name} names {path}"))
            .collect()
    }
}

/// Whether a path is this module or lies below it.
fn within(path: &str, module: &str) -> bool {
    let rest = path.strip_prefix(module);
    rest.is_some_and(|rest| module.is_empty() || rest.is_empty() || rest.starts_with("::"))
}

/// The words of a text with their places.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.split(move |c| !part(c))
        .filter(|word| !word.is_empty())
        .map(|word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

/// What follows a first `super`, and how many levels up it leads.
fn climb(rest: &str) -> (&str, usize) {
    match rest.strip_prefix("::super") {
        Some(rest) => {
            let (rest, levels) = climb(rest);
            (rest, levels + 1)
        }
        None => (rest, 1),
    }
}

/// Follows `::name`, `::name::name` and `::{name, name::name}` to their ends.
fn branches(rest: &str, from: &[String], paths: &mut Vec<String>) {
    let mut path = from.to_vec();
    let mut rest = rest;
    while let Some(next) = rest.strip_prefix("::") {
        if let Some(group) = next.strip_prefix('{') {
            for branch in members(group) {
                branches(&format!("::{branch}"), &path, paths);
            }
            return;
        }
        let Some((0, word)) = words(next).next() else {
            break;
        };
        path.push(word.to_owned());
        rest = &next[word.len()..];
    }
    paths.push(path.join("::"));
}

/// The members of a group up to its closing brace.
fn members(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut members = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(String::new());
                continue;
            }
            c if c.is_whitespace() => continue,
            _ => {}
        }
        members.last_mut().expect("begun with one").push(c);
    }
    members.retain(|member| !member.is_empty());
    members
}

/// All files of the program, those of its tests left out.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            let test = stem == "tests" || stem == "testing" || stem.ends_with("_tests");
            match path.is_dir() {
                _ if test => {}
                true => folders.push(path),
                false if path.extension().is_some_and(|it| it == "rs") => files.push(path),
                false => {}
            }
        }
    }
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        Source::new(path.strip_prefix(&root).unwrap(), &text)
    };
    files.iter().map(read).collect()
}

#[test]
fn every_part_imports_what_it_may_and_nothing_else() {
    let sources = sources();
    let breaches: Vec<String> = sources.iter().flat_map(Source::breaches).collect();
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    // Else it looked at nothing.
    let paths: usize = sources.iter().map(|source| source.paths().len()).sum();
    assert!(sources.len() > 50 && paths > 200, "{paths} paths");
    for part in TABLE.iter().filter(|part| part.path != "sandbox::tour") {
        let found = sources.iter().any(|it| within(&it.name(), part.path));
        assert!(found, "no {}: the table is out of date", part.path);
    }
    let transport = sources.iter().find(|it| it.name() == "upstream::transport");
    assert!(transport.unwrap().names("reqwest"));
}

/// Who may look at the clock on the wall, which can jump: to tell people the time, or because the
/// vendor, or who signed a token, named a date. Deadlines, tokens' lives and waits follow a clock that only goes forward.
const BY_THE_WALL: [&str; 6] = [
    "admin::status::report",
    "grpc::caller::tokens::verified",
    "telemetry::server::call",
    "upstream::backoff",
    "vendors::genesys::notifications::event",
    "vendors::genesys::notifications::snapshot",
];

#[test]
fn a_wall_clock_that_jumps_decides_nothing() {
    let sources = sources();
    let look = sources
        .iter()
        .filter(|it| it.text.contains("SystemTime::now") && !within(&it.name(), "sandbox"));
    let mut names: Vec<String> = look.map(Source::name).collect();
    names.sort();
    assert_eq!(names, BY_THE_WALL);
}

fn breaches(path: &str, text: &str) -> usize {
    Source::new(Path::new(path), text).breaches().len()
}

#[test]
fn a_planted_line_is_found() {
    let planted = [
        ("upstream/retry.rs", "use crate::pb::ErrorReason;"),
        ("upstream/retry.rs", "use crate::telemetry;"),
        ("upstream/retry.rs", "use super::super::config::Config;"),
        ("upstream/mod.rs", "use super::vendors;"),
        ("upstream/retry.rs", "use tonic::Status;"),
        ("upstream/retry.rs", "fn f() -> tonic_types::RetryInfo {}"),
        ("upstream/retry.rs", "use reqwest::Client;"),
        ("grpc/shed.rs", "use crate::vendors::aicc::Aicc;"),
        ("grpc/shed.rs", "fn f(_: &crate::config::Config) {}"),
        (
            "vendors/aicc/mod.rs",
            "use crate::vendors::genesys::Genesys;",
        ),
        ("vendors/aicc/mod.rs", "use super::genesys::Genesys;"),
        ("vendors/aicc/wire.rs", "use crate::telemetry::Metrics;"),
        ("vendors/aicc/a/b.rs", "use super::super::super::genesys;"),
        ("sandbox/http/mod.rs", "use crate::upstream::error::Error;"),
        ("sandbox/mod.rs", "use crate::pb;"),
        ("sandbox/tour.rs", "use crate::vendors::aicc;"),
        ("telemetry/client.rs", "use crate::upstream::error::Error;"),
        ("admin/mod.rs", "use crate::grpc::Health;"),
        ("admin/mod.rs", "use crate::settings::Section;"),
        ("telemetry/mod.rs", "use crate::settings::Section;"),
        ("config/server.rs", "use crate::grpc::Facades;"),
        ("app/options.rs", "use crate::sandbox::Sandbox;"),
        ("commands/check.rs", "use crate::grpc::Facades;"),
        ("lifecycle.rs", "use crate::settings;"),
        ("settings/yaml.rs", "use crate::upstream::settings;"),
        ("app.rs", "use reqwest;"),
        (
            "grpc/shed.rs",
            "use crate::{\n    pb,\n    upstream::{error::Error, stack},\n    vendors::aicc,\n};",
        ),
    ];
    for (path, line) in planted {
        assert_eq!(breaches(path, line), 1, "{path}: {line}");
    }
}

#[test]
fn what_is_allowed_is_not_taken_for_a_breach() {
    let allowed = [
        ("upstream/transport.rs", "use reqwest::Client;"),
        ("upstream/transport/document.rs", "use reqwest::Client;"),
        ("upstream/secret.rs", "use crate::settings::Section;"),
        ("upstream/a/b.rs", "use super::super::error::Error;"),
        ("vendors/aicc/mod.rs", "use crate::{grpc::Facades, pb};"),
        ("vendors/aicc/a.rs", "use crate::vendors::aicc::wire;"),
        ("sandbox/http/mod.rs", "pub(in crate::sandbox) fn f() {}"),
        ("sandbox/tour.rs", "use crate::pb::Outcome;"),
        ("upstream/mod.rs", "//! Like crate::pb and tonic::Status."),
        ("upstream/mod.rs", "let crate_name = format_tonic(x);"),
        (
            "upstream/retry.rs",
            "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use crate::pb;\n}",
        ),
        ("app.rs", "use crate::{grpc, vendors::aicc};"),
    ];
    for (path, line) in allowed {
        assert_eq!(breaches(path, line), 0, "{path}: {line}");
    }
}
