//! Flags beside a connection string: they may add to it and repeat it, not contradict it. Pure.

use std::{collections::BTreeSet, fmt};

use bygone_base::{Error, Result};
use mongodb::options::ServerAddress;

use super::{
    ConnectOptions, Uri,
    uri::{port_of, with_name},
};

/// What `--host` and `--port` say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hosts {
    pub(super) set: Option<String>,
    pub(super) list: Vec<String>,
}

impl Hosts {
    pub(super) fn of_flags(options: &ConnectOptions) -> Result<Hosts> {
        let host = options.host.as_deref().unwrap_or_default();
        let (set, hosts) = host.split_once('/').unwrap_or(("", host));
        let hosts = if hosts.is_empty() { "localhost" } else { hosts };
        let with_port = |host: &str| match (&options.port, port_of(host)) {
            (Some(port), None) => Ok(format!("{}:{port}", with_name(host))),
            (Some(port), Some(other)) if port != other => Err(Error::usage(format!(
                "cannot specify different ports in --host {host} and --port {port}"
            ))),
            _ => Ok(with_name(host)),
        };
        let list = hosts.split(',').map(with_port).collect::<Result<_>>()?;
        Ok(Hosts { set: Some(set.to_owned()).filter(|set| !set.is_empty()), list })
    }
}

fn conflict(what: &str, values: Option<(&dyn fmt::Display, &dyn fmt::Display, &str)>) -> Error {
    let values = values.map_or(String::new(), |(uri, flag, name)| {
        format!(" (\"{uri}\" was specified in the URI and \"{flag}\" was specified in the {name} option)")
    });
    Error::usage(format!(
        "Invalid Options: Cannot specify different {what} in connection URI and command-line option{values}"
    ))
}

/// Both are given and are not the same.
fn differ(what: &str, uri: Option<String>, flag: Option<&String>, name: &str) -> Result<()> {
    match (uri, flag) {
        (Some(uri), Some(flag)) if uri != *flag => Err(conflict(what, Some((&uri, flag, name)))),
        _ => Ok(()),
    }
}

/// Flags that contradict the connection string.
pub(super) fn agree(options: &ConnectOptions, uri: &Uri) -> Result<()> {
    hosts(options, uri)?;
    let user = uri.user().map(str::to_owned);
    differ("username", user, options.username.as_ref(), "--username")?;
    let mechanism = options.mechanism.as_ref();
    differ("authMechanism", uri.option("authmechanism"), mechanism, "--authenticationMechanism")?;
    let source = options.auth_database.as_ref();
    differ("authSource", uri.option("authsource"), source, "--authenticationDatabase")?;
    differ(
        "compressors",
        uri.option("compressors"),
        options.compressors.as_ref(),
        "--compressors",
    )?;
    let timeout = options.selection_timeout.map(|t| t.as_millis().to_string());
    let in_uri = uri.option("serverselectiontimeoutms");
    differ("serverSelectionTimeout", in_uri, timeout.as_ref(), "--serverSelectionTimeout")?;
    let encrypted = uri.option("ssl").or_else(|| uri.option("tls"));
    if options.tls && encrypted.as_deref() == Some("false") {
        return Err(conflict("ssl", Some((&"false", &"true", "--ssl"))));
    }
    // Of secrets no values are told.
    let secrets = [
        ("password", options.password.as_deref(), uri.password().map(str::to_owned)),
        (
            "password of the client certificate",
            options.key_password.as_deref(),
            uri.option("tlscertificatekeyfilepassword"),
        ),
    ];
    for (what, flag, uri) in secrets {
        if flag.is_some() && uri.is_some() && flag != uri.as_deref() {
            return Err(conflict(what, None));
        }
    }
    Ok(())
}

fn hosts(options: &ConnectOptions, uri: &Uri) -> Result<()> {
    let all = uri.hosts().join(",");
    if let Some(port) = &options.port
        && uri.hosts().iter().any(|host| port_of(host).is_some_and(|other| other != port))
    {
        return Err(conflict("port", Some((&all, port, "--port"))));
    }
    let Some(host) = &options.host else { return Ok(()) };
    let flags = Hosts::of_flags(options)?;
    let set = uri.option("replicaset");
    if set.is_some() && flags.set.is_some() && set != flags.set {
        let set = set.unwrap_or_default();
        return Err(conflict("replica set name", Some((&set, host, "--host"))));
    }
    let mut uri = uri.clone();
    if let Some(port) = &options.port {
        uri.set_port(port);
    }
    let addresses = |list: &[String]| -> BTreeSet<String> {
        list.iter()
            .map(|host| ServerAddress::parse(host).map_or_else(|_| host.clone(), |a| a.to_string()))
            .collect()
    };
    if addresses(uri.hosts()) == addresses(&flags.list) {
        Ok(())
    } else {
        Err(conflict("host", Some((&all, host, "--host"))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn own(text: &str) -> Option<String> {
        Some(text.to_owned()).filter(|text| !text.is_empty())
    }

    #[test]
    fn hosts_get_their_port() {
        let hosts = |host: &str, port: &str| {
            let (host, port) = (own(host), own(port));
            Hosts::of_flags(&ConnectOptions { host, port, ..ConnectOptions::default() })
        };
        assert_eq!(hosts("", "").unwrap().list, ["localhost"]);
        assert_eq!(hosts("a", "5").unwrap().list, ["a:5"]);
        assert_eq!(hosts(":7", "").unwrap().list, ["localhost:7"]);
        let set = hosts("s/a:1,b:2", "").unwrap();
        assert_eq!((set.set.as_deref(), set.list.len()), (Some("s"), 2));
        assert!(hosts("a:1", "2").is_err());
    }

    type Change = fn(&mut ConnectOptions);

    /// What the stock mongodump says of these, each seen.
    #[test]
    fn flags_may_repeat_a_uri_but_not_contradict_it() {
        let with = |uri: &str, change: fn(&mut ConnectOptions)| {
            let mut options = ConnectOptions::default();
            change(&mut options);
            agree(&options, &Uri::parse(uri).unwrap()).map_err(|e| e.message().to_owned())
        };
        let good: [(&str, Change); 7] = [
            ("mongodb://h:1", |o| o.port = own("1")),
            ("mongodb://h", |o| o.port = own("1")),
            ("mongodb://h:1", |o| o.host = own("h:1")),
            ("mongodb://h:1", |o| (o.host, o.port) = (own("h"), own("1"))),
            ("mongodb://h:1", |o| o.host = own("rs/h:1")),
            ("mongodb://h:1/?replicaSet=rs", |o| o.host = own("rs/h:1")),
            ("mongodb://u:p@h/?authSource=a", |o| o.auth_database = own("a")),
        ];
        for (uri, change) in good {
            assert_eq!(with(uri, change), Ok(()), "{uri}");
        }
        let bad: [(&str, Change, &str); 12] = [
            ("mongodb://h:1", |o| o.port = own("2"), "different port in"),
            ("mongodb://h:1,i:2", |o| o.port = own("1"), "different port in"),
            ("mongodb://h:1", |o| o.host = own("h"), "different host in"),
            ("mongodb://h:1,i:1", |o| o.host = own("h:1"), "different host in"),
            ("mongodb://h/?replicaSet=a", |o| o.host = own("b/h"), "replica set name"),
            ("mongodb://u@h", |o| o.username = own("v"), "different username"),
            ("mongodb://u:p@h", |o| o.password = own("q"), "different password"),
            ("mongodb://h/?authSource=a", |o| o.auth_database = own("b"), "different authSource"),
            ("mongodb://h/?authMechanism=PLAIN", |o| o.mechanism = own("X"), "authMechanism"),
            ("mongodb://h/?compressors=zlib", |o| o.compressors = own("snappy"), "compressors"),
            ("mongodb://h/?ssl=false", |o| o.tls = true, "different ssl"),
            (
                "mongodb://h/?serverSelectionTimeoutMS=1",
                |o| o.selection_timeout = Some(Duration::from_secs(3)),
                "serverSelectionTimeout",
            ),
        ];
        for (uri, change, what) in bad {
            let said = with(uri, change).unwrap_err();
            assert!(said.contains(what) && !said.contains('q'), "{uri}: {said}");
        }
    }
}
