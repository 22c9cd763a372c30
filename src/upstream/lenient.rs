//! The text of an answer, lenient in its encoding; and the texts within.

use std::borrow::Cow;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Some servers begin a text with a byte order mark, which is no part of it, and no JSON.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// What the text of an answer is made of.
pub(super) fn unmarked(body: &[u8]) -> &[u8] {
    body.strip_prefix(MARK).unwrap_or(body)
}

/// JSON in which nothing stands that is no character: bytes that are not UTF-8, and escapes of half
/// a surrogate pair, become U+FFFD. Vendors pass on what people wrote, such as a message that was
/// cut within an emoji, and one of those must not make all that an answer says unreadable.
pub fn lenient(body: &[u8]) -> Cow<'_, str> {
    let body = unmarked(body);
    // Most are UTF-8, and this finds it out at a fraction of the cost.
    let text = str::from_utf8(body).map_or_else(|_| String::from_utf8_lossy(body), Cow::Borrowed);
    match mended(&text) {
        Some(mended) => Cow::Owned(mended),
        None => text,
    }
}

/// A string; a number in its place is taken as it is written, and null as empty.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let wrong_type = || D::Error::custom("neither a string nor a number");
    scalar(<&RawValue>::deserialize(deserializer)?).ok_or_else(wrong_type)
}

/// The same of a value by itself. Not by way of a number: ids have more digits than any has.
pub fn scalar(json: &RawValue) -> Option<String> {
    let json = json.get();
    match json.as_bytes() {
        [b'"', ..] => serde_json::from_str(json).ok(),
        [b'-' | b'0'..=b'9', ..] => Some(json.to_owned()),
        b"null" => Some(String::new()),
        _ => None,
    }
}

/// With the halves replaced, where there are any.
fn mended(text: &str) -> Option<String> {
    let mut mended = String::new();
    let mut kept = 0;
    let mut at = 0;
    // In JSON a backslash stands in strings alone, and before what it is about: one before the end,
    // or before what has more than a byte, is none, and nothing is mended.
    while let Some(found) = text.get(at..)?.find('\\') {
        at += found;
        at += match (unit(text, at), unit(text, at + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                mended.push_str(&text[kept..at]);
                mended.push('\u{fffd}');
                kept = at + 6;
                6
            }
            (Some(_), _) => 6,
            (None, _) => 2,
        };
    }
    mended.push_str(&text[kept..]);
    (kept > 0).then_some(mended)
}

/// The UTF-16 unit whose escape begins here.
fn unit(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_become_what_stands_for_no_character() {
        for (json, read) in [
            (r#"{"a":"x"}"#, r#"{"a":"x"}"#),
            (r#""\n\\\"\u00e4""#, r#""\n\\\"\u00e4""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""a\ud83d""#, "\"a\u{fffd}\""),
            (r#""\uDE00b""#, "\"\u{fffd}b\""),
            (r#""\ud83d\ud83d\ude00""#, "\"\u{fffd}\\ud83d\\ude00\""),
            (r#""\ude00\ud83d\n""#, "\"\u{fffd}\u{fffd}\\n\""),
            // No escape: the backslash is escaped itself.
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, "\"\\\\\u{fffd}\""),
            // No JSON, and nothing to be mended.
            (r#""\ud83"#, r#""\ud83"#),
            ("\\", "\\"),
            ("\\é", "\\é"),
        ] {
            assert_eq!(lenient(json.as_bytes()), read, "{json}");
        }
        assert_eq!(lenient(b"\"\xff\\ud83d\""), "\"\u{fffd}\u{fffd}\"");
    }

    #[test]
    fn a_mark_at_the_beginning_is_no_part_of_the_text() {
        assert_eq!(lenient("\u{feff}{}".as_bytes()), "{}");
        assert_eq!(lenient("{\"\u{feff}\":1}".as_bytes()), "{\"\u{feff}\":1}");
    }

    proptest! {
        #[test]
        fn every_string_of_utf_16_can_be_read(units in prop::collection::vec(any::<u16>(), 0..40)) {
            let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let json = format!("\"{escaped}\"");
            let text: String = serde_json::from_str(&lenient(json.as_bytes())).unwrap();
            prop_assert_eq!(text, String::from_utf16_lossy(&units));
        }

        #[test]
        fn strangers_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = lenient(&bytes);
        }
    }
}
