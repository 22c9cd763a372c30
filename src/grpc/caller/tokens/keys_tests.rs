use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use self::mint::{ISSUER, Signer, but, claims, from_now, hs256, jwks, signed};
use super::*;

#[allow(unreachable_pub, reason = "it is a file of the other tests, too")]
#[path = "../../../../tests/it/support/mint.rs"]
mod mint;

fn rules() -> Rules {
    Rules {
        issuer: ISSUER.to_owned(),
        audiences: vec!["other".to_owned(), "switchboard".to_owned()],
    }
}

fn keys(jwk: &[Value]) -> Keys {
    Keys::parse(jwks(jwk).as_bytes(), &rules()).unwrap()
}

fn refused(keys: &Keys, token: &str) -> String {
    Status::from(keys.verify(token).unwrap_err())
        .message()
        .to_owned()
}

#[test]
fn a_good_token_passes_by_each_algorithm_and_again() {
    for signer in [Signer::rs256(), Signer::es256(), Signer::eddsa()] {
        let keys = keys(&[signer.jwk("a")]);
        let token = signer.token("a", &claims("system:serviceaccount:crm:bot"));
        for _ in 0..2 {
            let identity = keys.verify(&token).unwrap().identity;
            assert_eq!(
                &*identity,
                "jwt:system:serviceaccount:crm:bot",
                "{}",
                signer.algorithm()
            );
        }
        let single = signer.token("a", &but("s", "aud", json!("switchboard")));
        assert_eq!(&*keys.verify(&single).unwrap().identity, "jwt:s");
    }
}

#[test]
fn what_a_token_says_of_itself_has_to_be_right() {
    let signer = Signer::es256();
    let keys = keys(&[signer.jwk("a")]);
    let lacks = "the token lacks one of exp, iss, aud and sub, or has a claim of another type";
    for (name, value, words) in [
        (
            "iss",
            json!("https://other.example"),
            "the token is of another issuer",
        ),
        ("iss", Value::Null, lacks),
        (
            "aud",
            json!(["somebody"]),
            "the token is meant for another audience",
        ),
        ("aud", json!([]), "the token is meant for another audience"),
        ("aud", Value::Null, lacks),
        ("exp", json!(from_now(-31)), "the token has expired"),
        ("exp", Value::Null, lacks),
        ("exp", json!("tomorrow"), lacks),
        ("nbf", json!(from_now(40)), "the token is not valid yet"),
        ("sub", Value::Null, lacks),
        ("sub", json!(7), lacks),
        ("nbf", json!("tomorrow"), lacks),
        ("sub", json!(""), SUBJECT),
        ("sub", json!("a\u{2028}b"), SUBJECT),
        ("sub", json!("a\u{202e}b"), SUBJECT),
        ("sub", json!("x".repeat(1025)), SUBJECT),
    ] {
        let token = signer.token("a", &but("s", name, value.clone()));
        assert_eq!(refused(&keys, &token), words, "{name} {value}");
    }
    // Clocks may be half a minute apart.
    for (name, seconds) in [("exp", -20), ("nbf", 20)] {
        let token = signer.token("a", &but("s", name, json!(from_now(seconds))));
        assert!(keys.verify(&token).is_ok(), "{name}");
    }
}

#[test]
fn no_token_chooses_how_it_is_verified() {
    for signer in [Signer::rs256(), Signer::es256(), Signer::eddsa()] {
        let jwk = signer.jwk("a");
        let keys = keys(std::slice::from_ref(&jwk));
        let claims = claims("s");
        let secrets = [
            signer.public_bytes(),
            jwk.to_string().into_bytes(),
            Vec::new(),
        ];
        for secret in secrets {
            let header = json!({"alg": "HS256", "kid": "a"});
            let token = signed(&header, &claims, |message| hs256(&secret, message));
            assert!(keys.verify(&token).is_err(), "{}", signer.algorithm());
        }
        for alg in ["none", "None", "", "RS384", "PS256", "ES384", "HS512"] {
            let header = json!({"alg": alg, "kid": "a"});
            let unsigned = signed(&header, &claims, |_| Vec::new());
            assert!(keys.verify(&unsigned).is_err(), "{alg}");
            let token = signed(&header, &claims, |message| signer.sign(message));
            assert!(
                keys.verify(&token).is_err(),
                "{alg} by {}",
                signer.algorithm()
            );
        }
        // A key that the token brings along is not looked at.
        let thief = Signer::es256();
        let header = json!({"alg": "ES256", "kid": "a", "jwk": thief.jwk("a"),
                            "jku": "http://127.0.0.1/", "x5u": "http://127.0.0.1/"});
        let token = signed(&header, &claims, |message| thief.sign(message));
        assert!(keys.verify(&token).is_err());
    }
}

/// RFC 7515, section 4.1.11: what is not understood there makes the token invalid.
#[test]
fn a_token_that_demands_an_extension_is_refused() {
    let signer = Signer::es256();
    let keys = keys(&[signer.jwk("a")]);
    for critical in [json!(["urn:example:bound"]), json!(["exp"]), json!([])] {
        let header = json!({"alg": "ES256", "kid": "a", "crit": critical, "urn:example:bound": 1});
        let token = signed(&header, &claims("s"), |it| signer.sign(it));
        assert_eq!(
            refused(&keys, &token),
            "the token demands an extension (crit) that is not known here"
        );
    }
    let header = json!({"alg": "ES256", "kid": "a", "urn:example:bound": 1});
    let token = signed(&header, &claims("s"), |it| signer.sign(it));
    assert!(keys.verify(&token).is_ok(), "nobody has to understand it");
}

#[test]
fn a_signature_is_of_this_key_and_these_claims() {
    let (signer, other) = (Signer::es256(), Signer::es256());
    let keys = keys(&[signer.jwk("a")]);
    let forged = other.token("a", &claims("s"));
    assert_eq!(refused(&keys, &forged), "the token's signature is wrong");
    let (good, admin) = (
        signer.token("a", &claims("s")),
        signer.token("a", &claims("admin")),
    );
    assert!(keys.verify(&good).is_ok());
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (good, admin) = (parts(&good), parts(&admin));
    let mixed = format!("{}.{}.{}", good[0], admin[1], good[2]);
    assert_eq!(refused(&keys, &mixed), "the token's signature is wrong");
    for garbage in [
        "",
        ".",
        "..",
        "a.b.c",
        "Bearer",
        &"x".repeat(20_000),
        "\u{fffd}",
    ] {
        assert_eq!(refused(&keys, garbage), NOT_A_TOKEN, "{garbage:?}");
    }
}

#[test]
fn the_key_is_the_one_that_is_named() {
    let (a, b) = (Signer::es256(), Signer::rs256());
    let both = keys(&[a.jwk("a"), b.jwk("b")]);
    assert!(both.verify(&a.token("a", &claims("s"))).is_ok());
    assert!(both.verify(&b.token("b", &claims("s"))).is_ok());
    assert!(both.verify(&a.token("b", &claims("s"))).is_err());
    let unknown = both.verify(&a.token("c", &claims("s")));
    assert_eq!(unknown, Err(Refusal::UnknownKey(NOT_PUBLISHED)));
    assert_eq!(
        Keys::none().verify(&a.token("a", &claims("s"))),
        Err(Refusal::UnknownKey(NO_KEYS))
    );
}

fn nameless(signer: &Signer, claims: &Value) -> String {
    let header = json!({"alg": signer.algorithm()});
    signed(&header, claims, |it| signer.sign(it))
}

/// Names are the issuer's choice (RFC 7515, section 4.1.4), and while keys are replaced there are two.
#[test]
fn a_token_that_names_no_key_may_be_of_any() {
    let (old, new, other) = (Signer::es256(), Signer::es256(), Signer::rs256());
    let mut unnamed = new.jwk("b");
    unnamed.as_object_mut().unwrap().remove("kid");
    let keys = keys(&[old.jwk("a"), unnamed, other.jwk("c")]);
    for signer in [&old, &new, &other] {
        let token = nameless(signer, &claims("s"));
        assert!(keys.verify(&token).is_ok(), "{}", signer.algorithm());
        // Its own key says so, and no other is asked.
        let late = nameless(signer, &but("s", "exp", json!(from_now(-60))));
        assert_eq!(keys.verify(&late), Err(Refusal::Because(EXPIRED)));
    }
    // Perhaps of a key that is published by now.
    let thief = nameless(&Signer::es256(), &claims("s"));
    assert!(matches!(keys.verify(&thief), Err(Refusal::UnknownKey(_))));
    let unknown = nameless(&Signer::eddsa(), &claims("s"));
    assert!(matches!(keys.verify(&unknown), Err(Refusal::UnknownKey(_))));
    assert_eq!(
        Keys::none().verify(&thief),
        Err(Refusal::UnknownKey(NO_KEYS))
    );
}

/// As where the name says what a key is for; RFC 7517, section 4.5, has them differ by their kind.
#[test]
fn keys_that_share_a_name_all_count() {
    let signers = [Signer::es256(), Signer::rs256(), Signer::es256()];
    let keys = keys(&signers.each_ref().map(|signer| signer.jwk("a")));
    for signer in &signers {
        assert!(keys.verify(&signer.token("a", &claims("s"))).is_ok());
    }
    let forged = Signer::es256().token("a", &claims("s"));
    assert_eq!(refused(&keys, &forged), "the token's signature is wrong");
}

/// No key will ever do, so nobody waits for one; and it may well be published.
#[test]
fn an_algorithm_that_is_not_known_here_is_told_as_that() {
    let signer = Signer::es256();
    let keys = keys(&[signer.jwk("a")]);
    for alg in ["RS512", "PS256", "ES384", "HS256"] {
        let header = json!({"alg": alg, "kid": "b"});
        let token = signed(&header, &claims("s"), |it| signer.sign(it));
        assert_eq!(
            keys.verify(&token),
            Err(Refusal::Because(NOT_A_TOKEN)),
            "{alg}"
        );
    }
}

#[test]
fn keys_for_something_else_are_passed_over() {
    let signer = Signer::es256();
    let jwk = |name: &str, value: Value| {
        let mut jwk = signer.jwk("a");
        jwk[name] = value;
        jwk
    };
    let useless = [
        jwk("use", json!("enc")),
        jwk("key_ops", json!(["encrypt"])),
        jwk("alg", json!("ES384")),
        jwk("crv", json!("P-384")),
        jwk("kty", json!("XYZ")),
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "a"}),
        json!({}),
        json!(7),
    ];
    for one in &useless {
        let parsed = Keys::parse(jwks(std::slice::from_ref(one)).as_bytes(), &rules());
        assert!(matches!(parsed, Err(KeysError::NoneUsable)), "{one}");
    }
    let mut all = useless.to_vec();
    all.push(signer.jwk("good"));
    assert_eq!(keys(&all).len(), 1);
    for text in ["", "{}", "[]", "{\"keys\": 1}", "not json"] {
        let parsed = Keys::parse(text.as_bytes(), &rules());
        assert!(matches!(parsed, Err(KeysError::NotASet)), "{text}");
    }
}

/// One that cannot be right by any signature would have every token's called wrong.
#[test]
fn keys_that_are_broken_are_passed_over() {
    let [rsa, point, edwards] = [Signer::rs256(), Signer::es256(), Signer::eddsa()];
    let changed = |signer: &Signer, name: &str, change: fn(Vec<u8>) -> Vec<u8>| {
        let mut jwk = signer.jwk("a");
        let bytes = URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        jwk[name] = URL_SAFE_NO_PAD.encode(change(bytes)).into();
        jwk
    };
    let shorter = |mut bytes: Vec<u8>| bytes.split_off(1);
    let padded = |bytes: Vec<u8>| [vec![0], bytes].concat();
    let short = |bytes: Vec<u8>| bytes[..128].to_vec();
    let off = |mut bytes: Vec<u8>| {
        bytes[31] ^= 1;
        bytes
    };
    let none = |_| Vec::new();
    for broken in [
        changed(&rsa, "n", short),
        changed(&rsa, "n", padded),
        changed(&rsa, "n", none),
        changed(&rsa, "e", none),
        changed(&point, "y", off),
        changed(&point, "x", shorter),
        changed(&edwards, "x", shorter),
    ] {
        let parsed = Keys::parse(jwks(std::slice::from_ref(&broken)).as_bytes(), &rules());
        assert!(matches!(parsed, Err(KeysError::NoneUsable)), "{broken}");
        let keys = keys(&[broken, Signer::es256().jwk("b")]);
        assert_eq!(keys.len(), 1);
        for signer in [&rsa, &point, &edwards] {
            assert_eq!(
                refused(&keys, &signer.token("a", &claims("s"))),
                NOT_PUBLISHED
            );
        }
    }
}

#[test]
fn a_cached_token_expires_all_the_same() {
    let signer = Signer::es256();
    let keys = keys(&[signer.jwk("a")]);
    // Good for the leeway only, and so until a time that the cache knows.
    let token = signer.token("a", &but("s", "exp", json!(from_now(-29))));
    assert!(keys.verify(&token).is_ok());
    let begun = from_now(0);
    let until = keys.verify(&token).unwrap().until;
    while keys.verify(&token).is_ok() {
        assert!(from_now(0) - begun < 10, "it never expires");
    }
    assert!(
        from_now(0) >= until as i64,
        "it was good for longer than that"
    );
    assert!(
        until as i64 > begun,
        "a stream ends while a call is still let in"
    );
    assert_eq!(refused(&keys, &token), "the token has expired");
}
