//! Files of the operator: opening them, reading those that are not secret, such as certificates
//! and lists, and what it takes to follow them while they change.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};

/// Lists of revoked certificates grow; one beyond this has been named by mistake.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// How often files that may change are looked at.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {}: {why}", path.display())]
    Unreadable { path: PathBuf, why: io::Error },
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    #[error("{} is longer than 16 MiB", .0.display())]
    TooLong(PathBuf),
}

/// Opens what is a regular file: to open a pipe that nobody writes to would wait for ever.
pub fn open(path: &Path) -> Result<File, FileError> {
    let unreadable = unreadable(path);
    match fs::metadata(path) {
        Ok(it) if it.is_file() => File::open(path).map_err(unreadable),
        Ok(_) => Err(FileError::NotAFile(path.to_owned())),
        Err(why) => Err(unreadable(why)),
    }
}

pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable(path))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(FileError::TooLong(path.to_owned()));
    }
    Ok(bytes)
}

pub(super) fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> FileError {
    |why| FileError::Unreadable {
        path: path.to_owned(),
        why,
    }
}

/// Tells one set of contents from another. What was read is compared, since neither times nor
/// inodes tell of every change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Print(Vec<u8>);

impl Print {
    /// Of parts that are always given in one order; one that is not there is as good as empty.
    pub fn of<'a>(parts: impl IntoIterator<Item = Option<&'a [u8]>>) -> Self {
        let mut print = Context::new(&SHA256);
        for part in parts.into_iter().map(Option::unwrap_or_default) {
            print.update(&(part.len() as u64).to_be_bytes());
            print.update(part);
        }
        Print(print.finish().as_ref().to_vec())
    }
}

/// What the last look found. Files are written one after the other and each in parts, and a part
/// may well look like a whole: so contents count once two looks in a row found them.
#[derive(Debug, Default)]
pub struct Settling(Option<Print>);

impl Settling {
    /// Whether the look before this one found the same.
    pub fn is_settled(&mut self, found: &Print) -> bool {
        self.0.replace(found.clone()).as_ref() == Some(found)
    }
}

/// What was complained of last, so that it is said once for as long as it lasts.
#[derive(Debug, Default)]
pub struct Complaint(Option<String>);

impl Complaint {
    /// Whether it is not what was complained of just before.
    pub fn is_new(&mut self, error: &str) -> bool {
        let new = self.0.as_deref() != Some(error);
        self.0 = Some(error.to_owned());
        new
    }

    /// All is well again.
    pub fn is_over(&mut self) {
        self.0 = None;
    }

    pub fn lasts(&self) -> bool {
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_that_moved_from_part_to_part_are_others() {
        let print = |a: Option<&'static str>, b: Option<&'static str>| {
            Print::of([a, b].map(|it| it.map(str::as_bytes)))
        };
        assert_eq!(print(Some("a"), Some("b")), print(Some("a"), Some("b")));
        assert_ne!(print(Some("ab"), None), print(Some("a"), Some("b")));
        assert_ne!(print(Some("a"), None), print(None, Some("a")));
    }

    #[test]
    fn what_two_looks_in_a_row_found_is_settled() {
        let mut settling = Settling::default();
        for (found, settled) in [
            ("a", false),
            ("a", true),
            ("b", false),
            ("a", false),
            ("a", true),
        ] {
            let found = Print::of([Some(found.as_bytes())]);
            assert_eq!(settling.is_settled(&found), settled, "{found:?}");
        }
    }

    #[test]
    fn a_complaint_is_new_once_until_it_is_over() {
        let mut complaint = Complaint::default();
        assert!(!complaint.lasts());
        for (error, new) in [("a", true), ("a", false), ("b", true), ("a", true)] {
            assert_eq!(complaint.is_new(error), new, "{error}");
            assert!(complaint.lasts());
        }
        complaint.is_over();
        assert!(!complaint.lasts() && complaint.is_new("a"));
    }
}
