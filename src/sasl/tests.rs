//! The example of RFC 7677, and everything that is to be refused.

use super::*;

const SECRET: &Secret = &Secret([7; 32]);
const ANOTHER: &Secret = &Secret([8; 32]);
/// The example of RFC 7677.
const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn users() -> Users {
    let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let mut users = Users::default();
    let verifier = Verifier::derive("pencil", &salt, 4_096).unwrap();
    users.add("user", verifier.clone()).unwrap();
    users.add("a,b=c", verifier.clone()).unwrap();
    assert_eq!(users.add("user", verifier.clone()), Err(BadName::Twice));
    for name in ["", "I\u{ad}X", "\u{7}"] {
        assert_eq!(users.add(name, verifier.clone()), Err(BadName::Unprepared));
    }
    users
}

fn begin(client_first: &str) -> Result<(Exchange, Vec<u8>), Refused> {
    Exchange::begin(client_first.as_bytes(), &users(), SERVER_NONCE, SECRET)
}

/// How an exchange ends that began as the example does.
fn finish(client_final: &str) -> Result<Authenticated, Refused> {
    begin(CLIENT_FIRST).unwrap().0.finish(client_final.as_bytes())
}

/// What a client that knows the password answers.
pub(crate) fn client_final(client_first: &str, server_first: &[u8], password: &str) -> String {
    let server_first = std::str::from_utf8(server_first).unwrap();
    let fields: Vec<&str> = server_first.split(',').map(|field| &field[2..]).collect();
    let &[nonce, salt, iterations] = &fields[..] else { panic!("{server_first}") };
    let mut salted = Digest::default();
    let salt = BASE64.decode(salt).unwrap();
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &salt, iterations.parse().unwrap(), &mut salted);
    let client_key = hmac(&salted, &[b"Client Key"]);
    let stored_key: Digest = <Sha256 as sha2::Digest>::digest(client_key).into();
    let bare = client_first.splitn(3, ',').nth(2).unwrap();
    let header = &client_first[..client_first.len() - bare.len()];
    let without_proof = format!("c={},r={nonce}", BASE64.encode(header));
    let signature = hmac(&stored_key, &[format!("{bare},{server_first},{without_proof}").as_bytes()]);
    let proof: Digest = std::array::from_fn(|at| client_key[at] ^ signature[at]);
    format!("{without_proof},p={}", BASE64.encode(proof))
}

#[test]
fn the_example_of_rfc_7677_comes_out() {
    let (exchange, server_first) = begin(CLIENT_FIRST).unwrap();
    assert_eq!(std::str::from_utf8(&server_first), Ok(SERVER_FIRST));
    assert_eq!(client_final(CLIENT_FIRST, &server_first, "pencil"), CLIENT_FINAL);
    let authenticated = exchange.finish(CLIENT_FINAL.as_bytes()).unwrap();
    assert_eq!(
        (&*authenticated.user, std::str::from_utf8(&authenticated.server_final)),
        ("user", Ok(SERVER_FINAL))
    );
}

#[test]
fn clients_that_could_bind_channels_act_for_themselves_or_have_odd_names_are_let_in() {
    for first in ["y,,n=user,r=x", "n,a=user,n=user,r=x", "n,,n=a=2Cb=3Dc,r=x", "n,,n=user,r=x,ext=1"] {
        let (exchange, server_first) = begin(first).unwrap();
        assert!(exchange.finish(client_final(first, &server_first, "pencil").as_bytes()).is_ok(), "{first}");
    }
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_refused_alike() {
    for (first, password) in
        [("n,,n=user,r=x", "pen"), ("n,,n=nobody,r=x", "pencil"), ("n,,n=nobody,r=x", "")]
    {
        let (exchange, server_first) = begin(first).unwrap();
        let answer = client_final(first, &server_first, password);
        assert_eq!(exchange.finish(answer.as_bytes()), Err(Refused::Credentials), "{first}");
    }
}

#[test]
fn a_name_that_does_not_exist_is_answered_the_same_each_time_and_others_otherwise() {
    let salt = |first: &str, secret: &Secret| {
        let (_, server_first) = Exchange::begin(first.as_bytes(), &users(), "", secret).unwrap();
        String::from_utf8(server_first).unwrap()
    };
    let nobody = salt("n,,n=nobody,r=x", SECRET);
    assert_eq!(nobody, salt("n,,n=nobody,r=x", SECRET));
    assert_ne!(nobody, salt("n,,n=someone,r=x", SECRET));
    assert_ne!(nobody, salt("n,,n=nobody,r=x", ANOTHER));
    assert_eq!(nobody.len(), salt("n,,n=user,r=x", SECRET).len());
}

#[test]
fn a_name_that_does_not_exist_looks_like_one_of_those_that_do() {
    let mut users = Users::default();
    users.add("few", Verifier::derive("p", b"salt", 5_000).unwrap()).unwrap();
    users.add("many", Verifier::derive("p", &[7; 100], 9_000).unwrap()).unwrap();
    let shown = |name: &str| {
        let first = format!("n,,n={name},r=x");
        let (_, server_first) = Exchange::begin(first.as_bytes(), &users, "", SECRET).unwrap();
        let server_first = String::from_utf8(server_first).unwrap();
        let (salt, iterations) = server_first["r=x,s=".len()..].split_once(",i=").unwrap();
        (BASE64.decode(salt).unwrap().len(), iterations.to_owned())
    };
    let (few, many) = (shown("few"), shown("many"));
    let nobodies: Vec<_> = (0..50).map(|number| shown(&format!("nobody-{number}"))).collect();
    assert!(nobodies.contains(&few) && nobodies.contains(&many));
    assert!(nobodies.iter().all(|nobody| *nobody == few || *nobody == many));
}

#[test]
fn what_is_no_first_message_is_refused_with_the_reason() {
    let cases = [
        ("", Refused::Malformed),
        ("n", Refused::Malformed),
        ("n,,", Refused::Malformed),
        ("x,,n=user,r=x", Refused::Malformed),
        ("n,,r=x,n=user", Refused::Malformed),
        ("n,,n=user", Refused::Malformed),
        ("n,,n=user,r=", Refused::Malformed),
        ("n,,n=user,r=\u{e9}", Refused::Malformed),
        ("n,,n=,r=x", Refused::Malformed),
        ("n,,n=a=b,r=x", Refused::Malformed),
        ("n,,n=a=,r=x", Refused::Malformed),
        ("n,,n=us\0er,r=x", Refused::Malformed),
        ("n,,n=\u{7},r=x", Refused::Malformed),
        ("n,user,n=user,r=x", Refused::Malformed),
        ("n,a=other,n=user,r=x", Refused::Identity),
        ("p=tls-unique,,n=user,r=x", Refused::ChannelBinding),
        ("n,,m=future,n=user,r=x", Refused::Extension),
    ];
    for (first, why) in cases {
        assert_eq!(begin(first).map(|_| ()), Err(why), "{first:?}");
    }
    assert_eq!(begin(&format!("n,,n={},r=x", "u".repeat(5_000))).map(|_| ()), Err(Refused::Malformed));
    let not_text = Exchange::begin(b"n,,n=\xff,r=x", &users(), SERVER_NONCE, SECRET);
    assert_eq!(not_text.map(|_| ()), Err(Refused::Malformed));
}

#[test]
fn what_is_no_last_message_is_refused_with_the_reason() {
    let cases = [
        (String::new(), Refused::Malformed),
        (CLIENT_FINAL.replace(",p=", ",q="), Refused::Malformed),
        (CLIENT_FINAL.replace("p=dHzb", "p=dH"), Refused::Malformed),
        (CLIENT_FINAL.replace("p=dHzb", "p=!Hzb"), Refused::Malformed),
        (CLIENT_FINAL.replace("c=biws,", ""), Refused::Malformed),
        (CLIENT_FINAL.replace("c=biws", "c=eSws"), Refused::ChannelBinding),
        (CLIENT_FINAL.replace("r=rOpr", "r=rOps"), Refused::Nonce),
        (CLIENT_FINAL.replace(SERVER_NONCE, ""), Refused::Nonce),
        (CLIENT_FINAL.replace(",p=", ",m=future,p="), Refused::Extension),
        // A proof of another exchange, as it would be if a message between had been changed.
        (CLIENT_FINAL.replace("p=dHzb", "p=eHzb"), Refused::Credentials),
        (CLIENT_FINAL.replace(",p=", ",ext=1,p="), Refused::Credentials),
    ];
    for (message, why) in cases {
        assert_eq!(finish(&message), Err(why), "{message}");
    }
}

#[test]
fn a_verifier_is_written_as_postgresql_writes_it_and_read_back() {
    let verifier = users().get("user").unwrap().clone();
    let text = verifier.to_string();
    assert!(text.starts_with("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"), "{text}");
    assert_eq!(text.parse(), Ok(verifier));
    let wrong = [
        ("", BadVerifier::Form),
        ("SCRAM-SHA-1$4096:YQ==$YQ==:YQ==", BadVerifier::Form),
        ("SCRAM-SHA-256$4096:YQ==$YQ==", BadVerifier::Form),
        ("SCRAM-SHA-256$4095:YQ==$YQ==:YQ==", BadVerifier::Iterations),
        ("SCRAM-SHA-256$many:YQ==$YQ==:YQ==", BadVerifier::Iterations),
        ("SCRAM-SHA-256$4096:$YQ==:YQ==", BadVerifier::Salt),
        ("SCRAM-SHA-256$4096:Y$YQ==:YQ==", BadVerifier::Salt),
        ("SCRAM-SHA-256$4096:YQ==$YQ==:YQ==", BadVerifier::Keys),
    ];
    for (text, why) in wrong {
        assert_eq!(text.parse::<Verifier>(), Err(why), "{text:?}");
    }
}

#[test]
fn what_is_printed_of_users_holds_no_keys() {
    assert_eq!(
        format!("{:?}", users()),
        "Users({\"a,b=c\": Verifier(4096 iterations), \"user\": Verifier(4096 iterations)})"
    );
}

#[test]
fn passwords_are_prepared_before_they_are_hashed() {
    // A soft hyphen maps to nothing, an ordinal indicator to its letter. [RFC 4013 3]
    let derive = |password| Verifier::derive(password, b"salt", 4_096);
    assert_eq!(derive("I\u{ad}X"), derive("IX"));
    assert_eq!(derive("\u{aa}"), derive("a"));
    assert_eq!(derive("\u{7}"), Err(BadPassword));
}

#[test]
fn nonces_differ_and_have_no_comma() {
    let all: std::collections::BTreeSet<String> = (0..1_000).map(|count| nonce(SECRET, count)).collect();
    assert_eq!(all.len(), 1_000);
    assert!(all.iter().all(|nonce| nonce.len() == 24 && !nonce.contains(',')));
    assert_ne!(nonce(SECRET, 0), nonce(ANOTHER, 0));
}
