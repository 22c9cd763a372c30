//! A gRPC gateway in front of contact-centre vendors.
//!
//! | module | what it is |
//! |---|---|
//! | [`app`] | composition root: a configuration becomes a running gateway |
//! | [`config`], [`settings`] | the configuration, and the reader that collects every problem |
//! | [`grpc`] | our face: the server stack, errors, validation |
//! | [`upstream`] | the kit: the vendor stack, retries, tokens, transport |
//! | [`vendors`] | one folder per vendor |
//! | [`telemetry`], [`admin`], [`lifecycle`] | spans and metrics, the admin port, start and drain |
//! | [`sandbox`] | both vendors simulated, and the tour |
//! | [`pb`] | generated from `proto/` |

pub mod admin;
pub mod app;
#[cfg(any(test, feature = "benchmarks"))]
pub mod benchmarks;
pub mod commands;
pub mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod grpc;
pub mod lifecycle;
pub mod pb;
pub mod sandbox;
pub mod settings;
pub mod telemetry;
pub mod upstream;
pub mod vendors;
