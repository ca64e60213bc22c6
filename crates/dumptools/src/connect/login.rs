//! Who logs in, and against which database. Pure.

use bygone_base::{Error, Result};
use mongodb::options::{AuthMechanism, Credential};

use super::{ConnectOptions, Uri};

/// Where users of other directories than a database's are.
const EXTERNAL: &str = "$external";

/// Flags come before what the connection string says, and that before what the record of its name does (`looked_up`, the
/// database of users); an empty word is none.
pub(super) fn credential(
    options: &ConnectOptions,
    uri: Option<&Uri>,
    looked_up: Option<String>,
) -> Result<Option<Credential>> {
    if options.aws_session_token.is_some() {
        return Err(Error::unsupported("--awsSessionToken: IAM is not possible with this tool"));
    }
    let in_uri = |name| uri.and_then(|uri| uri.option(name)).filter(|value| !value.is_empty());
    let username = options.username.clone().or_else(|| Some(uri?.user()?.to_owned()));
    let password = options.password.clone().or_else(|| Some(uri?.password()?.to_owned()));
    let mechanism = options.mechanism.clone().or_else(|| in_uri("authmechanism"));
    let mechanism = mechanism.as_deref().map(known_mechanism).transpose()?;
    let by_certificate = matches!(mechanism, Some(AuthMechanism::MongoDbX509));
    if username.is_none() && !by_certificate {
        // Who says how to log in means to: without a user everything would be read by nobody, as far as that may.
        let meant = password.is_some() || options.auth_database.is_some() || mechanism.is_some();
        return match meant {
            true => Err(Error::usage(
                "can't create session: a password, authentication database or mechanism is given, but no user",
            )),
            false => Ok(None),
        };
    }
    let outside = by_certificate || matches!(mechanism, Some(AuthMechanism::Plain));
    let given = options.auth_database.clone().or_else(|| in_uri("authsource")).or(looked_up);
    let source = match given {
        _ if by_certificate => Some(EXTERNAL.to_owned()),
        Some(given) => Some(given),
        None if outside => Some(EXTERNAL.to_owned()),
        None => options.db.clone(),
    };
    let mut credential = Credential::default();
    credential.username = username;
    credential.password = password.filter(|_| !by_certificate);
    credential.mechanism = mechanism;
    credential.source = source;
    Ok(Some(credential))
}

fn known_mechanism(name: &str) -> Result<AuthMechanism> {
    match name {
        "SCRAM-SHA-1" => Ok(AuthMechanism::ScramSha1),
        "SCRAM-SHA-256" => Ok(AuthMechanism::ScramSha256),
        "MONGODB-X509" => Ok(AuthMechanism::MongoDbX509),
        "PLAIN" => Ok(AuthMechanism::Plain),
        other => Err(Error::unsupported(format!(
            "--authenticationMechanism {other}: this tool has SCRAM-SHA-1, SCRAM-SHA-256, MONGODB-X509 and PLAIN"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// User, password and database of flags `-u -p --authenticationDatabase -d` and a URI.
    fn found(flags: [&str; 4], uri: &str) -> Result<Option<[String; 3]>> {
        let [username, password, auth_database, db] =
            flags.map(|flag| Some(flag.to_owned()).filter(|flag| !flag.is_empty()));
        let options =
            ConnectOptions { username, password, auth_database, db, ..ConnectOptions::default() };
        let uri = Uri::parse(uri).ok();
        let found = credential(&options, uri.as_ref(), None)?;
        Ok(found.map(|c| [c.username, c.password, c.source].map(Option::unwrap_or_default)))
    }

    #[test]
    fn the_database_of_a_user_is_that_of_the_dump_unless_another_is_named() {
        let h = "mongodb://h/";
        for (flags, uri, source) in [
            (["u", "p", "", "app"], h, "app"),
            (["u", "p", "", "app"], "", "app"),
            (["", "", "", "app"], "mongodb://u:p@h/", "app"),
            (["u", "p", "admin", "app"], h, "admin"),
            (["u", "p", "", "app"], "mongodb://h/?authSource=admin", "admin"),
            (["", "", "", ""], "mongodb://u:p@h/", ""),
            (["", "", "", ""], "mongodb://u:p@h/?authMechanism=PLAIN", "$external"),
        ] {
            let want = ["u", "p", source].map(str::to_owned);
            assert_eq!(found(flags, uri).unwrap(), Some(want), "{flags:?} {uri}");
        }
    }

    #[test]
    fn a_record_tells_where_users_are_unless_somebody_says_it() {
        let source = |auth_database: Option<&str>, uri: &str| {
            let (auth_database, db) = (auth_database.map(str::to_owned), Some("app".to_owned()));
            let options = ConnectOptions { auth_database, db, ..ConnectOptions::default() };
            let uri = Uri::parse(uri).ok();
            let found = credential(&options, uri.as_ref(), Some("admin".to_owned())).unwrap();
            found.and_then(|credential| credential.source)
        };
        let srv = "mongodb+srv://u:p@a.b.c/";
        assert_eq!(source(None, srv).as_deref(), Some("admin"));
        assert_eq!(source(Some("flag"), srv).as_deref(), Some("flag"));
        assert_eq!(source(None, &format!("{srv}?authSource=said")).as_deref(), Some("said"));
        assert_eq!(source(None, "mongodb+srv://a.b.c/"), None);
    }

    #[test]
    fn nobody_logs_in_without_a_user() {
        assert_eq!(found(["", "", "", "app"], "mongodb://h/?authSource=x").unwrap(), None);
        assert!(found(["", "p", "", ""], "").is_err());
        assert!(found(["", "", "admin", ""], "mongodb://h/").is_err());
        assert!(found(["", "", "", ""], "mongodb://h/?authMechanism=SCRAM-SHA-1").is_err());
        let x509 = found(["", "p", "", "app"], "mongodb://h/?authMechanism=MONGODB-X509").unwrap();
        assert_eq!(x509.unwrap(), ["", "", "$external"].map(str::to_owned));
        let token = Some("t".to_owned());
        let options = ConnectOptions { aws_session_token: token, ..ConnectOptions::default() };
        assert!(credential(&options, None, None).is_err());
    }
}
