//! A secret in a file, read again when the file changes.
//!
//! Reading is for logins; in between, [`Secret::version`] tells cheaply whether another login is
//! due. Take the version first and then read: then a file that changes in between costs one
//! login too many, and never leaves an old secret in use.

use std::{
    fmt,
    fs::{self, Metadata},
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use thiserror::Error;
use tokio::time::Instant;

use super::files::{self, FileError};

/// No password is this long; a file that is has been named by mistake.
const MAX_BYTES: usize = 64 * 1024;

/// What some editors put before a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// How often the file is looked at, however often calls ask.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A secret in a file, or a fixed one for the sandbox and for tests.
#[derive(Clone)]
pub struct Secret(Source);

#[derive(Clone)]
enum Source {
    File(Arc<Watched>),
    Fixed(SecretString),
}

struct Watched {
    path: PathBuf,
    seen: Mutex<Option<(Instant, Version)>>,
}

/// What a file looked like from outside. Two versions that differ mean that it was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version(Option<(SystemTime, u64, u64)>);

/// Why there is no secret to be had; never a word of its contents.
#[derive(Debug, Error)]
pub enum SecretError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    #[error("{} is longer than 64 KiB", .0.display())]
    TooLong(PathBuf),
    #[error("{} is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    #[error(
        "{} holds what no secret does: a control character, such as a second newline, or a byte order mark",
        .0.display()
    )]
    NotALine(PathBuf),
}

impl Secret {
    pub fn file(path: PathBuf) -> Self {
        let seen = Mutex::new(None);
        Self(Source::File(Arc::new(Watched { path, seen })))
    }

    pub fn fixed(value: impl Into<String>) -> Self {
        Self(Source::Fixed(SecretString::from(value.into())))
    }

    /// The file it comes from; `None` for a fixed one.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Source::File(watched) => Some(&watched.path),
            Source::Fixed(_) => None,
        }
    }

    /// Reads the file afresh. One newline at its end is the editor's and not the secret's. What else
    /// nobody types is a slip: a vendor would take it for a wrong secret, and count it.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let secret = self.read_lines()?;
        let text = secret.expose_secret();
        match self.path() {
            Some(path) if text.contains(char::is_control) || text.starts_with(BYTE_ORDER_MARK) => {
                Err(SecretError::NotALine(path.to_owned()))
            }
            _ => Ok(secret),
        }
    }

    /// The same of a secret that has lines, as a key in PEM has.
    pub fn read_lines(&self) -> Result<SecretString, SecretError> {
        match &self.0 {
            Source::File(watched) => read(&watched.path),
            Source::Fixed(value) => Ok(value.clone()),
        }
    }

    /// Changes when the file does, within a second.
    pub fn version(&self) -> Version {
        self.seen_within(LOOK_AGAIN)
    }

    /// The same, as of now.
    pub fn look(&self) -> Version {
        self.seen_within(Duration::ZERO)
    }

    fn seen_within(&self, age: Duration) -> Version {
        match &self.0 {
            Source::File(watched) => watched.version(age),
            Source::Fixed(_) => Version::default(),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path() {
            Some(path) => write!(f, "Secret({})", path.display()),
            None => f.write_str("Secret(*****)"),
        }
    }
}

impl Watched {
    fn version(&self, age: Duration) -> Version {
        // Whoever panicked here left a version that is at worst a little old.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let before = match *seen {
            Some((at, version)) if now < at + age => return version,
            Some((_, version)) => version,
            None => Version::default(),
        };
        // A file that is gone for the moment is no new secret: what was read of it still holds.
        let version = fs::metadata(&self.path).map_or(before, |it| Version::of(&it));
        *seen = Some((now, version));
        version
    }
}

impl Version {
    /// Of the file at the end of all links: Kubernetes changes a secret by turning a link, and two
    /// versions of it may well have one length and one time. Hence the inode.
    fn of(metadata: &Metadata) -> Self {
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Self(Some((modified, metadata.len(), inode(metadata))))
    }

    /// Versions of different numbers differ.
    #[cfg(test)]
    pub(super) fn numbered(number: u64) -> Self {
        Self(Some((SystemTime::UNIX_EPOCH, number, 0)))
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

fn read(path: &Path) -> Result<SecretString, SecretError> {
    // Room for all there can be, for a vector that grows leaves copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 2));
    files::open(path)?
        .take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(files::unreadable(path))?;
    if bytes.len() > MAX_BYTES {
        return Err(SecretError::TooLong(path.to_owned()));
    }
    let text = str::from_utf8(&bytes).map_err(|_| SecretError::NotText(path.to_owned()))?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    match line
        .strip_suffix('\r')
        .filter(|_| line.len() < text.len())
        .unwrap_or(line)
    {
        "" => Err(SecretError::Empty(path.to_owned())),
        secret => Ok(SecretString::from(secret)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::testing::Dir;

    #[test]
    fn one_newline_is_no_part_of_it() {
        let dir = Dir::new();
        for (contents, secret) in [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            ("hunter2\r\n", "hunter2"),
            (" hunter2 \n", " hunter2 "),
            ("pässword\n", "pässword"),
        ] {
            let read = Secret::file(dir.write("secret", contents)).read().unwrap();
            assert_eq!(read.expose_secret(), secret, "{contents:?}");
        }
        let key = Secret::file(dir.write("key", "one\r\ntwo\n\n"));
        assert_eq!(key.read_lines().unwrap().expose_secret(), "one\r\ntwo\n");
    }

    #[test]
    fn what_can_be_no_secret_is_refused_without_a_word_of_it() {
        let dir = Dir::new();
        let long = "hunter2".repeat(MAX_BYTES / 7 + 1);
        let slip = "holds what no secret does: a control character, such as a second newline, or a byte \
                    order mark";
        for (contents, reason) in [
            (&b"hunter2\n\n"[..], slip),
            (b"hunter2\r", slip),
            (b"user\thunter2", slip),
            (b"\xef\xbb\xbfhunter2\n", slip),
            (b"", "is empty"),
            (b"\n", "is empty"),
            (b"\r\n", "is empty"),
            (b"hunter2\xff", "is not UTF-8 text"),
            (long.as_bytes(), "is longer than 64 KiB"),
        ] {
            let path = dir.write("secret", contents);
            let error = Secret::file(path.clone()).read().unwrap_err();
            assert_eq!(error.to_string(), format!("{} {reason}", path.display()));
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let dir = Dir::new();
        let error = Secret::file(dir.path("gone"))
            .read()
            .unwrap_err()
            .to_string();
        let start = format!("cannot read {}: ", dir.path("gone").display());
        assert!(error.starts_with(&start), "{error}");
        let error = Secret::file(dir.path("")).read().unwrap_err().to_string();
        assert!(error.ends_with("is not a regular file"), "{error}");
    }

    #[test]
    fn as_much_as_fits_is_read() {
        let dir = Dir::new();
        let path = dir.write("secret", "x".repeat(MAX_BYTES));
        let read = Secret::file(path).read().unwrap();
        assert_eq!(read.expose_secret().len(), MAX_BYTES);
    }

    #[test]
    fn debug_prints_nothing_of_it() {
        let dir = Dir::new();
        let file = Secret::file(dir.write("secret", "hunter2"));
        let read = file.read().unwrap();
        file.version();
        for secret in [
            format!("{:#?}", Secret::fixed("hunter2")),
            format!("{file:?}"),
            format!("{read:?}"),
        ] {
            assert!(!secret.contains("hunter2"), "{secret}");
        }
        assert_eq!(
            Secret::fixed("hunter2").read().unwrap().expose_secret(),
            "hunter2"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn another_version_is_seen_within_a_second() {
        let dir = Dir::new();
        let secret = Secret::file(dir.write("secret", "hunter2"));
        let first = secret.version();
        dir.write("secret", "hunter22");
        assert_eq!(secret.version(), first, "looked at again too early");
        tokio::time::advance(LOOK_AGAIN).await;
        assert_ne!(secret.version(), first);
        assert_eq!(secret.read().unwrap().expose_secret(), "hunter22");
    }

    #[tokio::test(start_paused = true)]
    async fn who_looks_now_sees_at_once_and_so_does_everybody_after() {
        let dir = Dir::new();
        let secret = Secret::file(dir.write("secret", "hunter2"));
        let first = secret.version();
        dir.write("secret", "hunter22");
        let now = secret.look();
        assert_ne!(now, first);
        assert_eq!(secret.version(), now);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_gone_is_no_new_version() {
        let dir = Dir::new();
        let secret = Secret::file(dir.write("secret", "hunter2"));
        let first = secret.version();
        fs::remove_file(dir.path("secret")).unwrap();
        tokio::time::advance(LOOK_AGAIN).await;
        assert_eq!(secret.version(), first);
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn a_turned_link_is_a_new_version() {
        use std::os::unix::fs::symlink;
        let dir = Dir::new();
        symlink(dir.write("one", "hunter1"), dir.path("link")).unwrap();
        let secret = Secret::file(dir.path("link"));
        let first = secret.version();
        symlink(dir.write("two", "hunter2"), dir.path("next")).unwrap();
        fs::rename(dir.path("next"), dir.path("link")).unwrap();
        tokio::time::advance(LOOK_AGAIN).await;
        assert_ne!(secret.version(), first);
        assert_eq!(secret.read().unwrap().expose_secret(), "hunter2");
    }

    #[tokio::test]
    async fn a_fixed_one_never_changes() {
        assert_eq!(Secret::fixed("a").version(), Secret::fixed("b").version());
    }
}
