//! Reads a tree of settings, collecting every problem instead of stopping at the first.
//!
//! An operator who has made five mistakes should learn of five, not of one per restart. serde
//! stops at the first, so the tree (a YAML file with the environment laid over it, see
//! [`layers`]) is read through [`Section`]s: each key is taken by name and type, what is wrong
//! with it goes to [`Problems`], and what nobody has taken is an unknown key.
//!
//! Values are echoed only for types that can hold no secret (numbers, durations, addresses and
//! the like), and never for unknown keys: somebody may have written `password: hunter2`.

mod extent;
mod hint;
pub mod layers;
mod leaf;
mod section;
#[cfg(test)]
pub(crate) mod testing;
mod units;
pub mod yaml;

use std::fmt;

pub use leaf::Leaf;
pub use section::Section;
pub use units::{ByteSize, format_duration};

/// One thing wrong with the settings, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub path: String,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// The problems met so far, in the order in which they were met.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub fn push(&mut self, path: impl Into<String>, message: impl Into<String>) {
        // A problem is a line, whatever is in the name of a key or of a file.
        let line = |text: String| text.replace(char::is_control, "\u{fffd}");
        let (path, message) = (line(path.into()), line(message.into()));
        self.0.push(Problem { path, message });
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}

#[cfg(test)]
mod tests;
