//! Two columns of text.

use std::io::{self, Write};

use serde_json::Value;

/// The characters of each column: the longest line of the tour fits unbroken.
const COLUMN: usize = 62;

/// Collects rows, and prints them with a rule between the columns.
pub(super) struct Page {
    title: String,
    lines: Vec<(String, String)>,
}

impl Page {
    pub(super) fn new(title: &str) -> Self {
        Page {
            title: title.to_owned(),
            lines: Vec::new(),
        }
    }

    pub(super) fn heading(&mut self, left: &str, right: &str) {
        let underlined = |text: &str| format!("{text}\n{}", "-".repeat(text.len()));
        self.row(&underlined(left), &underlined(right));
    }

    pub(super) fn row(&mut self, left: &str, right: &str) {
        let (mut left, mut right) = (wrapped(left), wrapped(right));
        let height = left.len().max(right.len());
        left.resize(height, String::new());
        right.resize(height, String::new());
        self.lines.extend(left.into_iter().zip(right));
    }

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}\n", self.title)?;
        for (left, right) in &self.lines {
            let line = format!("  {left:COLUMN$} | {right}");
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Indented JSON.
pub(super) fn json(value: &Value) -> String {
    format!("{value:#}")
}

/// A body as indented JSON where it is JSON, else as it is.
pub(super) fn body(bytes: &[u8]) -> String {
    match serde_json::from_slice(bytes) {
        Ok(value) => json(&value),
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// The lines of a text, long ones broken.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let characters: Vec<char> = line.chars().collect();
        let pieces = characters
            .chunks(COLUMN)
            .map(|piece| piece.iter().collect());
        lines.extend(pieces);
        if characters.is_empty() {
            lines.push(String::new());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_high_as_the_higher_and_long_lines_break() {
        let mut page = Page::new("title");
        page.row(&"x".repeat(COLUMN + 3), "one");
        let mut printed = Vec::new();
        page.print(&mut printed).unwrap();
        let text = String::from_utf8(printed).unwrap();
        let expected = format!(
            "title\n\n  {} | one\n  {:COLUMN$} |\n",
            "x".repeat(COLUMN),
            "xxx"
        );
        assert_eq!(text, expected);
    }
}
