use std::fs;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};

use super::*;
use crate::settings::testing::Dir;

pub(in super::super) type Issuer = CertifiedIssuer<'static, KeyPair>;

pub(in super::super) fn authority(name: &str) -> Issuer {
    authority_by(name, &rcgen::PKCS_ECDSA_P256_SHA256)
}

fn authority_by(name: &str, algorithm: &'static rcgen::SignatureAlgorithm) -> Issuer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let key = KeyPair::generate_for(algorithm).unwrap();
    CertifiedIssuer::self_signed(params, key).unwrap()
}

pub(in super::super) fn issue(
    authority: &Issuer,
    serial: u64,
    end: i32,
) -> (CertificateDer<'static>, String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_after = date_time_ymd(end, 1, 1);
    let made = params.signed_by(&key, authority).unwrap();
    (made.der().clone(), made.pem(), key.serialize_pem())
}

pub(in super::super) fn revoking(authority: &Issuer, serials: &[u64]) -> String {
    let revoked = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2024, 2, 1),
        crl_number: SerialNumber::from(1u64),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(authority).unwrap().pem().unwrap()
}

/// As when the files have been so for a while.
fn settled(files: &TlsFiles) -> Settling {
    let mut settling = Settling::default();
    if let Ok(contents) = Contents::read(files) {
        settling.is_settled(&contents.print());
    }
    settling
}

fn files(dir: &Dir, authority: &Issuer, crl: bool) -> TlsFiles {
    let (_, cert, key) = issue(authority, 1, 2100);
    TlsFiles {
        cert: dir.write("tls.crt", cert),
        key: dir.write("tls.key", key),
        client_ca: Some(dir.write("ca.crt", authority.pem())),
        crl: crl.then(|| dir.write("crl.pem", revoking(authority, &[]))),
        demanded: true,
    }
}

#[test]
fn a_caller_is_admitted_by_authority_time_and_list() {
    let (dir, ours, theirs) = (Dir::new(), authority("ours"), authority("theirs"));
    let files = files(&dir, &ours, true);
    let set = Set::read(&files).unwrap();
    let (good, ..) = issue(&ours, 7, 2100);
    assert!(set.admits(std::slice::from_ref(&good), UnixTime::now()));
    assert!(
        !set.admits(&[issue(&ours, 8, 2020).0], UnixTime::now()),
        "expired"
    );
    let later = UnixTime::since_unix_epoch(Duration::from_secs(140 * 365 * 24 * 3600));
    assert!(!set.admits(std::slice::from_ref(&good), later), "by then");
    assert!(
        !set.admits(&[issue(&theirs, 9, 2100).0], UnixTime::now()),
        "of another authority"
    );
    assert!(!set.admits(&[], UnixTime::now()));
    dir.write("crl.pem", revoking(&ours, &[7]));
    let set = set
        .look(&files, &mut settled(&files))
        .unwrap()
        .expect("another set");
    assert!(
        !set.admits(std::slice::from_ref(&good), UnixTime::now()),
        "revoked"
    );
    assert!(set.admits(&[issue(&ours, 10, 2100).0], UnixTime::now()));
    // A list that does not speak of the authority says nothing of its certificates.
    dir.write("crl.pem", revoking(&theirs, &[]));
    let set = set
        .look(&files, &mut settled(&files))
        .unwrap()
        .expect("another set");
    assert!(!set.admits(&[issue(&ours, 10, 2100).0], UnixTime::now()));
}

/// Whoever renews a list may put it behind the one of before, or in front of it.
#[test]
fn who_is_on_any_list_of_an_authority_is_not_admitted() {
    let (dir, ours) = (Dir::new(), authority("ours"));
    let files = files(&dir, &ours, true);
    let (revoked, good) = (issue(&ours, 7, 2100).0, issue(&ours, 10, 2100).0);
    let (empty, newer) = (revoking(&ours, &[]), revoking(&ours, &[7]));
    for lists in [[&empty, &newer], [&newer, &empty]] {
        dir.write("crl.pem", lists.map(String::as_str).concat());
        let set = Set::read(&files).unwrap();
        let admits =
            |it: &CertificateDer<'static>| set.admits(std::slice::from_ref(it), UnixTime::now());
        assert!(
            !admits(&revoked),
            "though one of the lists does not name it"
        );
        assert!(admits(&good));
    }
}

/// An authority with a new key keeps its name, and each key signs a list of its own.
#[test]
fn an_authority_may_have_two_keys_and_a_list_by_each() {
    let dir = Dir::new();
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519] {
        let (old, new) = (authority("ours"), authority_by("ours", algorithm));
        let mut files = files(&dir, &old, true);
        files.client_ca = Some(dir.write("ca.crt", old.pem() + &new.pem()));
        let (of_old, of_new) = (revoking(&old, &[7]), revoking(&new, &[8]));
        for lists in [[&of_old, &of_new], [&of_new, &of_old]] {
            dir.write("crl.pem", lists.map(String::as_str).concat());
            let set = Set::read(&files).unwrap();
            for (by, serial, admitted) in [
                (&old, 7, false),
                (&old, 8, true),
                (&new, 7, true),
                (&new, 8, false),
            ] {
                let shown = [issue(by, serial, 2100).0];
                assert_eq!(
                    set.admits(&shown, UnixTime::now()),
                    admitted,
                    "{serial} by {algorithm:?}"
                );
            }
            assert!(!set.admits(&[issue(&new, 9, 2020).0], UnixTime::now()));
        }
        // A list by the key of before says nothing of what the new one has signed.
        dir.write("crl.pem", &of_old);
        let set = Set::read(&files).unwrap();
        assert!(set.admits(&[issue(&old, 8, 2100).0], UnixTime::now()));
        assert!(!set.admits(&[issue(&new, 7, 2100).0], UnixTime::now()));
    }
}

#[test]
fn more_lists_of_a_name_than_can_be_looked_at_are_refused() {
    let (dir, ours) = (Dir::new(), authority("ours"));
    let files = files(&dir, &ours, true);
    dir.write("crl.pem", revoking(&ours, &[]).repeat(17));
    let error = Set::read(&files).err().expect("too many").to_string();
    assert!(error.contains("crl.pem cannot be used: "), "{error}");
    dir.write("crl.pem", revoking(&ours, &[]).repeat(16));
    assert!(Set::read(&files).is_ok());
}

#[test]
fn the_same_files_are_no_new_set_and_changed_ones_are_even_when_they_look_the_same() {
    let (dir, ours) = (Dir::new(), authority("ours"));
    let files = files(&dir, &ours, false);
    let set = Set::read(&files).unwrap();
    assert!(set.look(&files, &mut settled(&files)).unwrap().is_none());
    fs::copy(&files.cert, dir.path("copy")).unwrap();
    fs::rename(dir.path("copy"), &files.cert).unwrap();
    assert!(
        set.look(&files, &mut settled(&files)).unwrap().is_none(),
        "only its inode is new"
    );
    let (_, cert, key) = issue(&ours, 2, 2100);
    dir.write("tls.crt", cert);
    let torn = set
        .look(&files, &mut settled(&files))
        .err()
        .expect("the key is of the other certificate");
    assert!(
        torn.to_string().contains("are of no use together"),
        "{torn}"
    );
    dir.write("tls.key", key);
    assert!(set.look(&files, &mut settled(&files)).unwrap().is_some());
}

/// What a certificate of ours says of itself, and how it is taken.
fn taken(
    dir: &Dir,
    ours: &Issuer,
    say: impl FnOnce(&mut CertificateParams),
) -> Result<Set, String> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    say(&mut params);
    let cert = params.signed_by(&key, ours).unwrap().pem();
    let files = TlsFiles {
        cert: dir.write("tls.crt", cert),
        key: dir.write("tls.key", key.serialize_pem()),
        ..files_of(dir)
    };
    Set::read(&files).map_err(|error| error.to_string())
}

fn files_of(dir: &Dir) -> TlsFiles {
    TlsFiles {
        cert: dir.path("tls.crt"),
        key: dir.path("tls.key"),
        client_ca: None,
        crl: None,
        demanded: false,
    }
}

/// It would come into force in place of one that they take.
#[test]
fn a_certificate_that_callers_would_refuse_by_its_time_is_refused() {
    let (dir, ours) = (Dir::new(), authority("ours"));
    let path = dir.path("tls.crt").display().to_string();
    let expired = taken(&dir, &ours, |it| it.not_after = date_time_ymd(2024, 1, 1));
    let why = format!("{path} holds a certificate that has expired");
    assert_eq!(expired.err(), Some(why));
    let early = taken(&dir, &ours, |it| it.not_before = date_time_ymd(2100, 1, 1));
    let why = format!("{path} holds a certificate that is not valid yet");
    assert_eq!(early.err(), Some(why));
    // What else it is for is a matter of those who are shown it.
    let purpose = ExtendedKeyUsagePurpose::ClientAuth;
    assert!(taken(&dir, &ours, |it| it.extended_key_usages.push(purpose)).is_ok());
    assert!(
        taken(&dir, &ours, |it| it.is_ca =
            IsCa::Ca(BasicConstraints::Unconstrained))
        .is_ok()
    );
}

/// As when those who should renew it have stopped.
#[tokio::test]
async fn a_certificate_that_expires_while_it_is_in_force_is_told() {
    let (dir, ours) = (Dir::new(), authority("ours"));
    let end = SystemTime::now() + Duration::from_secs(2);
    let set = taken(&dir, &ours, |it| it.not_after = end.into()).unwrap();
    let files = files_of(&dir);
    let mut settling = settled(&files);
    let told = loop {
        match set.look(&files, &mut settling) {
            Ok(new) => assert!(new.is_none()),
            Err(error) => break error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(SystemTime::now() >= end);
    assert!(
        told.ends_with("holds a certificate that has expired"),
        "{told}"
    );
    let (_, cert, key) = issue(&ours, 2, 2100);
    dir.write("tls.crt", cert);
    dir.write("tls.key", key);
    let renewed = set.look(&files, &mut settled(&files));
    assert!(renewed.unwrap().is_some());
}

#[test]
fn a_file_that_is_broken_is_named_and_no_word_of_the_key_is_said() {
    let (dir, ours) = (Dir::new(), authority("ours"));
    let files = files(&dir, &ours, true);
    let secret = "-----BEGIN hunter2";
    for (name, contents, part) in [
        ("tls.crt", "", "tls.crt holds no certificate in PEM"),
        (
            "tls.crt",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            "tls.crt holds no certificate",
        ),
        ("ca.crt", "nothing", "ca.crt holds no certificate in PEM"),
        (
            "crl.pem",
            "",
            "crl.pem holds no list of revoked certificates in PEM",
        ),
        ("tls.key", "", "tls.key is empty"),
        (
            "tls.key",
            secret,
            "tls.key holds no unencrypted private key in PEM",
        ),
        (
            "tls.key",
            "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
            "tls.key",
        ),
    ] {
        let before = fs::read(dir.path(name)).unwrap();
        dir.write(name, contents);
        let error = Set::read(&files).err().expect(name);
        let words = format!("{error} {error:?}");
        assert!(error.to_string().contains(part), "{error}");
        assert!(!words.contains("hunter2"), "{words}");
        dir.write(name, before);
    }
    fs::remove_file(files.crl.as_ref().unwrap()).unwrap();
    let gone = Set::read(&files).err().unwrap().to_string();
    assert!(
        gone.starts_with("cannot read ") && gone.contains("crl.pem"),
        "{gone}"
    );
}
