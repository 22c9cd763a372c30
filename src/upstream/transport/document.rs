//! A public document at a URL, such as the keys of an issuer of tokens.
//!
//! It belongs to no vendor, and stands here because this is where HTTP is spoken.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;

use super::{TransportError, chain, plain_client};

const CONNECT: Duration = Duration::from_secs(3);

/// From the first byte sent to the last one read.
const IN_ALL: Duration = Duration::from_secs(5);

const LONGEST: usize = 1024 * 1024;

/// Where it is, and how to get it: no redirect, no repeat, verified TLS.
#[derive(Debug, Clone)]
pub struct Document {
    client: reqwest::Client,
    url: Url,
}

/// Why it could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{url} cannot be fetched: {why}")]
pub struct DocumentError {
    url: Url,
    why: String,
}

impl Document {
    pub fn new(url: Url) -> Result<Self, TransportError> {
        let builder = plain_client()?
            .connect_timeout(CONNECT)
            .timeout(IN_ALL)
            // It is asked every few minutes: no connection is worth keeping.
            .pool_max_idle_per_host(0);
        let client = builder.build().map_err(TransportError::Client)?;
        Ok(Document { client, url })
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    pub async fn get(&self) -> Result<Bytes, DocumentError> {
        self.fetch().await.map_err(|why| DocumentError {
            url: self.url.clone(),
            why,
        })
    }

    async fn fetch(&self) -> Result<Bytes, String> {
        let words = |error: reqwest::Error| chain(&error.without_url());
        let answer = self.client.get(self.url.clone()).send().await;
        let mut answer = answer.map_err(words)?;
        if answer.status() != http::StatusCode::OK {
            return Err(format!("the answer is {}", answer.status()));
        }
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(words)? {
            if body.len() + part.len() > LONGEST {
                return Err("it is longer than 1 MiB".to_owned());
            }
            body.extend_from_slice(&part);
        }
        Ok(body.into())
    }
}
