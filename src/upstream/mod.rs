//! The kit: all that a vendor needs, and nothing about any vendor.
//!
//! # How a call travels
//!
//! A facade makes an [`operation::Operation`], which is data, and hands it to
//! [`client::Client::call`] with a [`client::Ticket`]: account, deadline, progress. The client
//! lets the operation build its request and sends it through [`stack`]: retries, login, limit,
//! credentials, spans, time bounds, the vendor's judgement, and [`transport`] at the bottom.
//! What comes back is either a [`operation::Reply`] that the vendor meant as a yes, which the
//! operation decodes, or one [`error::Error`], which the client completes to a
//! [`error::Failure`] with what the journey tells.

pub mod auth;
pub mod backoff;
#[cfg(any(test, feature = "benchmarks"))]
pub(crate) mod benchmarks;
pub mod breaker;
mod budget;
pub mod client;
pub mod error;
pub mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod judge;
mod lease;
pub mod lenient;
mod limit;
mod login;
pub mod observer;
pub mod operation;
pub mod outlive;
pub mod pem;
pub mod progress;
pub mod redact;
mod retry;
pub mod secret;
pub mod settings;
pub mod span;
pub mod stack;
#[cfg(test)]
pub(crate) mod testing;
mod timeout;
mod token_cache;
mod trace;
pub mod transport;
mod window;
