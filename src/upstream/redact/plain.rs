//! Text without the wrappings in which a vendor may quote it.

use std::iter::Peekable;
use std::str::Chars;

/// On one line, and with JSON's escapes undone: a body that is quoted as it came still holds
/// them, so a value within it would not be recognised.
pub(super) fn plain(text: &str) -> String {
    let mut chars = text.chars().peekable();
    let mut out = String::with_capacity(text.len());
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => escaped(&mut chars),
            c => c,
        });
    }
    one_line(&out)
}

/// Control characters as blanks.
pub(super) fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// What stands behind a backslash; the backslash itself where that is no escape.
fn escaped(chars: &mut Peekable<Chars<'_>>) -> char {
    let meant = match chars.peek() {
        Some('"' | '\\' | '/') => return chars.next().unwrap_or('\\'),
        Some('b' | 'f' | 'n' | 'r' | 't') => ' ',
        Some('u') => return unicode(chars).unwrap_or('\\'),
        _ => return '\\',
    };
    chars.next();
    meant
}

/// `uXXXX`, or two of them that make one character. Nothing is taken where it is neither.
fn unicode(chars: &mut Peekable<Chars<'_>>) -> Option<char> {
    let mut ahead = chars.clone();
    let first = unit(&mut ahead)?;
    let mut units = vec![first];
    let mut further = ahead.clone();
    if (0xd800..0xdc00).contains(&first)
        && further.next() == Some('\\')
        && let Some(second) = unit(&mut further)
    {
        units.push(second);
        ahead = further;
    }
    let meant = char::decode_utf16(units).next()?.ok()?;
    *chars = ahead;
    Some(meant)
}

fn unit(chars: &mut Peekable<Chars<'_>>) -> Option<u16> {
    chars.next_if_eq(&'u')?;
    let mut digit = || chars.next()?.to_digit(16);
    let unit = digit()? << 12 | digit()? << 8 | digit()? << 4 | digit()?;
    u16::try_from(unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_undone_and_nonsense_is_left() {
        assert_eq!(plain(r#"a \"b\" \\ c\/d\r\ne"#), r#"a "b" \ c/d  e"#);
        assert_eq!(plain(r"M\u00fcller \ud83d\ude00!"), "Müller \u{1F600}!");
        assert_eq!(
            plain(r"\ud83d \udc00 \u12 \uzzzz \x \"),
            r"\ud83d \udc00 \u12 \uzzzz \x \"
        );
        assert_eq!(plain("a\tb\u{85}c"), "a b c");
    }

    proptest! {
        #[test]
        fn what_json_wraps_is_unwrapped(text in "[^\\p{Cc}]{0,40}") {
            let wrapped = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(plain(&wrapped), format!("\"{text}\""));
        }

        #[test]
        fn strangers_text_never_panics(text in "(\\\\|u|d83d|.){0,60}") {
            prop_assert!(!plain(&text).contains(char::is_control));
        }
    }
}
