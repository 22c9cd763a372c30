//! One binary for all promises that are proven over real sockets: a real tonic client, the
//! gateway in this process, and the sandbox or a hand-made server in the vendor's place.
//!
//! One file per promise.

mod breaker;
mod request_id;
mod smoke;
mod support;
