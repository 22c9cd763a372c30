//! Durations and sizes as people write them.

use std::{fmt, str::FromStr, time::Duration};

/// Longer than any duration a person means; keeps `Instant + Duration` far from overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// humantime 2.4 panics on some sums beyond `u64::MAX` seconds, all of them longer than this.
const LONGEST_TEXT: usize = 24;

/// Reads `500ms`, `10s`, `1h 30m`.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    if text.len() > LONGEST_TEXT {
        return None;
    }
    let duration = humantime::parse_duration(text).ok()?;
    (duration <= LONGEST).then_some(duration)
}

/// Writes a duration in the largest unit that divides it, so that it reads back as itself: `90s`.
pub fn format_duration(duration: Duration) -> String {
    const UNITS: [(u128, &str); 7] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let nanos = duration.as_nanos();
    let exact = UNITS.iter().find(|(size, _)| nanos.is_multiple_of(*size));
    match exact {
        Some((size, unit)) if nanos > 0 => format!("{}{unit}", nanos / size),
        _ => "0s".to_owned(),
    }
}

/// A number of bytes: `4MiB`, `64KiB`, `1024`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    const UNITS: [(u64, &'static str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = Self::UNITS
            .iter()
            .find(|(size, _)| self.0.is_multiple_of(*size));
        match exact {
            Some((size, unit)) if self.0 > 0 => write!(f, "{}{unit}", self.0 / size),
            _ => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for ByteSize {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = match text[digits.len()..].trim() {
            "" | "B" => 1,
            name => {
                let known = Self::UNITS.iter().find(|(_, unit)| *unit == name);
                known.ok_or(())?.0
            }
        };
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(()); // u64 would read `+4`
        }
        let count: u64 = digits.parse().map_err(|_| ())?;
        count.checked_mul(unit).map(ByteSize).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        let ms = Duration::from_millis;
        for (text, expected) in [
            ("500ms", Some(ms(500))),
            ("10s", Some(ms(10_000))),
            ("5m", Some(ms(300_000))),
            ("1h 30m", Some(ms(5_400_000))),
            ("1.5s", Some(ms(1_500))),
            ("0", Some(ms(0))),
            ("0s", Some(ms(0))),
            ("365d", Some(LONGEST)),
            ("366d", None),
            ("10", None),
            ("-1s", None),
            ("", None),
            ("soon", None),
            ("18446744073709551615s1000ms", None),
            ("18446744073709551615s", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
    }

    #[test]
    fn durations_are_printed_in_the_largest_exact_unit() {
        for (text, printed) in [
            ("600s", "10m"),
            ("90s", "90s"),
            ("1500ms", "1500ms"),
            ("24h", "1d"),
            ("0ms", "0s"),
        ] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), printed);
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("4MiB", Ok(4 << 20)),
            ("64KiB", Ok(64 << 10)),
            ("64 KiB", Ok(64 << 10)),
            ("1GiB", Ok(1 << 30)),
            ("1024", Ok(1024)),
            ("7B", Ok(7)),
            ("0", Ok(0)),
            ("", Err(())),
            ("MiB", Err(())),
            ("+4MiB", Err(())),
            ("-4", Err(())),
            ("4MB", Err(())),
            ("4mib", Err(())),
            ("1.5MiB", Err(())),
            ("4µB", Err(())),
            ("18446744073709551615KiB", Err(())),
        ] {
            assert_eq!(text.parse(), expected.map(ByteSize), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_duration_reads_back(secs in 0..LONGEST.as_secs(), nanos in 0..1_000_000_000u32) {
            for duration in [Duration::from_secs(secs), Duration::new(secs, nanos)] {
                prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
            }
        }

        #[test]
        fn a_printed_size_reads_back(bytes: u64, shift in 0..40u32) {
            let size = ByteSize(bytes >> shift << (shift / 2));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = parse_duration(&text);
            let _ = text.parse::<ByteSize>();
        }
    }
}
