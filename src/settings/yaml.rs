//! Writes settings as YAML that reads back as the same settings.
//!
//! yaml-rust2 has an emitter, but it leaves some texts bare that its own parser takes for numbers
//! (`0o17`, `+.inf`).

use std::{
    fmt::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use url::Url;

use super::{ByteSize, format_duration};

/// A value to be written.
#[derive(Debug)]
pub enum Node {
    Null,
    /// Anything that needs no quotes: numbers, booleans, durations.
    Bare(String),
    Text(String),
    List(Vec<String>),
    Map(Vec<(String, Node)>),
    /// A list of mappings.
    Maps(Vec<Node>),
}

/// A mapping in the order given.
pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Node)>) -> Node {
    let entries = entries.into_iter();
    Node::Map(entries.map(|(key, node)| (key.into(), node)).collect())
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_node(f, self, 0)
    }
}

fn write_node(f: &mut impl Write, node: &Node, depth: usize) -> fmt::Result {
    match node {
        Node::Null => f.write_str("null\n"),
        Node::Bare(text) => writeln!(f, "{text}"),
        Node::Text(text) => writeln!(f, "{}", quoted(text)),
        Node::List(items) => {
            let items: Vec<String> = items.iter().map(|item| json(item)).collect();
            writeln!(f, "[{}]", items.join(", "))
        }
        Node::Map(entries) if entries.is_empty() => f.write_str("{}\n"),
        Node::Maps(items) if items.is_empty() => f.write_str("[]\n"),
        Node::Maps(items) => items.iter().try_for_each(|item| {
            writeln!(f, "{:1$}-", "", depth * 2)?;
            write_node(f, item, depth + 1)
        }),
        Node::Map(entries) => entries.iter().try_for_each(|(key, inner)| {
            write!(f, "{:1$}{2}:", "", depth * 2, quoted(key))?;
            let block = match inner {
                Node::Map(entries) => !entries.is_empty(),
                Node::Maps(items) => !items.is_empty(),
                _ => false,
            };
            f.write_char(if block { '\n' } else { ' ' })?;
            write_node(f, inner, depth + 1)
        }),
    }
}

/// Words, paths and URLs as they are; everything else, and what YAML of any version takes for
/// something other than text, in double quotes.
fn quoted(text: &str) -> String {
    const NOT_TEXT: [&str; 11] = [
        "true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf",
    ];
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let ends_well = !text.ends_with(':');
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    let word = NOT_TEXT.contains(&text.to_ascii_lowercase().as_str());
    if starts_well && ends_well && !word && text.chars().all(plain) {
        text.to_owned()
    } else {
        json(text)
    }
}

/// A JSON string is a YAML string in double quotes.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

macro_rules! bare {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Node {
            fn from(it: $kind) -> Self {
                Node::Bare(it.to_string())
            }
        }
    )*};
}
bare!(bool, u32, u64, usize, ByteSize);

impl From<Duration> for Node {
    fn from(it: Duration) -> Self {
        Node::Bare(format_duration(it))
    }
}

impl From<&str> for Node {
    fn from(it: &str) -> Self {
        Node::Text(it.to_owned())
    }
}

impl From<SocketAddr> for Node {
    fn from(it: SocketAddr) -> Self {
        Node::Text(it.to_string())
    }
}

impl From<&Url> for Node {
    /// `Url` writes the root path that nobody has written.
    fn from(it: &Url) -> Self {
        match &it[url::Position::BeforePath..] {
            "/" => Node::Text(it.as_str().trim_end_matches('/').to_owned()),
            _ => Node::Text(it.as_str().to_owned()),
        }
    }
}

impl From<&Option<PathBuf>> for Node {
    fn from(it: &Option<PathBuf>) -> Self {
        match it {
            Some(path) => Node::Text(path.display().to_string()),
            None => Node::Null,
        }
    }
}

impl From<&[String]> for Node {
    fn from(it: &[String]) -> Self {
        Node::List(it.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use ::config::{File, FileFormat, Source, ValueKind};
    use proptest::prelude::*;

    use super::*;

    fn read_back(text: &str) -> Option<String> {
        let printed = map([("key", text.into())]).to_string();
        let mut table = File::from_str(&printed, FileFormat::Yaml).collect().ok()?;
        match table.remove("key")?.kind {
            ValueKind::String(it) => Some(it),
            _ => None,
        }
    }

    #[test]
    fn texts_that_look_like_something_else_read_back_as_text() {
        for text in [
            "12345",
            "true",
            "Null",
            "~",
            "0o17",
            "0x1F",
            "+.inf",
            ".nan",
            "1e3",
            "",
            " a ",
            "a: b",
            "a #b",
            "- a",
            "[a]",
            "{a}",
            "*a",
            "&a",
            "!a",
            "a:",
            "\"a\"",
            "a\\b",
            "a\tb",
            "x\ny",
            "0.0.0.0:50051",
            "[::]:1",
            "---",
            "...",
            "<<",
            "=",
            "é",
            "/a b",
            "#a",
            "y",
            "1:30",
        ] {
            assert_eq!(read_back(text).as_deref(), Some(text));
        }
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text in any::<String>()) {
            prop_assert_eq!(read_back(&text), Some(text));
        }
    }

    #[test]
    fn is_written_as_a_person_would() {
        let printed = map([
            ("listen", Node::from("a/b")),
            ("empty", map::<String>([])),
            (
                "inner",
                map([
                    ("list", Node::from(&["/x/*".to_owned()][..])),
                    ("none", Node::Null),
                ]),
            ),
            ("maps", Node::Maps(vec![map([("a", Node::from("b"))])])),
            ("no_maps", Node::Maps(vec![])),
        ]);
        let expected = "listen: a/b\nempty: {}\ninner:\n  list: [\"/x/*\"]\n  none: null\n\
            maps:\n  -\n    a: b\nno_maps: []\n";
        assert_eq!(printed.to_string(), expected);
    }
}
