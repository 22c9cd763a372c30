//! For tests: settings without files, and a directory of a test's own, gone with it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use super::{Problem, Problems, Section, layers};

/// Reads settings as from a file with this text and an environment with these variables.
pub(crate) fn read<T>(
    text: &str,
    variables: &[(&str, &str)],
    read: impl FnOnce(&mut Section<'_>) -> T,
) -> (T, Vec<String>) {
    let mut problems = Problems::default();
    let mut table = layers::parse(text).unwrap();
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    layers::overlay(&mut table, variables.iter().map(owned), &mut problems);
    let it = Section::root(table, &mut problems, read);
    (
        it,
        problems.into_vec().iter().map(Problem::to_string).collect(),
    )
}

pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("switchboard-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), contents).unwrap();
        self.path(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
