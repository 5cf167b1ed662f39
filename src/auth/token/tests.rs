//! Tokens of PyJWT, and tokens that nobody should accept.

use super::*;
use crate::auth::acl::{Acl, Action, Reason, Who};
use crate::topic::TopicName;
use crate::types::HashSeed;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

/// A key of each kind, whose private parts are gone.
const KEYS: &str = r#"{"keys":[
{"kty":"oct","kid":"hs","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"},
{"kty":"RSA","n":"ucs2rqjdM9dTVOu9GrWbuTEb8N6eSYIygQkP5e8adV2utNuWje8_WGdPCn03opcRwcV1Bj8W7gy9lmMl_IBOipZOGPB2wkTmJp6LtBmlKzf3pP2wgg8qjFUuFwgwmvj-51qwHBHFUzrhzMlaCiqxNoY5NRAfAFXCZ2Iq9ztN8zvGiV_XXzs8jww21NhIosckfAr3BUcfpc3aQwplzo6K5V2zGLW5ziQC4RjCFHg_kYnufL86ywNsDjJnMwWHojHbWFmz6n5r22EjKIZCuH0YNGcp5Zxl6iVsNxUfhGsX6SO8uKjN29CCW4pRDc8HKM_z29pHL57n6L63It-I0lGkbw","e":"AQAB","kid":"rs","use":"sig"},
{"kty":"EC","crv":"P-256","x":"J-JUTEVSaIFz9LojN7MmGaD966uIWqbJOw4ssx2kYdY","y":"bKkDf8DIHHjDnRMA-WfXNPDtDG3FHxJIe_p1RRaa_A4","kid":"es","use":"sig"},
{"x":"fR8KHufVcB-9G_q5t4yGPsUppAUBp77DRIrcRy446jU","kty":"OKP","crv":"Ed25519","kid":"ed","use":"sig"}
]}"#;
/// What each of them has signed with PyJWT: `{"sub":"ann","exp":2000000000,"publish":["dev/7/#"],"subscribe":["cmd/7/+"]}`.
const PAYLOAD: &str =
    "eyJzdWIiOiJhbm4iLCJleHAiOjIwMDAwMDAwMDAsInB1Ymxpc2giOlsiZGV2LzcvIyJdLCJzdWJzY3JpYmUiOlsiY21kLzcvKyJdfQ";
const SIGNED: [(Algorithm, &str, &str); 4] = [
    (
        Algorithm::HS256,
        "eyJhbGciOiJIUzI1NiIsImtpZCI6ImhzIiwidHlwIjoiSldUIn0",
        "hbARyFY7Jbk0Y6Y2MWdCu4CE8f8f1Ea4CDawtG5ZSxg",
    ),
    (
        Algorithm::RS256,
        "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzIiwidHlwIjoiSldUIn0",
        "ZMNgtskY5EUizI-OiOFstAkpbN50FaFnKuGL94iYYcPdGp6-gNO-CEXR0OuCk6zNGylh1EUJSkRvZuQ3fnvT9eSywutt17w6hkLG\
     GBE4skMBwidegYROezEeB-qV6GC1B8Eky4Nayc4B7bmB72PQiirb1N_beQzUZHRZeAOs6EcJlUQMsuXBf_1kL4yBYN2RR436lqHi\
     nxqyAMHp3fu881HSU7dMO5_D9AyTdY-pu7H19BaXBrWgwkIPYcz6lxvm8JkLK8mMXZowQtbFgMw1y-JrcLakjg7krY_swUyfJkFw\
     TtTmxtOVG_u62zIr_9FN0OQE1xwKtkvgP31W6yAh_w",
    ),
    (
        Algorithm::ES256,
        "eyJhbGciOiJFUzI1NiIsImtpZCI6ImVzIiwidHlwIjoiSldUIn0",
        "cxsTAfocCF1tJjkTGaYpm8UE4t9aP8M0Fw_fqJAiwVaJKvX0xlFl3p9cWL-63cR8UtNL5XEvyu5bxfuHfuVsew",
    ),
    (
        Algorithm::EdDSA,
        "eyJhbGciOiJFZERTQSIsImtpZCI6ImVkIiwidHlwIjoiSldUIn0",
        "DRoi1Aah_ojNqntDvFdxZctr4x7d2mQwk-LP8MGfVaX9ZQviw2koi3l3HBQyq40elNTuKmaDdk2ila_onsIfDQ",
    ),
];
/// The secret among the keys.
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
/// Some while before the tokens expire.
const NOW: u64 = 1_900_000_000;

fn tokens() -> Tokens {
    Tokens::parse(KEYS.as_bytes(), None, None).expect("four keys")
}

fn token((_, header, signature): (Algorithm, &str, &str)) -> String {
    format!("{header}.{PAYLOAD}.{signature}")
}

/// Signed with the secret, and with its id.
fn sign(claims: &Value) -> String {
    let header = Header { kid: Some("hs".to_owned()), ..Header::new(Algorithm::HS256) };
    encode(&header, claims, &EncodingKey::from_secret(SECRET)).expect("signed")
}

fn refusal(token: &str) -> Refused {
    tokens().check(token.as_bytes(), NOW).expect_err(token)
}

#[test]
fn tokens_of_every_algorithm_say_who_comes_until_when_and_what_for() {
    for signed in SIGNED {
        let token = token(signed);
        assert!(Tokens::is_token(token.as_bytes()));
        let pass =
            tokens().check(token.as_bytes(), NOW).unwrap_or_else(|why| panic!("{:?}: {why}", signed.0));
        assert_eq!((&*pass.user, pass.expires, pass.granted.is_some()), ("ann", 2_000_000_060, true));
    }
}

#[test]
fn a_token_stands_for_the_users_section_and_not_for_roles_and_patterns() {
    let acl = b"user ann\ntopic own/#\nrole r\nfor user ann\ntopic read role\npattern write %c/x\n";
    let pass = tokens().check(token(SIGNED[0]).as_bytes(), NOW).expect("a good one");
    let acl = Acl::parse(acl, 1, HashSeed(7)).expect("a file");
    let who = Who {
        user: Some(&pass.user),
        client: "c",
        listener: "",
        subject: None,
        granted: pass.granted.as_ref(),
    };
    let standing = acl.standing(&who);
    let decide = |action, name| acl.decide(&standing, action, TopicName::trusted(name));
    for (action, name, allowed, reason) in [
        (Action::Publish, "dev/7/x", true, Reason::Token),
        (Action::Receive, "dev/7/x", false, Reason::NoLine),
        (Action::Receive, "cmd/7/x", true, Reason::Token),
        (Action::Publish, "own/x", false, Reason::NoLine),
        (Action::Receive, "role", true, Reason::Line(5)),
    ] {
        let decision = decide(action, name);
        assert_eq!((decision.allowed, decision.reason), (allowed, reason), "{action:?} {name}");
    }
    let subscribe = |filter| acl.decide_subscribe(&standing, TopicFilter::trusted(filter)).reason;
    assert_eq!((subscribe("cmd/#"), subscribe("own/#")), (Reason::Token, Reason::NoLine));
}

#[test]
fn a_token_without_filters_leaves_its_user_to_the_file() {
    let pass =
        tokens().check(sign(&json!({"sub": "bob", "exp": NOW + 10})).as_bytes(), NOW).expect("a good one");
    assert!(pass.granted.is_none());
    let none = tokens().check(sign(&json!({"sub": "bob", "exp": NOW + 10, "publish": []})).as_bytes(), NOW);
    assert!(none.expect("a good one").granted.is_some(), "which may do nothing");
}

#[test]
fn a_token_is_good_between_two_moments_give_or_take_a_minute() {
    let at = |now| {
        tokens().check(sign(&json!({"sub": "a", "nbf": 5_000, "exp": 6_000.9})).as_bytes(), now).map(|_| ())
    };
    assert_eq!(at(4_939), Err(Refused::Early(61)));
    assert_eq!((at(4_940), at(6_059)), (Ok(()), Ok(())));
    assert_eq!((at(6_060), at(6_160)), (Err(Refused::Expired(0)), Err(Refused::Expired(100))));
}

#[test]
fn a_changed_or_foreign_token_is_refused() {
    for signed in SIGNED {
        let other = SIGNED.iter().find(|other| other.0 != signed.0).expect("four");
        let swapped = format!("{}.{PAYLOAD}.{}", signed.1, other.2);
        assert!(matches!(refusal(&swapped), Refused::Signature | Refused::Form), "{swapped}");
        let payload = URL_SAFE_NO_PAD.encode(r#"{"sub":"root","exp":2000000000}"#);
        assert_eq!(refusal(&format!("{}.{payload}.{}", signed.1, signed.2)), Refused::Signature);
    }
}

#[test]
fn a_token_does_not_choose_how_it_is_checked() {
    let header = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let none = format!("{}.{PAYLOAD}.", header(r#"{"alg":"none"}"#));
    assert_eq!(refusal(&none), Refused::Form);
    // Signed with a public key as if it were a secret.
    let hs = encode(
        &Header { kid: Some("rs".to_owned()), ..Header::new(Algorithm::HS256) },
        &json!({"sub": "root", "exp": NOW + 10}),
        &EncodingKey::from_secret(KEYS.as_bytes()),
    );
    let kid = |kid: &str| Some(kid.to_owned());
    assert_eq!(refusal(&hs.expect("signed")), Refused::NoKey { kid: kid("rs"), algorithm: Algorithm::HS256 });
    let stronger = encode(
        &Header { kid: kid("hs"), ..Header::new(Algorithm::HS512) },
        &json!({"sub": "root", "exp": NOW + 10}),
        &EncodingKey::from_secret(SECRET),
    );
    assert_eq!(
        refusal(&stronger.expect("signed")),
        Refused::NoKey { kid: kid("hs"), algorithm: Algorithm::HS512 }
    );
}

#[test]
fn a_token_without_a_key_id_is_tried_with_every_key_of_its_algorithm() {
    let jwk = |secret: &[u8]| json!({"kty": "oct", "kid": "x", "k": URL_SAFE_NO_PAD.encode(secret)});
    let keys = json!({"keys": [jwk(&[1; 32]), jwk(SECRET), jwk(&[2; 32])]}).to_string();
    let tokens = Tokens::parse(keys.as_bytes(), None, None).expect("three keys");
    let claims = json!({"sub": "ann", "exp": NOW + 10});
    let token =
        encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(SECRET)).expect("signed");
    assert_eq!(&*tokens.check(token.as_bytes(), NOW).expect("the second key's").user, "ann");
    let token =
        encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(&[3; 32])).expect("signed");
    assert_eq!(tokens.check(token.as_bytes(), NOW).map(|_| ()), Err(Refused::Signature));
}

#[test]
fn claims_that_cannot_be_used_are_named() {
    let claims = |claims: Value| refusal(&sign(&claims)).to_string();
    for (given, why) in [
        (json!({"exp": NOW}), "its claims cannot be used: missing field `sub`"),
        (json!({"sub": "a"}), "its claims cannot be used: missing field `exp`"),
        (json!({"sub": "a", "exp": -1}), "its claims cannot be used: exp is no moment"),
        (json!({"sub": "a", "exp": 1e300}), "its claims cannot be used: exp is no moment"),
        (
            json!({"sub": "a:b", "exp": NOW}),
            "its sub \"a:b\": expected a name without a colon and without control characters",
        ),
        (
            json!({"sub": "a", "exp": NOW, "publish": ["a/#/b"]}),
            "\"a/#/b\" in it: multi-level wildcard is not the whole last level [MQTT-4.7.1-1] (3.1.1: [MQTT-4.7.1-2])",
        ),
    ] {
        // Where in the token's JSON is for nobody to know.
        assert_eq!(claims(given).split(" at line").next(), Some(why));
    }
    assert!(
        claims(json!({"sub": "a", "exp": NOW, "publish": "a"}))
            .starts_with("its claims cannot be used: invalid type")
    );
    for text in ["", "..", "eyJ.a.b", "eyJ.a", &"x".repeat(20_000)] {
        assert_eq!(refusal(text), Refused::Form, "{text}");
    }
}

#[test]
fn issuer_and_audience_are_those_of_the_settings() {
    let tokens = Tokens::parse(KEYS.as_bytes(), Some("me"), Some("mqtt")).expect("four keys");
    let check = |claims: Value| tokens.check(sign(&claims).as_bytes(), NOW).map(|_| ());
    let exp = NOW + 10;
    assert_eq!(check(json!({"sub": "a", "exp": exp, "iss": "me", "aud": "mqtt"})), Ok(()));
    assert_eq!(check(json!({"sub": "a", "exp": exp, "iss": "me", "aud": ["x", "mqtt"]})), Ok(()));
    assert_eq!(check(json!({"sub": "a", "exp": exp, "iss": "me", "aud": ["x"]})), Err(Refused::Audience));
    assert_eq!(check(json!({"sub": "a", "exp": exp, "iss": "me"})), Err(Refused::Audience));
    assert_eq!(check(json!({"sub": "a", "exp": exp, "aud": "mqtt"})), Err(Refused::Issuer(None)));
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    let parse = |text: String| Tokens::parse(text.as_bytes(), None, None).expect_err("refused").to_string();
    assert!(parse("{}".to_owned()).starts_with("not a JSON Web Key Set (RFC 7517): missing field `keys`"));
    assert_eq!(parse(json!({"keys": []}).to_string()), "no key in it");
    let second = |key: Value| {
        parse(json!({"keys": [{"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET)}, key]}).to_string())
    };
    for (key, why) in [
        (json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode([1; 31])}), BadKey::Short),
        (json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([255; 128]), "e": "AQAB"}), BadKey::Short),
        (json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}), BadKey::Kind),
        (json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET), "use": "enc"}), BadKey::Purpose),
        (json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET), "alg": "HS512"}), BadKey::Purpose),
    ] {
        assert_eq!(second(key), format!("key 2: {why}"));
    }
}

#[test]
fn no_bytes_make_the_reader_panic_or_let_anybody_in() {
    let (tokens, mut rng) = (tokens(), crate::types::Rng::new(9));
    let good: Vec<Vec<u8>> = SIGNED.into_iter().map(|signed| token(signed).into_bytes()).collect();
    for _ in 0..3_000 {
        let mut bytes = rng.pick(&good).clone();
        for _ in 0..=rng.below(4) {
            let at = usize::try_from(rng.below(bytes.len() as u64)).expect("small");
            match rng.below(3) {
                0 => bytes[at] = *rng.pick(b"AZaz09-_.\xff="),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, *rng.pick(b"AZaz09-_.")),
            }
        }
        if let Ok(pass) = tokens.check(&bytes, NOW) {
            assert_eq!(&*pass.user, "ann", "only what was signed");
            assert!(good.contains(&bytes), "{}", String::from_utf8_lossy(&bytes));
        }
    }
}
