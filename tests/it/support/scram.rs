//! A client's side of SCRAM-SHA-256, and the verifier that the broker is given. [RFC 5802, RFC 7677]

use super::{Connect, Properties, Raw, packet, property, varint};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

const SALT: &[u8] = b"a salt for tests";
/// The fewest that the broker takes.
const ITERATIONS: u32 = 4_096;

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("keys have any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn salted(password: &str, salt: &[u8], iterations: u32) -> [u8; 32] {
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, iterations, &mut salted);
    salted
}

/// A `[[user]]` of the settings.
pub(crate) fn user(name: &str, password: &str) -> String {
    let salted = salted(password, SALT, ITERATIONS);
    let stored: [u8; 32] = Sha256::digest(hmac(&salted, b"Client Key")).into();
    let [salt, stored, server] =
        [SALT, &stored, &hmac(&salted, b"Server Key")].map(|bytes| BASE64.encode(bytes));
    format!(
        "[[user]]\nname = \"{name}\"\nscram_sha_256 = \"SCRAM-SHA-256${ITERATIONS}:{salt}${stored}:{server}\"\n"
    )
}

/// An exchange as the client sees it.
pub(crate) struct Scram {
    bare: String,
    password: String,
    /// What the server has to prove itself with; known after the challenge.
    server_final: String,
}

impl Scram {
    pub(crate) fn new(name: &str, password: &str) -> Self {
        let bare = format!("n={name},r=aNonceOfTheClient");
        Self { bare, password: password.to_owned(), server_final: String::new() }
    }

    /// Connects with 5.0 and this client id, and proves to know the password. What CONNACK says.
    #[track_caller]
    pub(crate) fn log_in(&mut self, raw: &mut Raw, id: &str) -> u8 {
        let said = |data: &[u8]| {
            let method = property::data(property::AUTH_METHOD, "SCRAM-SHA-256");
            [method, property::data(property::AUTH_DATA, data)].concat()
        };
        raw.send(&Connect { properties: &said(&self.first()), ..Connect::v5(id) }.bytes());
        let asked = raw.packet();
        if asked[0] != 0xf0 {
            return asked[3];
        }
        let challenge = Properties::within(&asked[3..]);
        let challenge = challenge.all(property::AUTH_DATA).next().expect("a challenge")[2..].to_vec();
        let answer = said(&self.answer(&challenge));
        raw.send(&packet(0xf0, &[&[0x18], &varint(answer.len()), &answer]));
        let answer = raw.packet();
        assert_eq!(answer[0], 0x20, "{answer:02x?}");
        answer[3]
    }

    /// The first message.
    pub(crate) fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.bare).into_bytes()
    }

    /// The answer to the server's challenge.
    #[track_caller]
    pub(crate) fn answer(&mut self, challenge: &[u8]) -> Vec<u8> {
        let challenge = std::str::from_utf8(challenge).expect("text");
        let fields: Vec<&str> = challenge.split(',').map(|field| &field[2..]).collect();
        let &[nonce, salt, iterations] = &fields[..] else { panic!("{challenge}") };
        assert!(nonce.starts_with("aNonceOfTheClient") && nonce.len() > 30, "{nonce}");
        let salt = BASE64.decode(salt).expect("base64");
        let salted = salted(&self.password, &salt, iterations.parse().expect("a number"));
        let client_key = hmac(&salted, b"Client Key");
        let stored: [u8; 32] = Sha256::digest(client_key).into();
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{challenge},{without_proof}", self.bare);
        let signature = hmac(&stored, message.as_bytes());
        let proof: [u8; 32] = std::array::from_fn(|at| client_key[at] ^ signature[at]);
        let server = hmac(&hmac(&salted, b"Server Key"), message.as_bytes());
        self.server_final = format!("v={}", BASE64.encode(server));
        format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes()
    }

    /// Whether the server has proved that it knows the user.
    pub(crate) fn proved_by(&self, server_final: &[u8]) -> bool {
        server_final == self.server_final.as_bytes()
    }
}
