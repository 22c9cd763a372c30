//! Entrances for the fuzzer: whatever reads a stranger's bytes must neither panic nor hang on any.
//! Built for it and for the tests only, which feed its corpus through.
//!
//! Every name is that of a target in `fuzz/`, and of a folder in `fuzz/corpus/`.

use crate::{config, grpc, vendors};

/// Answers of Genesys's CometD server.
pub fn bayeux(bytes: &[u8]) {
    vendors::genesys::fuzzing::notifications(bytes);
}

/// Answers of Genesys to calls.
pub fn sessions(bytes: &[u8]) {
    vendors::genesys::fuzzing::answer(bytes);
}

/// Answers of Genesys to logins, with their cookies.
pub fn genesys_login(bytes: &[u8]) {
    vendors::genesys::fuzzing::login(bytes);
}

/// User data of callers, as it arrives and as it goes out.
pub fn user_data(bytes: &[u8]) {
    vendors::genesys::fuzzing::user_data(bytes);
}

/// Answers of AICC, to calls and to logins.
pub fn aicc(bytes: &[u8]) {
    vendors::aicc::fuzzing::answer(bytes);
}

/// What callers say beside their messages.
pub fn metadata(bytes: &[u8]) {
    grpc::fuzzing::metadata(bytes);
}

/// What is kept of a write in a Redis that others can write to.
pub fn kept(bytes: &[u8]) {
    grpc::fuzzing::kept(bytes);
}

/// The operator's file.
pub fn configuration(bytes: &[u8]) {
    config::fuzzing::file(bytes);
}

#[cfg(test)]
mod tests {
    use std::fs;

    type Target = (&'static str, fn(&[u8]));

    const TARGETS: [Target; 8] = [
        ("bayeux", super::bayeux),
        ("sessions", super::sessions),
        ("genesys_login", super::genesys_login),
        ("user_data", super::user_data),
        ("aicc", super::aicc),
        ("metadata", super::metadata),
        ("kept", super::kept),
        ("configuration", super::configuration),
    ];

    /// Nothing here builds the targets themselves, as that wants the fuzzer's own flags.
    #[test]
    fn each_entrance_is_that_of_a_target_that_is_built() {
        let fuzz = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");
        let manifest = fs::read_to_string(format!("{fuzz}/Cargo.toml")).unwrap();
        let sources = fs::read_dir(format!("{fuzz}/fuzz_targets")).unwrap();
        assert_eq!(sources.count(), TARGETS.len());
        for (name, _) in TARGETS {
            let path = format!("fuzz_targets/{name}.rs");
            assert!(manifest.contains(&format!("path = \"{path}\"")), "{name}");
            let source = fs::read_to_string(format!("{fuzz}/{path}")).unwrap();
            let fed = format!("|bytes: &[u8]| switchboard::fuzzing::{name}(bytes)");
            assert!(source.contains(&fed), "{name}: {source}");
        }
    }

    /// What the fuzzer begins with, and what it once found.
    #[test]
    fn the_corpus_is_survived() {
        for (name, target) in TARGETS {
            let corpus = format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
            let mut fed = 0;
            for entry in fs::read_dir(corpus).unwrap() {
                target(&fs::read(entry.unwrap().path()).unwrap());
                fed += 1;
            }
            assert!(fed >= 2, "{name}");
        }
    }
}
