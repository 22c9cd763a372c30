//! What can go wrong with a vendor, and what callers may be told of it.

use switchboard::sandbox::faults::{Code as VendorCode, Fault, Rule};
use tonic::Code;

/// What a valid call may end with, by the contract's table.
pub const PAIRS: [(Code, &str); 20] = [
    (Code::InvalidArgument, "VENDOR_REJECTED"),
    (Code::FailedPrecondition, "VENDOR_REJECTED"),
    (Code::AlreadyExists, "VENDOR_REJECTED"),
    (Code::Aborted, "VENDOR_REJECTED"),
    (Code::PermissionDenied, "VENDOR_DENIED"),
    (Code::PermissionDenied, "VENDOR_BLOCKED"),
    (Code::NotFound, "VENDOR_NOT_FOUND"),
    (Code::Unimplemented, "VENDOR_MISCONFIGURED"),
    (Code::Internal, "VENDOR_CREDENTIAL_REJECTED"),
    (Code::Internal, "VENDOR_FAILED"),
    // Of a login.
    (Code::Internal, "VENDOR_PROTOCOL"),
    (Code::ResourceExhausted, "VENDOR_THROTTLED"),
    (Code::ResourceExhausted, "OVERLOADED"),
    (Code::Unavailable, "VENDOR_UNAVAILABLE"),
    (Code::Unavailable, "CIRCUIT_OPEN"),
    (Code::Unknown, "OUTCOME_UNKNOWN"),
    (Code::DeadlineExceeded, "OUTCOME_UNKNOWN"),
    (Code::DeadlineExceeded, "DEADLINE"),
    (Code::Unavailable, "DEDUPE_UNAVAILABLE"),
    (Code::InvalidArgument, "REQUEST_ID_REUSED"),
];

/// Every kind of fault at every stage at which the vendor would not be lying: who has done it
/// does not say 401, and who has not does not say yes.
pub fn every_fault() -> Vec<Rule> {
    let status = |status: u16, retry_after: Option<&str>| Fault::Status {
        status,
        body: None,
        content_type: None,
        retry_after: retry_after.map(str::to_owned),
        location: None,
    };
    let code = |code: VendorCode| Fault::VendorCode {
        code,
        message: "no".to_owned(),
    };
    let throttle = |retry_after: &str| Fault::Throttle {
        retry_after: retry_after.to_owned(),
    };
    let either = [
        Fault::Latency { ms: 30 },
        Fault::Latency { ms: 300 },
        Fault::Trickle { ms_per_byte: 2 },
        Fault::Trickle { ms_per_byte: 50 },
        Fault::Reset,
        Fault::CutBody,
        Fault::Garbage,
        Fault::Html { status: 200 },
        Fault::Html { status: 502 },
        Fault::Oversize { bytes: 100_000 },
        Fault::WrongType,
        Fault::NoCode,
        Fault::Hang,
        status(200, None),
        status(408, None),
        status(503, None),
        status(504, None),
    ];
    let refusals = [
        Fault::Unauthorized,
        Fault::ForbiddenToken,
        throttle("0"),
        throttle("60"),
        throttle("soon"),
        status(503, Some("0")),
        status(503, Some("60")),
        Fault::Html { status: 403 },
        status(302, None),
        status(400, None),
        status(404, None),
        status(405, None),
        status(409, None),
        status(413, None),
        status(418, None),
        status(500, None),
    ];
    let genesys = [1, 2, 3, 4, 6, 8, 18, 20, 42].map(|it| code(it.into()));
    let aicc = [code("0401001".into()), code(7.into())];
    let both = |fault: &Fault| [Rule::new(fault.clone()), Rule::new(fault.clone()).after()];
    let mut rules: Vec<Rule> = either.iter().flat_map(both).collect();
    rules.extend(refusals.map(Rule::new));
    rules.extend(genesys.map(|fault| Rule::new(fault).vendor("genesys")));
    rules.extend(aicc.map(|fault| Rule::new(fault).vendor("aicc")));
    // It began and cannot tell how it ended: may have done it or not.
    rules.extend(both(&code(9.into())).map(|rule| rule.vendor("genesys")));
    rules
}
