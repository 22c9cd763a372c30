//! A gRPC gateway in front of contact-centre vendors.

pub mod pb;
