//! What the documents list is what there is: settings with their defaults, reasons of errors with
//! their codes, lines of the log, panels, and what links lead to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderName};
use switchboard::config::Config;
use switchboard::pb::ErrorReason;
use switchboard::telemetry::server::Code;

use crate::support::dir::Dir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The rows of a document's tables, as cells.
fn rows(document: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = document.lines().filter_map(|line| line.strip_prefix('|'));
    rows.map(|row| row.trim_end_matches('|').split(" | ").collect())
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What stands in backticks in the first cells of a section's tables.
fn told(path: &str, head: &str) -> BTreeSet<String> {
    let document = document(path);
    let section = document.split("\n## ").find(|it| it.starts_with(head));
    let cells = rows(section.unwrap()).map(|row| row[0]);
    cells.flat_map(quoted).map(str::to_owned).collect()
}

/// A file that names all that has to be named, and nothing else.
fn least(dir: &Dir) -> String {
    let file = dir.write("file", "x").display().to_string();
    format!(
        "server:\n  \
           tls: {{ cert_file: {file}, key_file: {file} }}\n  \
           jwt: {{ issuer: i, audiences: [a], jwks_file: {file} }}\n\
         genesys:\n  \
           base_url: https://gws.example.com\n  \
           accounts: {{ NAME: {{ username: u, password_file: {file} }} }}\n\
         aicc:\n  \
           base_url: https://aicc.example.com\n  \
           accounts: {{ NAME: {{ app_key: k, app_secret_file: {file} }} }}\n"
    )
}

/// The configuration in force, as `check` prints it.
fn effective(dir: &Dir, variable: Option<&(String, String)>) -> String {
    let file = dir.write("switchboard.yaml", &least(dir));
    let config = Config::load(&file, variable.cloned().into_iter());
    let config = config.unwrap_or_else(|error| panic!("{variable:?}: {error}"));
    config.to_yaml()
}

/// Every key of a printed configuration, in full.
fn printed_keys(yaml: &str) -> BTreeSet<String> {
    let mut path: Vec<&str> = Vec::new();
    let mut keys = BTreeSet::new();
    for line in yaml.lines() {
        let name = line.trim_start();
        let depth = (line.len() - name.len()) / 2;
        let (name, value) = name.split_once(':').unwrap();
        path.truncate(depth);
        path.push(name.trim_matches('"'));
        if !value.is_empty() {
            keys.insert(path.join("."));
        }
    }
    keys
}

/// The keys of a row, in full: `.key_file` is one beside the key before it, and what is in no
/// section is in both vendors'.
fn listed_keys(cell: &str) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for word in quoted(cell) {
        let beside = word.strip_prefix('.').zip(keys.last());
        keys.push(match beside {
            Some((name, before)) => format!("{}.{name}", before.rsplit_once('.').unwrap().0),
            None => word.to_owned(),
        });
    }
    let sections = ["server.", "policy", "log.", "dedupe.", "genesys.", "aicc."];
    let of_both = |key: &String| !sections.iter().any(|section| key.starts_with(section));
    keys.into_iter()
        .flat_map(|key| match of_both(&key) {
            true => vec![format!("genesys.{key}"), format!("aicc.{key}")],
            false => vec![key],
        })
        .collect()
}

/// A default as a variable has it; `None` where the cell has words instead, as for what is required.
fn default(cell: &str) -> Option<&str> {
    match cell {
        "none" => Some(""),
        // It follows another key.
        cell if cell.starts_with("`base_url`") => None,
        cell if cell.starts_with('`') => quoted(cell).next(),
        _ => None,
    }
}

#[test]
fn every_setting_is_listed_with_its_default() {
    let dir = Dir::new();
    let plain = effective(&dir, None);
    let mut listed = BTreeSet::new();
    let mut compared = 0;
    let document = document("docs/CONFIGURATION.md");
    let settings = rows(&document).filter(|row| row[0].starts_with(" `"));
    for row in settings {
        for key in listed_keys(row[0]) {
            if let Some(default) = default(row[1]) {
                let variable = format!("SWITCHBOARD__{}", key.to_uppercase().replace('.', "__"));
                let set = effective(&dir, Some(&(variable, default.to_owned())));
                assert_eq!(
                    set, plain,
                    "{key}: {default:?} is not what holds without it"
                );
                compared += 1;
            }
            assert!(listed.insert(key.clone()), "{key} is listed twice");
        }
    }
    assert_eq!(listed, printed_keys(&plain));
    assert!(compared > 50, "compared {compared} defaults only");
}

/// Names of gRPC's codes of failures in a text.
fn codes(text: &str) -> BTreeSet<&str> {
    let name = |number: u16| {
        let status =
            HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), number.into())]);
        Code::of(&status).unwrap().name()
    };
    let names: BTreeSet<_> = (1..=16).map(name).collect();
    let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
    words.filter(|word| names.contains(word)).collect()
}

/// The reasons of the protos, with the codes that their comments begin with.
fn reasons(proto: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut comment = (0, 0);
    let mut reasons = BTreeMap::new();
    let mut at = 0;
    for line in proto.lines() {
        let (begin, end) = (at, at + line.len());
        at = end + 1;
        let text = line.trim_start();
        if text.starts_with("//") {
            comment = match comment.1 + 1 == begin {
                true => (comment.0, end),
                false => (begin, end),
            };
        }
        let value = text.strip_prefix("ERROR_REASON_");
        if let Some((name, _)) = value.and_then(|value| value.split_once(" = ")) {
            let said = &proto[comment.0..comment.1];
            reasons.insert(name, codes(said.split('.').next().unwrap()));
        }
    }
    reasons.remove("UNSPECIFIED");
    reasons
}

#[test]
fn every_reason_is_listed_with_its_codes_and_with_what_to_do() {
    let proto = document("proto/contactcenter/v1/errors.proto");
    let (errors, clients) = (document("docs/ERRORS.md"), document("docs/CLIENTS.md"));
    let reasons = reasons(&proto);
    let all = (1..).map_while(|number| ErrorReason::try_from(number).ok());
    assert_eq!(reasons.len(), all.count());
    let is_reason = |word: &&str| !word.contains(|c: char| !c.is_ascii_uppercase() && c != '_');

    let mut listed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut of_row: Vec<&str> = Vec::new();
    for row in rows(&errors) {
        let named: Vec<_> = quoted(row[0]).filter(is_reason).collect();
        if !named.is_empty() {
            of_row = named;
        } else if !row[0].trim().is_empty() {
            // Of another table.
            of_row.clear();
        }
        for reason in &of_row {
            listed.entry(reason).or_default().extend(codes(row[1]));
        }
    }
    for (reason, codes) in &reasons {
        // Of those the library chooses.
        if *reason != "INVALID_MESSAGE" {
            assert_eq!(listed.get(reason), Some(codes), "{reason}");
        }
    }
    assert!(listed.keys().eq(reasons.keys()), "{listed:?}");

    let told = rows(&clients).flat_map(|row| quoted(row[0]).filter(is_reason).collect::<Vec<_>>());
    let told: BTreeSet<_> = told.collect();
    assert!(told.iter().eq(reasons.keys()), "{told:?}");
}

/// All files below a folder whose names end so, but for what is fetched, made or a test.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    const NOT: [&str; 8] = [
        ".git",
        ".venv",
        "gen",
        "node_modules",
        "target",
        "testing",
        "tests",
        "tests.rs",
    ];
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if NOT.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) && !name.ends_with("_tests.rs") {
            found.push(path);
        }
    }
    found
}

/// Up to the parenthesis that closes the one before.
fn arguments(code: &str) -> &str {
    let (mut depth, mut in_text) = (0, false);
    let end = code.find(|c| {
        match c {
            '"' => in_text = !in_text,
            '(' if !in_text => depth += 1,
            ')' if !in_text => depth -= 1,
            _ => {}
        }
        depth < 0
    });
    &code[..end.expect("code is balanced")]
}

/// The message of an event: of its arguments the text that is no field's. Cut where a value is put in.
fn message(event: &str) -> Option<&str> {
    let mut literals = event.match_indices('"').map(|(at, _)| at);
    let mut found = None;
    while let (Some(begin), Some(end)) = (literals.next(), literals.next()) {
        let before = event[..begin].trim_end();
        if before.is_empty() || before.ends_with(',') {
            found = event[begin + 1..end].split('{').next();
        }
    }
    found
}

#[test]
fn every_line_of_the_log_that_warns_is_in_the_runbook() {
    let mut said = BTreeSet::new();
    for file in files(&root().join("src"), ".rs") {
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        for macros in ["tracing::warn!(", "tracing::error!("] {
            for (at, _) in code.match_indices(macros) {
                let event = arguments(&code[at + macros.len()..]);
                said.insert(
                    message(event)
                        .unwrap_or_else(|| panic!("{event}"))
                        .to_owned(),
                );
            }
        }
    }
    assert!(said.len() > 20, "{said:?}");
    let told = told("docs/RUNBOOK.md", "Lines of the log");
    let lacking: Vec<_> = said.difference(&told).collect();
    let gone: Vec<_> = told.difference(&said).collect();
    assert!(lacking.is_empty(), "not in the runbook: {lacking:?}");
    assert!(gone.is_empty(), "said by nobody: {gone:?}");
}

/// The titles of a dashboard's panels, those within rows, too.
fn titles(panels: &serde_json::Value, found: &mut BTreeSet<String>) {
    for panel in panels["panels"].as_array().into_iter().flatten() {
        found.extend(panel["title"].as_str().map(str::to_owned));
        titles(panel, found);
    }
}

#[test]
fn every_panel_that_the_runbook_names_is_on_the_dashboard() {
    let dashboard = document("helm/switchboard/files/dashboard.json");
    let mut panels = BTreeSet::new();
    titles(&serde_json::from_str(&dashboard).unwrap(), &mut panels);
    let runbook = document("docs/RUNBOOK.md");
    // A name may go over the end of a line.
    let lines: Vec<_> = prose(&runbook).into_iter().map(str::trim).collect();
    let lines = lines.join(" ");
    let bold = lines.split("**").skip(1).step_by(2);
    let named: BTreeSet<_> = bold.filter(|it| !it.ends_with('.')).collect();
    assert!(named.len() > 10, "{named:?}");
    let gone: Vec<_> = named.iter().filter(|it| !panels.contains(**it)).collect();
    assert!(gone.is_empty(), "on no dashboard: {gone:?}");
}

#[test]
fn every_kind_of_failure_is_explained() {
    let source = document("src/upstream/error.rs");
    let label = source.split("fn label(").nth(1).unwrap();
    let label = label.split("\n    }\n").next().unwrap();
    let words = label.split('"').skip(1).step_by(2);
    let words: BTreeSet<_> = words.map(str::to_owned).collect();
    assert!(words.len() > 10, "{words:?}");
    assert_eq!(told("docs/METRICS.md", "Kinds of failure"), words);
}

/// The names by which a document's sections are linked to.
fn anchors(document: &str) -> BTreeSet<String> {
    let heads = prose(document).into_iter();
    let heads = heads.filter(|line| line.starts_with('#'));
    let heads = heads.map(|line| line.trim_start_matches('#').trim());
    let plain = |c: char| c.is_alphanumeric() || "-_ ".contains(c);
    let slug = |head: &str| -> String {
        let kept = head
            .to_lowercase()
            .chars()
            .filter(|c| plain(*c))
            .collect::<String>();
        kept.replace(' ', "-")
    };
    heads.map(slug).collect()
}

/// The lines of a document that are no code.
fn prose(document: &str) -> Vec<&str> {
    let mut code = false;
    let lines = document.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    });
    lines.collect()
}

#[test]
fn every_link_and_every_path_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut followed = 0;
    for file in files(root(), ".md") {
        let text = fs::read_to_string(&file).unwrap();
        let mut broken = |what: &str| wrong.push(format!("{}: {what}", file.display()));
        for line in prose(&text) {
            let links = line
                .split("](")
                .skip(1)
                .map(|it| it.split(')').next().unwrap());
            for link in links.filter(|link| !link.contains("://")) {
                followed += 1;
                let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
                let target = match path {
                    "" => file.clone(),
                    path => file.parent().unwrap().join(path),
                };
                let there = target.exists()
                    && (anchor.is_empty()
                        || anchors(&fs::read_to_string(&target).unwrap()).contains(anchor));
                if !there {
                    broken(link);
                }
            }
            let of_ours = |word: &&str| {
                let folders = [
                    "src/",
                    "tests/",
                    "docs/",
                    "scripts/",
                    "benches/",
                    "helm/",
                    "examples/",
                ];
                folders.iter().any(|folder| word.starts_with(folder))
                    && !word.contains(|c: char| " <*{=".contains(c))
            };
            for path in quoted(line).filter(of_ours) {
                followed += 1;
                if !root().join(path).exists() {
                    broken(path);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(followed > 200, "followed {followed} only");
}
