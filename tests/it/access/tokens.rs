//! JSON Web Tokens in the place of passwords.

use super::passwords::{Folder, PENCIL, asks, logged_in};
use crate::support::{Broker, Connect, connack, property, publish_v5, until};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::time::{SystemTime, UNIX_EPOCH};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
/// How long an expired token is still taken, because clocks differ.
const LEEWAY_SECS: u64 = 60;

/// Settings that ask for tokens.
fn signed_by_us(folder: &Folder) -> String {
    let keys = format!(r#"{{"keys":[{{"kty":"oct","kid":"hs","k":"{}"}}]}}"#, BASE64.encode(SECRET));
    format!("[[auth]]\njwks_file = {:?}\naudience = \"pantala\"\n", folder.write("keys.json", &keys))
}

fn token(claims: &str) -> String {
    let head = BASE64.encode(r#"{"alg":"HS256","typ":"JWT","kid":"hs"}"#);
    let signed = format!("{head}.{}", BASE64.encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("keys have any length");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(mac.finalize().into_bytes()))
}

#[expect(clippy::disallowed_methods, reason = "tokens say when they end")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn showing<'a>(id: &'a str, token: &'a str) -> Connect<'a> {
    Connect { username: Some("whoever"), password: Some(token.as_bytes()), ..Connect::v5(id) }
}

#[test]
fn a_token_lets_its_user_in_to_do_what_it_says() {
    let folder = Folder::new();
    let rules = folder.write("rules", "user ann\ntopic readwrite file/#\npattern readwrite own/%u\n");
    let settings = format!("{}[acl]\nfile = {rules:?}\n", signed_by_us(&folder));
    let broker = Broker::with_listener(&format!("anonymous = false\n{settings}"));
    let ends = now() + 1_000;
    let claims = format!(
        r#"{{"sub":"ann","exp":{ends},"aud":"pantala","publish":["dev/7/#"],"subscribe":["dev/+/a"]}}"#
    );
    let shown = token(&claims);
    let (mut ann, _) = broker.greeted(&showing("c", &shown));
    ann.subscribe_v5("dev/7/a", 0);
    ann.subscribe_v5("own/ann", 0);
    let mut told = |topic: &str| {
        ann.send(&publish_v5(2, topic, Some(1), &[], b"x"));
        let mut answer = ann.packet();
        if answer[0] == 0x30 {
            answer = ann.packet();
        }
        answer.get(4).copied().unwrap_or(0)
    };
    assert_eq!(told("dev/7/b"), 0x10, "which nobody subscribes to");
    assert_eq!(told("file/a"), 0x87, "the token speaks in the place of the user's section");
    assert_eq!(told("dev/8/a"), 0x87);
    // Without filters in it, the file says what its user may do.
    let shown = token(&format!(r#"{{"sub":"ann","exp":{ends},"aud":["others","pantala"]}}"#));
    let (mut ann, _) = broker.greeted(&showing("c2", &shown));
    ann.subscribe_v5("file/#", 0);
}

#[test]
fn a_token_that_is_not_good_lets_nobody_in() {
    let folder = Folder::new();
    let broker = Broker::with(&signed_by_us(&folder));
    let ends = now() + 1_000;
    let good = token(&format!(r#"{{"sub":"ann","exp":{ends},"aud":"pantala"}}"#));
    broker.greeted(&showing("c", &good)).0.lives();
    let forged = format!("{}A{}", &good[..good.len() - 2], &good[good.len() - 1..]);
    let old = token(&format!(r#"{{"sub":"ann","exp":{},"aud":"pantala"}}"#, now() - LEEWAY_SECS - 1));
    let other = token(&format!(r#"{{"sub":"ann","exp":{ends},"aud":"them"}}"#));
    for shown in [&forged, &old, &other, "pencil"] {
        broker.refuses(&showing("c", shown).bytes(), 0x86);
    }
    for why in ["its signature is wrong", "it has expired", "not for this audience", "no such user"] {
        until(why, || broker.log().contains(why));
    }
}

#[test]
fn a_connection_ends_when_its_token_does() {
    let folder = Folder::new();
    let broker = Broker::with(&signed_by_us(&folder));
    // As old as can be and still good for a moment.
    let ends = now() + 2 - LEEWAY_SECS;
    let shown = token(&format!(r#"{{"sub":"ann","exp":{ends},"aud":"pantala"}}"#));
    let (mut new, _) = broker.greeted(&showing("new", &shown));
    let mut old = broker.raw();
    old.send(&Connect { level: 4, ..showing("old", &shown) }.bytes());
    old.expect(&connack(false, 0));
    let mut will = broker.v5("will");
    will.subscribe_v5("gone", 0);
    let leaves = Connect { will: Some(("gone", "x", 0, false)), ..showing("leaves", &shown) };
    let (mut leaves, _) = broker.greeted(&leaves);
    let said = new.expect_goodbye(0xa0);
    assert!(said.string(property::REASON_STRING).is_some_and(|why| why.contains("expired")));
    leaves.expect_goodbye(0xa0);
    old.expect_closed();
    will.expect(&publish_v5(0, "gone", None, &[], b"x"));
    broker.refuses(&showing("new", &shown).bytes(), 0x86);
}

#[test]
fn files_and_tokens_stand_beside_each_other() {
    let folder = Folder::new();
    let file = folder.write("users", &format!("ann:{PENCIL}\n"));
    for settings in [asks(&file) + &signed_by_us(&folder), signed_by_us(&folder) + &asks(&file)] {
        let broker = Broker::with(&settings);
        drop(logged_in(&broker, "c", "ann"));
        let shown = token(&format!(r#"{{"sub":"bob","exp":{},"aud":"pantala"}}"#, now() + 1_000));
        broker.greeted(&showing("c", &shown)).0.lives();
        broker.refuses(&showing("c", "brush").bytes(), 0x86);
    }
}
