use std::sync::atomic::Ordering;

use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::settings::testing::Dir;
use crate::upstream::testing::Witness;
use crate::upstream::transport::Protocol;

/// A certificate, good as an authority too, and its key.
fn pair() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn settings(dir: &Dir) -> Settings {
    Settings {
        tls: Tls {
            ca_file: Some(dir.path("ca.crt")),
            client_cert_file: Some(dir.path("tls.crt")),
            client_key_file: Some(dir.path("tls.key")),
        },
        ..Settings::default()
    }
}

#[test]
fn only_a_change_that_can_be_used_makes_new_clients() {
    let (dir, witness) = (Dir::new(), Arc::new(Witness::default()));
    let (one, two) = (pair(), pair());
    let write = |ca: &str, cert: &str, key: &str| {
        for (name, contents) in [("ca.crt", ca), ("tls.crt", cert), ("tls.key", key)] {
            dir.write(name, contents);
        }
    };
    write(&one.0, &one.0, &one.1);
    let settings = settings(&dir);
    let files = Files::read(&settings.tls).unwrap();
    let connections = [Protocol::Negotiated, Protocol::Http1]
        .map(|protocol| Connections::new(&settings, protocol, &files).unwrap());
    let observer: Arc<dyn Observer> = witness.clone();
    let renewal = Renewal::new("v", &settings, &files, connections.clone(), observer);
    let clients = || connections.each_ref().map(|it| it.client.load_full());
    let half = |pem: &str| pem[..pem.len() / 2].to_owned();
    for (what, files, renewed, failed) in [
        ("the same", [&one.0, &one.0, &one.1], false, 0),
        ("another authority", [&two.0, &one.0, &one.1], true, 0),
        ("another pair", [&two.0, &two.0, &two.1], true, 0),
        ("no authority", [&String::new(), &two.0, &two.1], false, 1),
        (
            "half an authority",
            [&half(&two.0), &two.0, &two.1],
            false,
            1,
        ),
        (
            "half a certificate",
            [&two.0, &half(&two.0), &two.1],
            false,
            1,
        ),
        ("half a key", [&two.0, &two.0, &half(&two.1)], false, 1),
        ("no key", [&two.0, &two.0, &String::new()], false, 1),
        (
            "a pair that does not fit",
            [&two.0, &two.0, &one.1],
            false,
            1,
        ),
        ("that again", [&two.0, &two.0, &one.1], false, 1),
        ("as before", [&two.0, &two.0, &two.1], false, 0),
        ("the first again", [&one.0, &one.0, &one.1], true, 0),
    ] {
        let before = clients();
        let [ca, cert, key] = files;
        write(ca, cert, key);
        // They may be written still.
        renewal.look();
        for (before, after) in before.iter().zip(&clients()) {
            assert!(Arc::ptr_eq(before, after), "{what}, at once");
        }
        let counted = witness.tls_failures.load(Ordering::Relaxed);
        renewal.look();
        for (before, after) in before.iter().zip(&clients()) {
            assert_eq!(!Arc::ptr_eq(before, after), renewed, "{what}");
        }
        let counted = witness.tls_failures.load(Ordering::Relaxed) - counted;
        assert_eq!(counted, failed, "{what}");
    }
}

#[test]
fn what_is_wrong_with_files_names_them_and_quotes_nothing() {
    let dir = Dir::new();
    let (one, two) = (pair(), pair());
    let settings = settings(&dir);
    let path = |name: &str| dir.path(name).display().to_string();
    let broken = two.1.replacen("BEGIN", "BEGUN", 1);
    let encrypted = two.1.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let (no_certificate, none) = ("nothing", "");
    let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let holds_none = |name, what| format!("{} holds no {what} in PEM", path(name));
    let unencrypted = "unencrypted private key";
    let together = || format!("{} and {} are of no use", path("tls.crt"), path("tls.key"));
    for (ca, cert, key, words) in [
        (none, &*one.0, &one.1, holds_none("ca.crt", "certificate")),
        (
            no_der,
            &one.0,
            &one.1,
            format!("{} cannot be used: ", path("ca.crt")),
        ),
        (
            &one.0,
            no_certificate,
            &one.1,
            holds_none("tls.crt", "certificate"),
        ),
        (&one.0, &one.0, &broken, holds_none("tls.key", unencrypted)),
        (
            &one.0,
            &one.0,
            &encrypted,
            holds_none("tls.key", unencrypted),
        ),
        (&one.0, no_der, &one.1, together()),
        (&one.0, &one.0, &two.1, together()),
    ] {
        dir.write("ca.crt", ca);
        dir.write("tls.crt", cert);
        dir.write("tls.key", key);
        let files = Files::read(&settings.tls).unwrap();
        let made = Connections::new(&settings, Protocol::Negotiated, &files);
        let error = made.err().unwrap();
        let (told, whole) = (error.to_string(), format!("{error:?}"));
        assert!(told.starts_with(&words), "{told}");
        let secret = key
            .lines()
            .filter(|line| line.len() > 20 && !line.contains("-----"));
        for line in secret {
            assert!(!told.contains(line) && !whole.contains(line), "{told}");
        }
    }
}
