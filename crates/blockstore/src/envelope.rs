//! The envelope around every object that is not a pack (docs/format.md
//! section 3): kind, length, check sum, encryption.

use bygone_base::{Error, Result, Rng};
use bytes::{BufMut as _, Bytes, BytesMut};
use std::io::Read as _;

use crate::{
    codec,
    crypto::{self, Cipher, Key, SALT, TAG, check_of},
};

/// Bytes before the body.
pub const HEADER: usize = 52;
/// Bytes of the check sum after the body.
pub const CHECK: usize = 16;
/// Most plain bytes of an object.
pub const MAX_PLAIN: u64 = 1 << 30;

const MAGIC: &[u8; 4] = b"bygo";
const VERSION: u8 = 1;
const ENCRYPTED: u8 = 1;
const ZSTD: u8 = 2;
/// Bodies of control objects are small; a better level costs nothing.
const LEVEL: i32 = 3;

/// What an object is; bound to its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ObjectKind {
    /// An oplog slice. Compressed already, so not again.
    Slice = 1,
    /// A snapshot's manifest.
    Manifest = 2,
    /// Plan, slice record or end of an initial sync.
    Sync = 3,
    /// A timeline record.
    Timeline = 4,
    /// A fencing epoch.
    Epoch = 5,
    /// A retention policy or a pin.
    Policy = 6,
    /// Where the blocks of a removed pack went.
    Relocation = 7,
    /// Lease of a running reader.
    Reader = 8,
    /// What a groom found dead, and since when.
    Groom = 9,
}

impl ObjectKind {
    fn name(self) -> &'static str {
        match self {
            ObjectKind::Slice => "an oplog slice",
            ObjectKind::Manifest => "a manifest",
            ObjectKind::Sync => "a record of an initial sync",
            ObjectKind::Timeline => "a timeline",
            ObjectKind::Epoch => "an epoch",
            ObjectKind::Policy => "a policy or pin",
            ObjectKind::Relocation => "a relocation record",
            ObjectKind::Reader => "a reader lease",
            ObjectKind::Groom => "a groom's record",
        }
    }
}

/// The data keys that envelopes are sealed and opened with.
pub(crate) trait DataKeys {
    /// The newest key and its version; `None` when nothing is encrypted.
    fn newest(&self) -> Option<(u32, &Key)>;
    /// The key of a version.
    fn key(&self, version: u32) -> Result<&Key>;
}

pub(crate) fn seal(
    keys: &dyn DataKeys,
    rng: &dyn Rng,
    kind: ObjectKind,
    name: &str,
    plain: &[u8],
) -> Result<Bytes> {
    if plain.len() as u64 > MAX_PLAIN {
        return Err(Error::internal(format!("{name} has {} bytes, over the limit", plain.len())));
    }
    let packed = match kind {
        ObjectKind::Slice => None,
        _ => Some(codec::compress(LEVEL, plain)?).filter(|packed| packed.len() < plain.len()),
    };
    let body = packed.as_deref().unwrap_or(plain);
    let newest = keys.newest();
    let mut flags = if packed.is_some() { ZSTD } else { 0 };
    let mut salt = [0; SALT];
    if newest.is_some() {
        flags |= ENCRYPTED;
        rng.fill(&mut salt);
    }
    let mut out = Vec::with_capacity(HEADER + body.len() + TAG + CHECK);
    out.put_slice(MAGIC);
    out.put_slice(&[VERSION, kind as u8, flags, 0]);
    out.put_u32_le(newest.map_or(0, |(version, _)| version));
    out.put_u64_le(plain.len() as u64);
    out.put_slice(&salt);
    out.put_slice(body);
    if let Some((_, key)) = newest {
        let aad = [&out[..HEADER], name.as_bytes()].concat();
        Cipher::new(crypto::OBJECT, key, &salt)?.seal(0, &aad, &mut out, HEADER)?;
    }
    let check = check_of(&[&out]);
    out.put_slice(&check);
    Ok(out.into())
}

struct Header {
    flags: u8,
    key_version: u32,
    plain: usize,
    salt: [u8; SALT],
}

/// Checks and opens an envelope. Everything that is not exactly as it was
/// sealed under this kind and name is damage.
pub(crate) fn open(
    keys: &dyn DataKeys,
    kind: ObjectKind,
    name: &str,
    sealed: Bytes,
) -> Result<Bytes> {
    let within = |e: Error| e.within(name);
    let header = parse(kind, &sealed).map_err(within)?;
    if (header.flags & ENCRYPTED != 0) != keys.newest().is_some() {
        return Err(Error::damaged(format!(
            "{name}: encrypted and plain objects are mixed: it is not of this repository"
        )));
    }
    let end = sealed.len() - CHECK;
    let body = match header.flags & ENCRYPTED {
        0 => sealed.slice(HEADER..end),
        _ => decrypt(keys, &header, name, sealed, end).map_err(within)?,
    };
    let plain = match header.flags & ZSTD {
        0 => body,
        _ => inflate(&body, header.plain).map_err(within)?.into(),
    };
    if plain.len() == header.plain {
        return Ok(plain);
    }
    let (got, want) = (plain.len(), header.plain);
    Err(Error::damaged(format!("{name}: has {got} bytes instead of {want}")))
}

fn parse(kind: ObjectKind, sealed: &[u8]) -> Result<Header> {
    let damaged = |what: &str| Error::damaged(what.to_owned());
    let body_end = sealed.len().checked_sub(CHECK).filter(|end| *end >= HEADER);
    let body_end = body_end.ok_or_else(|| damaged("is cut off"))?;
    if sealed[..4] != *MAGIC {
        return Err(damaged("is not an object of bygone"));
    }
    if sealed[body_end..] != check_of(&[&sealed[..body_end]]) {
        return Err(damaged("its check sum is wrong"));
    }
    if sealed[4] != VERSION {
        return Err(Error::unsupported(format!("has format version {}", sealed[4]))
            .hint("a newer bygone wrote it: use that one"));
    }
    if sealed[5] != kind as u8 {
        return Err(damaged(&format!("is not {} (kind {})", kind.name(), sealed[5])));
    }
    let flags = sealed[6];
    if flags & !(ENCRYPTED | ZSTD) != 0 || sealed[7] != 0 {
        return Err(Error::unsupported("has flags that this version does not know"));
    }
    let plain = u64::from_le_bytes(array(&sealed[12..20]));
    let plain = usize::try_from(plain).ok().filter(|_| plain <= MAX_PLAIN);
    let plain = plain.ok_or_else(|| damaged("claims more bytes than the limit"))?;
    let key_version = u32::from_le_bytes(array(&sealed[8..12]));
    let salt: [u8; SALT] = array(&sealed[20..52]);
    if flags & ENCRYPTED == 0 && (key_version != 0 || salt != [0; SALT]) {
        return Err(damaged("is not encrypted, yet has a key version or a salt"));
    }
    Ok(Header { flags, key_version, plain, salt })
}

fn decrypt(
    keys: &dyn DataKeys,
    header: &Header,
    name: &str,
    sealed: Bytes,
    end: usize,
) -> Result<Bytes> {
    let cipher = Cipher::new(crypto::OBJECT, keys.key(header.key_version)?, &header.salt)?;
    let aad = [&sealed[..HEADER], name.as_bytes()].concat();
    let mut body = mutable(sealed.slice(HEADER..end), sealed);
    let plain = cipher.open(0, &aad, &mut body).ok_or_else(|| {
        Error::damaged("its authentication tag is wrong: damaged, or put under another name")
    })?;
    body.truncate(plain);
    Ok(body.freeze())
}

/// The bytes to change in place: without a copy when nobody else holds them.
pub(crate) fn mutable(part: Bytes, whole: Bytes) -> BytesMut {
    drop(whole);
    part.try_into_mut().unwrap_or_else(|shared| BytesMut::from(shared.as_ref()))
}

/// Decompresses at most `plain` bytes, growing with what really comes.
fn inflate(body: &[u8], plain: usize) -> Result<Vec<u8>> {
    let damaged = |e: std::io::Error| Error::damaged("zstd data").source(e);
    let reader = zstd::stream::read::Decoder::with_buffer(body).map_err(damaged)?;
    // A claim of much from little is not believed before it came.
    let mut out = Vec::with_capacity(plain.min(body.len().saturating_mul(8)));
    reader.take(plain as u64 + 1).read_to_end(&mut out).map_err(damaged)?;
    Ok(out)
}

/// The caller passes a slice of exactly `N` bytes.
pub(crate) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let n = bytes.len().min(N);
    out[..n].copy_from_slice(&bytes[..n]);
    out
}
