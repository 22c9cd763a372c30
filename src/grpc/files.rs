//! Files of the operator that are not secret: certificates, lists, keys to verify by.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Lists of revoked certificates grow; one beyond this has been named by mistake.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {}: {why}", path.display())]
    Unreadable { path: PathBuf, why: io::Error },
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    #[error("{} is longer than 16 MiB", .0.display())]
    TooLong(PathBuf),
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let unreadable = |why| FileError::Unreadable {
        path: path.to_owned(),
        why,
    };
    // Asked before it is opened: to open a pipe that nobody writes to would wait for ever.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(FileError::TooLong(path.to_owned()));
    }
    Ok(bytes)
}
