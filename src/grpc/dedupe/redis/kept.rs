//! How an outcome is written down in Redis, so that a caller cannot tell a repeat's from the
//! first one's: of an error the code, the words, the details and the metadata.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use super::super::write::Outcome;

#[derive(Clone, PartialEq, Message)]
struct Kept {
    /// Of a success.
    #[prost(bytes = "bytes", tag = "1")]
    response: Bytes,
    #[prost(message, optional, tag = "2")]
    error: Option<KeptError>,
}

#[derive(Clone, PartialEq, Message)]
struct KeptError {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(bytes = "bytes", tag = "3")]
    details: Bytes,
    #[prost(message, repeated, tag = "4")]
    metadata: Vec<Entry>,
}

/// Values of binary metadata stand here as they travel, in base64.
#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

pub(super) fn encode(outcome: &Outcome) -> Vec<u8> {
    let kept = match outcome {
        Ok(response) => Kept {
            response: response.clone(),
            error: None,
        },
        Err(status) => Kept {
            response: Bytes::new(),
            error: Some(KeptError::from(status)),
        },
    };
    kept.encode_to_vec()
}

/// `None` of what no gateway of this version has written.
pub(super) fn decode(bytes: &[u8]) -> Option<Outcome> {
    let kept = Kept::decode(bytes).ok()?;
    Some(match kept.error {
        None => Ok(kept.response),
        Some(error) => Err(error.into_status()?),
    })
}

impl From<&Status> for KeptError {
    fn from(status: &Status) -> Self {
        let headers = status.metadata().clone().into_headers();
        let entry = |(name, value): (&HeaderName, &HeaderValue)| Entry {
            name: name.as_str().to_owned(),
            value: value.as_bytes().to_vec(),
        };
        KeptError {
            code: status.code().into(),
            message: status.message().to_owned(),
            details: Bytes::copy_from_slice(status.details()),
            metadata: headers.iter().map(entry).collect(),
        }
    }
}

impl KeptError {
    fn into_status(self) -> Option<Status> {
        let mut headers = HeaderMap::new();
        for Entry { name, value } in self.metadata {
            let name = HeaderName::try_from(name).ok()?;
            headers.append(name, HeaderValue::try_from(value).ok()?);
        }
        Some(Status::with_details_and_metadata(
            Code::from(self.code),
            self.message,
            self.details,
            MetadataMap::from_headers(headers),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tonic::metadata::MetadataValue;

    fn again(outcome: &Outcome) -> Outcome {
        decode(&encode(outcome)).unwrap()
    }

    #[test]
    fn a_success_comes_back_byte_by_byte() {
        for response in [&b""[..], b"\x08\x01", b"\xff\x00"] {
            let response = Bytes::from_static(response);
            assert_eq!(again(&Ok(response.clone())).unwrap(), response);
        }
    }

    #[test]
    fn an_error_comes_back_with_all_that_it_carries() {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-retry-pushback-ms", MetadataValue::from_static("-1"));
        metadata.append("twice", MetadataValue::from_static("a"));
        metadata.append("twice", MetadataValue::from_static("b"));
        metadata.insert_bin("odd-bin", MetadataValue::from_bytes(b"\x00\xff"));
        let details = Bytes::from_static(b"\x00details\xff");
        let words = "wörter\n";
        let status =
            Status::with_details_and_metadata(Code::Unknown, words, details.clone(), metadata);
        let kept = again(&Err(status.clone())).unwrap_err();
        assert_eq!((kept.code(), kept.message()), (Code::Unknown, words));
        assert_eq!(kept.details(), &details[..]);
        let headers = |status: &Status| status.metadata().clone().into_headers();
        assert_eq!(headers(&kept), headers(&status));
    }

    proptest! {
        #[test]
        fn nothing_in_the_store_can_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
