use rustls::pki_types::UnixTime;

use super::set::tests::{authority, issue, revoking};
use super::*;
use crate::settings::testing::Dir;
use crate::telemetry::Metrics;

/// A list or a bundle that ends after one of its parts looks as whole as any, and whoever is in the
/// part that is not there yet would be turned out.
#[test]
fn files_are_taken_once_they_stand_still() {
    let (dir, ours, theirs) = (Dir::new(), authority("ours"), authority("theirs"));
    let (_, cert, key) = issue(&ours, 1, 2100);
    let (ca, lists) = (
        [ours.pem(), theirs.pem()],
        [revoking(&ours, &[]), revoking(&theirs, &[])],
    );
    let files = TlsFiles {
        cert: dir.write("tls.crt", cert),
        key: dir.write("tls.key", key),
        client_ca: Some(dir.write("ca.crt", ca.concat())),
        crl: Some(dir.write("crl.pem", lists.concat())),
        demanded: true,
    };
    let tls = Tls::new(files, &Metrics::new().unwrap().meter()).unwrap();
    let (own, other) = (issue(&ours, 7, 2100).0, issue(&theirs, 7, 2100).0);
    let admitted = || {
        let set = Arc::clone(&tls.set.borrow());
        [&own, &other].map(|it| set.admits(std::slice::from_ref(it), UnixTime::now()))
    };
    for (name, parts) in [("ca.crt", &ca), ("crl.pem", &lists)] {
        dir.write(name, &parts[0]);
        tls.look();
        assert_eq!(admitted(), [true, true], "{name} was not all there");
        dir.write(name, parts.concat());
        tls.look();
        tls.look();
        assert_eq!(admitted(), [true, true], "{name}");
        // As it looked once already, though not at the look before.
        dir.write(name, &parts[0]);
        tls.look();
        assert_eq!(admitted(), [true, true], "{name} again");
        tls.look();
        assert_eq!(admitted(), [true, false], "{name} stays so");
        dir.write(name, parts.concat());
        tls.look();
        tls.look();
        assert_eq!(admitted(), [true, true], "{name} is whole");
    }
}
