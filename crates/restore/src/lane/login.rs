//! The first words on a connection: hello, and who we are.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bson::{Binary, Document, RawDocumentBuf, rawdoc, spec::BinarySubtype};
use bygone_base::{Error, ErrorKind, Result, Rng as _, SystemRng};
use mongodb::options::{AuthMechanism, Credential};

use super::{
    Lane, lost, refused,
    scram::{self, Scram},
};

/// How to log in.
pub(super) enum Login {
    /// With a password; by the server's best mechanism unless one is named.
    Password { user: String, password: String, source: String, mechanism: Option<Scram> },
    /// By the certificate of the TLS connection.
    Certificate,
}

impl Login {
    /// `None` for whatever only the driver can do.
    pub(super) fn new(credential: &Credential) -> Option<Login> {
        if credential.mechanism_properties.is_some() {
            return None;
        }
        let mechanism = match &credential.mechanism {
            None => None,
            Some(AuthMechanism::ScramSha1) => Some(Scram::Sha1),
            Some(AuthMechanism::ScramSha256) => Some(Scram::Sha256),
            Some(AuthMechanism::MongoDbX509) => return Some(Login::Certificate),
            Some(_) => return None,
        };
        let (user, password) = (credential.username.clone()?, credential.password.clone()?);
        // Others are to be normalized first (RFC 4013).
        let plain = |text: &str| text.bytes().all(|b| (0x20..0x7f).contains(&b));
        if !plain(&user) || !plain(&password) {
            return None;
        }
        let source = credential.source.clone().unwrap_or_else(|| "admin".to_owned());
        Some(Login::Password { user, password, source, mechanism })
    }
}

/// Says hello and logs in.
pub(super) async fn greet(lane: &mut Lane, login: Option<&Login>) -> Result<()> {
    let mut hello = rawdoc! {
        "isMaster": 1, "helloOk": true, "$db": "admin",
        "client": {
            "application": {"name": "bygone"},
            "driver": {"name": "bygone", "version": env!("CARGO_PKG_VERSION")},
            "os": {"type": std::env::consts::OS},
        },
    };
    if let Some(Login::Password { user, source, mechanism: None, .. }) = login {
        hello.append(bson::cstr!("saslSupportedMechs"), format!("{source}.{user}"));
    }
    let told = ask(lane, hello).await?;
    if !told.get_bool("ismaster").unwrap_or(false) {
        return Err(lost("the server takes no writes"));
    }
    lane.place.number = told.get_i32("connectionId").ok();
    match login {
        None => Ok(()),
        Some(Login::Certificate) => {
            let login =
                rawdoc! {"authenticate": 1, "mechanism": "MONGODB-X509", "$db": "$external"};
            ask(lane, login).await.map(|_| ())
        }
        Some(Login::Password { user, password, source, mechanism }) => {
            let mechanism = mechanism.unwrap_or_else(|| best(&told));
            converse(lane, mechanism, (user, password), source).await
        }
    }
}

/// The best mechanism of those that the server has for a user.
fn best(hello: &Document) -> Scram {
    let known = hello.get_array("saslSupportedMechs").map(Vec::as_slice).unwrap_or_default();
    let strong = known.iter().any(|m| m.as_str() == Some(Scram::Sha256.name()));
    if strong || known.is_empty() { Scram::Sha256 } else { Scram::Sha1 }
}

async fn converse(
    lane: &mut Lane,
    mechanism: Scram,
    who: (&str, &str),
    source: &str,
) -> Result<()> {
    let mut random = [0; 24];
    SystemRng.fill(&mut random);
    let nonce = STANDARD.encode(random);
    let told = ask(
        lane,
        rawdoc! {
            "saslStart": 1, "mechanism": mechanism.name(), "payload": payload(&scram::first(who.0, &nonce)),
            "options": {"skipEmptyExchange": true}, "$db": source,
        },
    )
    .await?;
    let id = told.get_i32("conversationId").map_err(|_| silent())?;
    let last = mechanism.answer(who, &nonce, text(&told)?)?;
    let goes_on = |payload: Binary| rawdoc! {"saslContinue": 1, "conversationId": id, "payload": payload, "$db": source};
    let told = ask(lane, goes_on(payload(&last.message))).await?;
    last.check(text(&told)?)?;
    if told.get_bool("done").unwrap_or(false) {
        return Ok(());
    }
    // Servers that know no skipEmptyExchange.
    let told = ask(lane, goes_on(payload(""))).await?;
    if told.get_bool("done").unwrap_or(false) { Ok(()) } else { Err(silent()) }
}

fn payload(text: &str) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: text.as_bytes().to_vec() }
}

fn text(reply: &Document) -> Result<&str> {
    let bytes = reply.get_binary_generic("payload").map_err(|_| silent())?;
    std::str::from_utf8(bytes).map_err(|_| silent())
}

fn silent() -> Error {
    Error::new(ErrorKind::Denied, "connection for inserts: the server does not answer the login")
}

async fn ask(lane: &mut Lane, command: RawDocumentBuf) -> Result<Document> {
    let reply = lane.exchange(command.as_bytes(), None).await?;
    match refused("connection for inserts", &reply) {
        Some(refused) => Err(refused),
        None => Ok(reply),
    }
}
