//! Names of objects (docs/format.md section 1) and the rule that keeps them
//! valid in every kind of store.

use bygone_base::{Error, PackId, Result};

/// The repository file.
pub const REPOSITORY: &str = "bygone.repository";
/// Prefix of the keyrings.
pub const KEYS: &str = "keys/";
/// Prefix of the packs.
pub const PACKS: &str = "packs/";
/// Prefix of the relocation records.
pub const MOVED: &str = "moved/";
/// Prefix of the jobs' objects.
pub const JOBS: &str = "jobs/";

/// Longest name of an object, in bytes.
pub const MAX_NAME: usize = 512;

/// `packs/XX/PACK`
pub fn pack(pack: PackId) -> String {
    let hex = pack.to_string();
    format!("{PACKS}{}/{hex}", &hex[..2])
}

/// The pack of a name that [`pack`] made.
pub fn parse_pack(name: &str) -> Option<PackId> {
    let (folder, hex) = name.strip_prefix(PACKS)?.split_once('/')?;
    let id: PackId = hex.parse().ok()?;
    // Upper-case digits parse too, but are not the name of that pack.
    (folder == hex.get(..2)? && hex == id.to_string()).then_some(id)
}

/// `moved/PACK`
pub fn moved(pack: PackId) -> String {
    format!("{MOVED}{pack}")
}

/// `keys/NNNNNNNN`
pub fn keyring(number: u32) -> String {
    format!("{KEYS}{number:08}")
}

/// The number of a name that [`keyring`] made.
pub fn parse_keyring(name: &str) -> Option<u32> {
    let digits = name.strip_prefix(KEYS)?;
    let number = digits.parse().ok()?;
    (keyring(number) == name).then_some(number)
}

/// Refuses a name that is not valid in every kind of store: segments of ASCII
/// letters, digits and `.`, `_`, `-`, `+`, none empty or starting with `.`.
pub fn check(name: &str) -> Result<()> {
    let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-' | b'+');
    let segment = |s: &str| !s.is_empty() && !s.starts_with('.') && s.bytes().all(good);
    if name.len() <= MAX_NAME && name.split('/').all(segment) {
        return Ok(());
    }
    Err(Error::internal(format!("{name:?} is not a valid object name")))
}

/// Refuses a prefix that is neither empty nor a valid name followed by `/`.
pub fn check_prefix(prefix: &str) -> Result<()> {
    match prefix.strip_suffix('/') {
        Some(name) => check(name),
        None if prefix.is_empty() => Ok(()),
        None => Err(Error::internal(format!("{prefix:?} is not a valid prefix of object names"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_went() {
        let id = PackId([0xab; 16]);
        assert_eq!(parse_pack(&pack(id)), Some(id));
        assert_eq!(parse_pack(&pack(id).to_uppercase()), None);
        assert_eq!(parse_keyring("keys/00000012"), Some(12));
        assert_eq!(parse_keyring("keys/12"), None);
    }

    #[test]
    fn names_that_leave_the_store_are_refused() {
        for bad in ["", "/a", "a/", "a//b", "../a", "a/.b", "a b", "é", &"a".repeat(513)] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check("jobs/a/b/oplog/1/0-1+2").is_ok());
        assert!(check_prefix("packs/").is_ok());
        assert!(check_prefix("").is_ok());
        assert!(check_prefix("packs").is_err());
    }
}
