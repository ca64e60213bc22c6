//! The repository file and the keyrings (docs/format.md section 2): lines of
//! JSON that end in a check sum of themselves.

use std::collections::BTreeMap;

use argon2::{Algorithm, Argon2, Params, Version};
use bygone_base::{Error, ErrorKind, RepositoryId, Result, Rng};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{
    Secret,
    crypto::{Cipher, Key, SALT, TAG, WRAP, check_of},
};

/// Longest repository file or keyring, in bytes.
pub(crate) const MAX_FILE: u64 = 64 << 10;
const FORMAT: u32 = 1;
const REPOSITORY_MAGIC: &str = "bygone repository";
const KEYS_MAGIC: &str = "bygone keys";
const CHECK_FIELD: &str = "\"check\":\"";

/// The repository file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RepositoryFile {
    magic: String,
    format: u32,
    pub(crate) id: String,
    pub(crate) created: String,
    pub(crate) encrypted: bool,
    pub(crate) naming_key: Option<String>,
    check: String,
}

/// A keyring's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyringFile {
    magic: String,
    format: u32,
    repository: String,
    method: String,
    argon2: Option<Argon2Cost>,
    salt: String,
    wrapped: String,
    check: String,
}

/// How much work a passphrase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Argon2Cost {
    m_kib: u32,
    t: u32,
    p: u32,
}

impl Argon2Cost {
    /// RFC 9106 section 4, second recommended option: 64 MiB, 3 passes, 4 lanes.
    pub(crate) const DEFAULT: Argon2Cost = Argon2Cost { m_kib: 64 << 10, t: 3, p: 4 };
    /// As little as there is, for tests.
    #[cfg(test)]
    pub(crate) const LITTLE: Argon2Cost = Argon2Cost { m_kib: 64, t: 1, p: 1 };
    /// A file that asks for more is not believed.
    const LIMIT: Argon2Cost = Argon2Cost { m_kib: 1 << 20, t: 64, p: 64 };
}

/// The fields that every format has, to tell a newer one.
#[derive(Deserialize)]
struct Preamble {
    magic: String,
    format: u32,
}

/// Makes the line: `check` is the hash of the line with an empty `check`.
fn to_line<T: Serialize>(file: &T) -> Result<Vec<u8>> {
    let text = serde_json::to_string(file).map_err(|e| Error::internal("write JSON").source(e))?;
    let (head, tail) = text
        .rsplit_once("\"\"}")
        .ok_or_else(|| Error::internal("the check sum is not the last field"))?;
    debug_assert!(head.ends_with("\"check\":") && tail.is_empty());
    let check = hex::encode(check_of(&[text.as_bytes()]));
    Ok(format!("{head}\"{check}\"}}\n").into_bytes())
}

/// Checks the line's sum, magic and format, in this order.
fn parse_line<T: DeserializeOwned>(magic: &str, bytes: &[u8]) -> Result<T> {
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::damaged("is too long"));
    }
    let text = std::str::from_utf8(bytes).ok().and_then(|text| text.strip_suffix('\n'));
    let text = text.ok_or_else(|| Error::damaged("is not one line of text"))?;
    let at = text.rfind(CHECK_FIELD).ok_or_else(|| Error::damaged("has no check sum"))?;
    let (head, tail) = text.split_at(at + CHECK_FIELD.len());
    let check = hex::encode(check_of(&[head.as_bytes(), b"\"}"]));
    if tail.strip_suffix("\"}") != Some(check.as_str()) {
        return Err(Error::damaged("its check sum is wrong"));
    }
    let damaged = |e: serde_json::Error| Error::damaged("is not what it should be").source(e);
    let preamble: Preamble = serde_json::from_str(text).map_err(damaged)?;
    if preamble.magic != magic {
        return Err(Error::damaged(format!("is not a {magic:?} file")));
    }
    if preamble.format != FORMAT {
        return Err(Error::unsupported(format!(
            "has format {}, this version knows {FORMAT}",
            preamble.format
        ))
        .hint("a newer bygone made this repository: use that one"));
    }
    serde_json::from_str(text).map_err(damaged)
}

impl RepositoryFile {
    pub(crate) fn new(id: RepositoryId, created: String, naming_key: Option<&Key>) -> Self {
        RepositoryFile {
            magic: REPOSITORY_MAGIC.to_owned(),
            format: FORMAT,
            id: id.to_string(),
            created,
            encrypted: naming_key.is_none(),
            naming_key: naming_key.map(|key| hex::encode(key.bytes())),
            check: String::new(),
        }
    }

    pub(crate) fn to_line(&self) -> Result<Vec<u8>> {
        to_line(self)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let file: RepositoryFile = parse_line(REPOSITORY_MAGIC, bytes)?;
        file.id()?;
        if file.encrypted == file.naming_key.is_some() {
            return Err(Error::damaged("has a naming key exactly when it should not"));
        }
        file.plain_key()?;
        Ok(file)
    }

    pub(crate) fn id(&self) -> Result<RepositoryId> {
        self.id.parse().map_err(|_| Error::damaged("its id is none"))
    }

    /// The naming key of a repository that is not encrypted.
    pub(crate) fn plain_key(&self) -> Result<Option<Key>> {
        let Some(text) = &self.naming_key else { return Ok(None) };
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| Error::damaged("its naming key is none"))?;
        Ok(Some(Key::new(bytes)))
    }
}

/// The keys of an encrypted repository.
#[derive(Debug, Clone)]
pub(crate) struct Keyring {
    pub(crate) naming: Key,
    pub(crate) data: BTreeMap<u32, Key>,
}

impl Keyring {
    /// Wraps the keys with a secret. Slow on purpose with a passphrase.
    pub(crate) fn wrap(
        &self,
        repository: RepositoryId,
        secret: &Secret,
        cost: Argon2Cost,
        rng: &dyn Rng,
    ) -> Result<Vec<u8>> {
        let mut salt = [0; SALT];
        rng.fill(&mut salt);
        let argon2 = matches!(secret, Secret::Passphrase(_)).then_some(cost);
        let cipher = wrapping_cipher(secret, argon2, &salt)?;
        let mut plain = self.to_bytes()?;
        cipher.seal(0, &repository.0, &mut plain, 0)?;
        let line = to_line(&KeyringFile {
            magic: KEYS_MAGIC.to_owned(),
            format: FORMAT,
            repository: repository.to_string(),
            method: secret.method().to_owned(),
            argon2,
            salt: hex::encode(salt),
            wrapped: hex::encode(plain.as_slice()),
            check: String::new(),
        })?;
        if line.len() as u64 > MAX_FILE {
            return Err(Error::usage("the keys were rotated too often: the keyring is full"));
        }
        Ok(line)
    }

    fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>> {
        let count =
            u32::try_from(self.data.len()).map_err(|_| Error::internal("too many data keys"))?;
        // Room for the tag, too: growing would leave a copy of the keys behind.
        let mut plain = Zeroizing::new(Vec::with_capacity(36 + self.data.len() * 36 + TAG));
        plain.extend_from_slice(self.naming.bytes());
        plain.extend_from_slice(&count.to_le_bytes());
        for (version, key) in &self.data {
            plain.extend_from_slice(&version.to_le_bytes());
            plain.extend_from_slice(key.bytes());
        }
        Ok(plain)
    }

    /// Opens a keyring's file. [`ErrorKind::Denied`] when the secret is
    /// another one. Slow on purpose with a passphrase.
    pub(crate) fn unwrap(bytes: &[u8], repository: RepositoryId, secret: &Secret) -> Result<Self> {
        let file = parse_keyring(bytes)?;
        if file.repository != repository.to_string() {
            return Err(Error::damaged(format!("belongs to repository {}", file.repository)));
        }
        if file.method != secret.method() {
            let (has, given) = (&file.method, secret.method());
            return Err(Error::new(
                ErrorKind::Denied,
                format!("wrong key: the repository is locked with a {has}, a {given} was given"),
            )
            .hint(format!("give the {has} that the repository was made or last rotated with")));
        }
        let damaged = |_| Error::damaged("its keys are not hex");
        let mut salt = [0; SALT];
        hex::decode_to_slice(&file.salt, &mut salt).map_err(damaged)?;
        let mut wrapped = Zeroizing::new(hex::decode(&file.wrapped).map_err(damaged)?);
        let cipher = wrapping_cipher(secret, file.argon2, &salt)?;
        let plain = cipher.open(0, &repository.0, &mut wrapped).ok_or_else(|| {
            Error::new(ErrorKind::Denied, format!("wrong key: the {} does not fit", file.method))
                .hint("give the one that the repository was made or last rotated with")
        })?;
        Keyring::from_bytes(&wrapped[..plain]).ok_or_else(|| Error::damaged("its keys are cut off"))
    }

    fn from_bytes(plain: &[u8]) -> Option<Self> {
        let (naming, rest) = plain.split_first_chunk::<32>()?;
        let (count, mut rest) = rest.split_first_chunk::<4>()?;
        let count = u32::from_le_bytes(*count);
        let mut data = BTreeMap::new();
        while let Some((version, after)) = rest.split_first_chunk::<4>() {
            let (key, after) = after.split_first_chunk::<32>()?;
            data.insert(u32::from_le_bytes(*version), Key::new(*key));
            rest = after;
        }
        let whole = rest.is_empty() && data.len() == count as usize && !data.is_empty();
        whole.then(|| Keyring { naming: Key::new(*naming), data })
    }
}

fn parse_keyring(bytes: &[u8]) -> Result<KeyringFile> {
    let file: KeyringFile = parse_line(KEYS_MAGIC, bytes)?;
    if (file.method == "passphrase") != file.argon2.is_some() {
        return Err(Error::damaged("has a cost exactly when it should not"));
    }
    Ok(file)
}

/// Checks everything about a keyring's file that needs no secret.
pub(crate) fn check_keyring(bytes: &[u8], repository: RepositoryId) -> Result<()> {
    let file = parse_keyring(bytes)?;
    if file.repository == repository.to_string() {
        return Ok(());
    }
    Err(Error::damaged(format!("belongs to repository {}", file.repository)))
}

fn wrapping_cipher(secret: &Secret, cost: Option<Argon2Cost>, salt: &[u8; SALT]) -> Result<Cipher> {
    let key = match (secret, cost) {
        (Secret::KeyFile(key), None) => key.0.clone(),
        (Secret::Passphrase(phrase), Some(cost)) => stretch(Secret::phrase(phrase), cost, salt)?,
        _ => return Err(Error::internal("a secret and its method differ")),
    };
    Cipher::new(WRAP, &key, salt)
}

fn stretch(phrase: &[u8], cost: Argon2Cost, salt: &[u8; SALT]) -> Result<Key> {
    let limit = Argon2Cost::LIMIT;
    if cost.m_kib > limit.m_kib || cost.t > limit.t || cost.p > limit.p {
        return Err(Error::damaged("asks for more work on the passphrase than the limit"));
    }
    let params = Params::new(cost.m_kib, cost.t, cost.p, Some(32))
        .map_err(|e| Error::damaged(format!("its passphrase cost is not valid: {e}")))?;
    let mut out = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(phrase, salt, out.as_mut())
        .map_err(|e| Error::internal(format!("stretch the passphrase: {e}")))?;
    Ok(Key::new(*out))
}
