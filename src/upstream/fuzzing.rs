//! Answers of vendors, made of the fuzzer's bytes.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::error::{Error, Failure};
use super::operation::{Replay, Reply};

/// Lines of headers, an empty line, and the body; without an empty line all of it is the body.
pub fn reply(status: u16, bytes: &[u8]) -> Reply {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((&b""[..], bytes), |end| (&bytes[..end], &bytes[end + 2..]));
    Reply {
        status: StatusCode::from_u16(status).unwrap_or_default(),
        headers: headers(head),
        body: Bytes::copy_from_slice(body),
    }
}

/// As many of the lines as HTTP would let through.
pub fn headers(lines: &[u8]) -> HeaderMap {
    let lines = lines.split(|byte| *byte == b'\n');
    let header = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        Some((name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(header) {
        headers.append(name, value);
    }
    headers
}

/// What a caller would be told of this error.
pub fn failure(vendor: &'static str, error: Error) -> Failure {
    Failure {
        sent: 1,
        ..Failure::unsent(vendor, "Fuzzed", Replay::Once, error)
    }
}
