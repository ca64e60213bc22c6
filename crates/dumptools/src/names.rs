//! Names of files in a dump directory.
//!
//! A collection's name becomes the query escape of a URL: letters, digits and `-_.~` stay, a space becomes `+`,
//! every other byte `%XX`. An escaped name above 238 bytes is cut to 208, `%24` and the base64 of the name's SHA-1:
//! then only the metadata file tells the real name.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha1::{Digest as _, Sha1};

/// The longest escaped name that is kept as it is, in bytes; also the length of every cut one.
const LONGEST: usize = 238;
/// Bytes of a cut name before its hash.
const KEPT: usize = 208;
/// What stands between them: an escaped `$`.
const MARK: &str = "%24";

/// What names users, roles and their version in a dump of one database; no collection can be called so.
pub const PEOPLE: &str = "$admin.";

/// What a namespace of a dump is to a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// A collection, view or time-series like any other; scripts (`system.js`) are people's too.
    Collection,
    /// The entries that an archive ends with.
    Oplog,
    /// Users, roles or their version.
    People {
        /// Name of the collection in `admin`.
        name: String,
        /// In a dump of one database.
        of_one: bool,
    },
    /// What servers make themselves.
    System,
}

impl Role {
    /// Of a namespace by the name under which a dump has it.
    pub fn of(db: &str, collection: &str) -> Role {
        if let Some(name) = collection.strip_prefix(PEOPLE) {
            return Role::People { name: name.to_owned(), of_one: true };
        }
        match (db, collection) {
            ("", "oplog") => Role::Oplog,
            ("admin", "system.users" | "system.roles" | "system.version") => {
                Role::People { name: collection.to_owned(), of_one: false }
            }
            (_, "system.js") => Role::Collection,
            _ if collection.starts_with("system.") => Role::System,
            _ => Role::Collection,
        }
    }
}

/// The name of a collection's files, without their endings.
pub fn file_name(collection: &str) -> String {
    if collection.starts_with(PEOPLE) {
        return collection.to_owned();
    }
    let escaped = escape(collection);
    if escaped.len() <= LONGEST {
        return escaped;
    }
    let hash = URL_SAFE_NO_PAD.encode(Sha1::digest(collection.as_bytes()));
    // Escaped names are ASCII: any place is between characters.
    let kept = escaped.get(..KEPT).unwrap_or_default();
    format!("{kept}{MARK}{hash}")
}

/// Whether a file's name (without its ending) does not tell the collection's name.
pub fn is_cut(file_name: &str) -> bool {
    file_name.len() == LONGEST && file_name.contains(MARK)
}

/// The collection's name of a file's; `None` when the escape is malformed.
pub fn collection_name(file_name: &str) -> Option<String> {
    let mut out = Vec::with_capacity(file_name.len());
    let mut bytes = file_name.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                digits.bytes().all(|b| b.is_ascii_hexdigit()).then_some(())?;
                u8::from_str_radix(digits, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b' ' => out.push('+'),
            b if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

/// Whether a server can have a database of this name; others could lead out of the directory.
pub fn is_database(name: &str) -> bool {
    let bad = |c: char| matches!(c, '/' | '\\' | '.' | ' ' | '"' | '\0' | '$');
    !name.is_empty() && name.len() <= 63 && !name.contains(bad)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_escaped_as_urls() {
        let pairs =
            [("a/b", "a%2Fb"), ("café", "caf%C3%A9"), ("*", "%2A"), ("a b", "a+b"), ("+", "%2B")];
        for (name, file) in pairs {
            assert_eq!(file_name(name), file);
            assert_eq!(collection_name(file).as_deref(), Some(name));
        }
        assert_eq!(collection_name("%2"), None);
        assert_eq!(collection_name("%+1"), None);
    }

    #[test]
    fn roles_go_by_the_name() {
        let people = |name: &str, of_one| Role::People { name: name.to_owned(), of_one };
        assert_eq!(Role::of("", "oplog"), Role::Oplog);
        assert_eq!(Role::of("d", "oplog"), Role::Collection);
        assert_eq!(Role::of("admin", "system.users"), people("system.users", false));
        assert_eq!(Role::of("d", "system.users"), Role::System);
        assert_eq!(Role::of("d", "$admin.system.roles"), people("system.roles", true));
        assert_eq!(Role::of("admin", "system.js"), Role::Collection);
        for system in ["system.keys", "system.profile", "system.buckets.x"] {
            assert_eq!(Role::of("admin", system), Role::System);
        }
        assert_eq!(Role::of("admin", "systematic"), Role::Collection);
    }

    #[test]
    fn long_names_are_cut() {
        let kept = "a".repeat(238);
        assert_eq!(file_name(&kept), kept);
        let cut = file_name(&"a".repeat(239));
        assert!(is_cut(&cut) && !is_cut(&kept));
        assert_eq!(cut.len(), 238);
    }

    #[test]
    fn users_and_roles_keep_their_names() {
        assert_eq!(file_name("$admin.system.users"), "$admin.system.users");
        assert_eq!(file_name("$x"), "%24x");
    }

    proptest! {
        #[test]
        fn names_come_back(name in "\\PC{0,30}") {
            prop_assert_eq!(collection_name(&file_name(&name)), Some(name));
        }
    }
}
