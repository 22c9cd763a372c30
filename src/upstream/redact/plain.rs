//! Text without the wrappings in which a vendor may quote it.

/// A body may be quoted in a body, and that by whoever passes it on; nobody goes further.
pub(super) const MOST_WRAPPINGS: usize = 4;

/// The names that pages have for the characters from U+00A0 on, in their order.
const LATIN: [&str; 96] = [
    "nbsp", "iexcl", "cent", "pound", "curren", "yen", "brvbar", "sect", "uml", "copy", "ordf",
    "laquo", "not", "shy", "reg", "macr", "deg", "plusmn", "sup2", "sup3", "acute", "micro",
    "para", "middot", "cedil", "sup1", "ordm", "raquo", "frac14", "frac12", "frac34", "iquest",
    "Agrave", "Aacute", "Acirc", "Atilde", "Auml", "Aring", "AElig", "Ccedil", "Egrave", "Eacute",
    "Ecirc", "Euml", "Igrave", "Iacute", "Icirc", "Iuml", "ETH", "Ntilde", "Ograve", "Oacute",
    "Ocirc", "Otilde", "Ouml", "times", "Oslash", "Ugrave", "Uacute", "Ucirc", "Uuml", "Yacute",
    "THORN", "szlig", "agrave", "aacute", "acirc", "atilde", "auml", "aring", "aelig", "ccedil",
    "egrave", "eacute", "ecirc", "euml", "igrave", "iacute", "icirc", "iuml", "eth", "ntilde",
    "ograve", "oacute", "ocirc", "otilde", "ouml", "divide", "oslash", "ugrave", "uacute", "ucirc",
    "uuml", "yacute", "thorn", "yuml",
];

/// Longer than the name of any character.
const LONGEST_NAME: usize = 10;

/// On one line, and with all wrappings undone.
pub(super) fn plain(text: &str) -> String {
    let mut text = one_line(text);
    for _ in 0..MOST_WRAPPINGS {
        let inner = unwrapped(&text);
        if inner == text {
            break;
        }
        text = inner;
    }
    text
}

/// Control characters as blanks.
pub(super) fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// On one line, and with one wrapping undone: the escapes of JSON, of pages and of URLs. A body that
/// is quoted as it came still holds them, so a value within it would not be recognised.
pub(super) fn unwrapped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '&', '%']) {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let undone = match escape.as_bytes()[0] {
            b'\\' => of_json(escape),
            b'&' => of_page(escape),
            _ => of_url(escape),
        };
        // What is no escape stands for itself.
        let (meant, length) = undone.unwrap_or((char::from(escape.as_bytes()[0]), 1));
        out.push(meant);
        rest = &escape[length..];
    }
    out.push_str(rest);
    one_line(&out)
}

/// What an escape at the beginning of a text means, and how many bytes it is long.
type Undone = Option<(char, usize)>;

fn of_json(text: &str) -> Undone {
    let meant = match text.as_bytes().get(1)? {
        b'u' => return of_json_by_number(text),
        c @ (b'"' | b'\\' | b'/') => char::from(*c),
        b'b' | b'f' | b'n' | b'r' | b't' => ' ',
        _ => return None,
    };
    Some((meant, 2))
}

/// `\uXXXX`, or two of them that make one character.
fn of_json_by_number(text: &str) -> Undone {
    let unit = |text: &str| {
        let digits = text.strip_prefix("\\u")?.get(..4)?;
        u16::try_from(number(digits, 16)?).ok()
    };
    let first = unit(text)?;
    let second = text.get(6..).and_then(unit);
    let pair = |second| char::decode_utf16([first, second]).next()?.ok();
    match char::from_u32(first.into()) {
        Some(meant) => Some((meant, 6)),
        None => Some((pair(second?)?, 12)),
    }
}

/// `&quot;`, `&#34;`, `&#x22;`.
fn of_page(text: &str) -> Undone {
    let length = text
        .bytes()
        .take(LONGEST_NAME + 2)
        .position(|c| c == b';')?;
    let name = &text[1..length];
    let meant = match name.strip_prefix('#') {
        None => by_name(name)?,
        Some(number_of) => char::from_u32(match number_of.strip_prefix(['x', 'X']) {
            Some(digits) => number(digits, 16)?,
            None => number(number_of, 10)?,
        })?,
    };
    Some((meant, length + 1))
}

fn by_name(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let at = LATIN.iter().position(|known| *known == name)?;
            char::from_u32(0xa0 + u32::try_from(at).ok()?)
        }
    }
}

/// As many of `%XX` as make one character of UTF-8.
fn of_url(text: &str) -> Undone {
    let mut bytes = Vec::new();
    for escape in text.as_bytes().chunks_exact(3).take(4) {
        let escape = str::from_utf8(escape).ok()?;
        bytes.push(u8::try_from(number(escape.strip_prefix('%')?, 16)?).ok()?);
        if let Ok(meant) = str::from_utf8(&bytes) {
            return Some((meant.chars().next()?, 3 * bytes.len()));
        }
    }
    None
}

/// Of digits alone, without a sign.
fn number(digits: &str, radix: u32) -> Option<u32> {
    let all = digits.chars().all(|c| c.is_digit(radix));
    all.then(|| u32::from_str_radix(digits, radix).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_undone_and_nonsense_is_left() {
        for (text, undone) in [
            (r#"a \"b\" \\ c\/d\r\ne"#, r#"a "b" \ c/d  e"#),
            (r"M\u00fcller \ud83d\ude00!", "Müller \u{1F600}!"),
            (
                r"\ud83d \udc00 \u12 \uzzzz \u+123 \x \",
                r"\ud83d \udc00 \u12 \uzzzz \u+123 \x \",
            ),
            (r"\ud83d\u0041", r"\ud83dA"),
            ("a\tb\u{85}c", "a b c"),
            ("&quot;a&#32;&amp;&#x20;b&apos;&lt;&gt;", "\"a & b'<>"),
            (
                "M&uuml;ller &nbsp; &yuml; &#x1F600;",
                "Müller \u{a0} ÿ \u{1F600}",
            ),
            (
                "&; &#; &#x; &#xd800; &#-1; &unknown; &toolongforaname; R&D &amp",
                "&; &#; &#x; &#xd800; &#-1; &unknown; &toolongforaname; R&D &amp",
            ),
            ("a%20b%C3%BC%F0%9F%98%80%0Ac", "a bü\u{1F600} c"),
            ("5% %zz %C3 %C3%28 %+1 %", "5% %zz %C3 %C3( %+1 %"),
            ("%C3ü %Cü", "%C3ü %Cü"),
        ] {
            assert_eq!(unwrapped(text), undone, "{text}");
        }
    }

    #[test]
    fn one_wrapping_after_the_other_is_undone() {
        for text in [
            r#"{\\\"a\\\":\\\"J\\u00fcrgen\\\"}"#,
            "%7B%22a%22%3A%22J%26uuml%3Brgen%22%7D",
            "{&amp;quot;a&amp;quot;:&amp;quot;J&amp;#252;rgen&amp;quot;}",
        ] {
            assert_eq!(plain(text), r#"{"a":"Jürgen"}"#, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_json_wraps_is_unwrapped(text in "[^\\p{Cc}&%]{0,40}") {
            let wrapped = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(unwrapped(&wrapped), format!("\"{text}\""));
        }

        #[test]
        fn strangers_text_never_panics(text in "(\\\\|u|d83d|%|C3|&|#|x|;|amp|ü|.){0,60}") {
            prop_assert!(!plain(&text).contains(char::is_control));
        }
    }
}
