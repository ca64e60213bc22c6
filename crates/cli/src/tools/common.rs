//! Flags that the tools share.

use std::{path::PathBuf, time::Duration};

use bygone_base::{Error, Result};
use bygone_dumptools::{
    connect::{self, ConnectOptions, Uri},
    report::{Level, Log},
};
use clap::Args;

use super::{config, password};

#[derive(Debug, Args)]
#[command(next_help_heading = "general options")]
pub struct Verbosity {
    /// print usage
    #[arg(long, action = clap::ArgAction::HelpShort)]
    help: Option<bool>,
    /// print the tool version and exit
    #[arg(long)]
    pub version: bool,
    /// path to a configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// more detailed log output (include multiple times for more verbosity, or specify a numeric value)
    #[arg(short = 'v', long, value_name = "level", num_args = 0..=1, require_equals = true,
          default_missing_value = "1", help_heading = "verbosity options")]
    verbose: Vec<String>,
    /// hide all log output
    #[arg(long, help_heading = "verbosity options")]
    quiet: bool,
    #[arg(long, hide = true)]
    trace: bool,
    #[arg(long, hide = true, value_name = "failpoints")]
    failpoints: Option<String>,
}

impl Verbosity {
    /// The last level that is shown; `None` when that is no number.
    pub fn level(&self) -> Option<Option<Level>> {
        let given: Vec<i64> = self.verbose.iter().map(|v| v.parse().ok()).collect::<Option<_>>()?;
        Some(match given.iter().fold(0_i64, |sum, more| sum.saturating_add(*more)) {
            _ if self.quiet => None,
            ..=0 => Some(Level::Always),
            1 => Some(Level::Info),
            _ => Some(Level::Debug),
        })
    }
}

#[derive(Debug, Args)]
pub struct ConnectArgs {
    /// mongodb host to connect to (setname/host1,host2 for replica sets)
    #[arg(short = 'h', long, value_name = "hostname", help_heading = "connection options")]
    host: Option<String>,
    /// server port (can also use --host hostname:port)
    #[arg(long, value_name = "port", help_heading = "connection options")]
    port: Option<String>,
    #[arg(long = "dialTimeout", hide = true)]
    dial_timeout: Option<u64>,
    #[arg(long = "socketTimeout", hide = true)]
    socket_timeout: Option<u64>,
    #[arg(long = "TCPKeepAliveSeconds", hide = true)]
    keep_alive: Option<u64>,
    #[arg(long = "serverSelectionTimeout", hide = true)]
    selection_timeout: Option<u64>,
    #[arg(long, hide = true)]
    compressors: Option<String>,
    #[arg(long = "numThreads", hide = true)]
    threads: Option<usize>,
    /// connect to a mongod or mongos that has ssl enabled
    #[arg(long, help_heading = "ssl options")]
    ssl: bool,
    /// the .pem file containing the root certificate chain from the certificate authority
    #[arg(long = "sslCAFile", value_name = "filename", help_heading = "ssl options")]
    ca_file: Option<PathBuf>,
    /// the .pem file containing the certificate and key
    #[arg(long = "sslPEMKeyFile", value_name = "filename", help_heading = "ssl options")]
    client_key_file: Option<PathBuf>,
    /// the password to decrypt the sslPEMKeyFile, if necessary
    #[arg(long = "sslPEMKeyPassword", value_name = "password", help_heading = "ssl options")]
    key_password: Option<String>,
    /// the .pem file containing the certificate revocation list (not possible with this tool)
    #[arg(long = "sslCRLFile", value_name = "filename", help_heading = "ssl options")]
    crl_file: Option<PathBuf>,
    /// use FIPS mode of the installed openssl library (not possible with this tool)
    #[arg(long = "sslFIPSMode", help_heading = "ssl options")]
    fips: bool,
    /// bypass the validation for server's certificate chain and host name
    #[arg(long = "tlsInsecure", help_heading = "ssl options")]
    insecure: bool,
    #[arg(long = "sslAllowInvalidCertificates", hide = true)]
    invalid_certificates: bool,
    #[arg(long = "sslAllowInvalidHostnames", hide = true)]
    invalid_hostnames: bool,
    /// username for authentication
    #[arg(short = 'u', long, value_name = "username", help_heading = "authentication options")]
    username: Option<String>,
    /// password for authentication
    #[arg(short = 'p', long, value_name = "password", help_heading = "authentication options")]
    password: Option<String>,
    /// database that holds the user's credentials
    #[arg(
        long = "authenticationDatabase",
        value_name = "database-name",
        help_heading = "authentication options"
    )]
    auth_database: Option<String>,
    /// authentication mechanism to use
    #[arg(
        long = "authenticationMechanism",
        value_name = "mechanism",
        help_heading = "authentication options"
    )]
    mechanism: Option<String>,
    /// session token to authenticate via AWS IAM (not possible with this tool)
    #[arg(long = "awsSessionToken", value_name = "token", help_heading = "authentication options")]
    aws_token: Option<String>,
    /// service name for GSSAPI/Kerberos (not possible with this tool)
    #[arg(
        long = "gssapiServiceName",
        value_name = "service-name",
        help_heading = "kerberos options"
    )]
    gssapi_service: Option<String>,
    /// hostname for GSSAPI/Kerberos (not possible with this tool)
    #[arg(long = "gssapiHostName", value_name = "host-name", help_heading = "kerberos options")]
    gssapi_host: Option<String>,
    /// mongodb uri connection string
    #[arg(long, value_name = "mongodb-uri", help_heading = "uri options")]
    uri: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "namespace options")]
pub struct NamespaceArgs {
    /// database to use
    #[arg(short = 'd', long, value_name = "database-name")]
    pub db: Option<String>,
    /// collection to use
    #[arg(short = 'c', long, value_name = "collection-name")]
    pub collection: Option<String>,
}

/// Whether an argument without a flag is a connection string.
pub fn is_uri(text: &str) -> bool {
    text.starts_with("mongodb://") || text.starts_with("mongodb+srv://")
}

impl ConnectArgs {
    /// What to connect to; `positional` is a connection string without a flag. A database that the URI names goes
    /// into `db` unless that is given.
    pub fn options(
        &self,
        general: &Verbosity,
        positional: Option<String>,
        db: &mut Option<String>,
    ) -> Result<ConnectOptions> {
        self.refuse()?;
        let config = config::read(general.config.as_deref())?;
        let uri = self.uri(positional, config.uri)?;
        if let Some(uri) = &uri {
            *db = one_database(db.take(), uri.database()?)?;
        }
        // What is told here is told before anything else is.
        let log = super::log(general.level().flatten());
        if self.invalid_certificates || self.invalid_hostnames {
            log.always(
                "WARNING: --sslAllowInvalidCertificates and --sslAllowInvalidHostnames are deprecated, please use --tlsInsecure instead",
            );
        }
        for ignored in uri.iter().flat_map(Uri::ignored) {
            log.always(format_args!("WARNING: ignoring unsupported URI parameter '{ignored}'"));
        }
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let options = ConnectOptions {
            host: self.host.clone(),
            port: self.port.clone(),
            username: self.username.clone(),
            password: self.password.clone().or_else(|| given(config.password)),
            auth_database: self.auth_database.clone(),
            mechanism: self.mechanism.clone(),
            aws_session_token: self.aws_token.clone(),
            tls: self.ssl,
            ca_file: self.ca_file.clone(),
            key_file: self.client_key_file.clone(),
            key_password: self.key_password.clone().or_else(|| given(config.key_password)),
            insecure: self.insecure || self.invalid_certificates || self.invalid_hostnames,
            read_preference: None,
            db: db.clone(),
            selection_timeout: self.selection_timeout.filter(|s| *s > 0).map(Duration::from_secs),
            compressors: self.compressors.clone(),
            uri,
        };
        options.check()?;
        Ok(options)
    }

    /// Asks for the passwords that are missing.
    pub fn ask(&self, options: &mut ConnectOptions, log: &Log) -> Result<()> {
        if needs_password(options) {
            options.password = Some(password::ask("mongo user", log)?);
        }
        if connect::is_key_locked(options)? {
            options.key_password = Some(password::ask("client certificate", log)?);
        }
        Ok(())
    }

    /// The connection string, wherever it stands.
    fn uri(&self, positional: Option<String>, config: Option<String>) -> Result<Option<Uri>> {
        let given = match (&self.uri, positional) {
            (Some(_), Some(_)) => {
                return Err(Error::usage(
                    "illegal argument combination: cannot specify a URI in a positional argument and --uri",
                ));
            }
            (Some(uri), None) => Some(uri.clone()),
            (None, positional) => positional,
        };
        let config = config.filter(|uri| !uri.is_empty());
        if given.is_some() && config.is_some() && given != config {
            return Err(Error::usage(
                "illegal argument combination: the file of --config has another URI",
            ));
        }
        given.or(config).as_deref().map(Uri::parse).transpose()
    }

    fn refuse(&self) -> Result<()> {
        let flags = [
            (self.crl_file.is_some(), "--sslCRLFile", "revocation lists cannot be read"),
            (self.fips, "--sslFIPSMode", "this tool does not use OpenSSL"),
            (
                self.gssapi_service.is_some(),
                "--gssapiServiceName",
                "there is no Kerberos in this tool",
            ),
            (self.gssapi_host.is_some(), "--gssapiHostName", "there is no Kerberos in this tool"),
        ];
        match flags.iter().find(|(given, ..)| *given) {
            Some((_, flag, why)) => Err(Error::unsupported(format!("{flag}: {why}"))),
            None => Ok(()),
        }
    }
}

/// The database to work on, by flag and connection string.
fn one_database(flag: Option<String>, uri: Option<String>) -> Result<Option<String>> {
    match (flag, uri) {
        (Some(flag), Some(uri)) if flag != uri => Err(Error::usage(format!(
            "Invalid Options: Cannot specify different database in connection URI and command-line option (\"{uri}\" was specified in the URI and \"{flag}\" was specified in the --db option)"
        ))),
        (flag, uri) => Ok(flag.or(uri)),
    }
}

/// A user who logs in by a password that is nowhere.
fn needs_password(options: &ConnectOptions) -> bool {
    let uri = options.uri.as_ref();
    let user = options.username.is_some() || uri.is_some_and(|uri| uri.user().is_some());
    let password = options.password.is_some() || uri.is_some_and(|uri| uri.password().is_some());
    let mechanism = options.mechanism.clone().or_else(|| uri?.option("authmechanism"));
    let by_password =
        !matches!(mechanism.as_deref(), Some("MONGODB-X509" | "GSSAPI" | "MONGODB-AWS"));
    user && !password && by_password
}

/// The first rule that is broken.
pub fn refuse(rules: &[(bool, &str)]) -> Result<()> {
    match rules.iter().find(|(broken, _)| *broken) {
        Some((_, why)) => Err(Error::usage(format!("bad option: {why}"))),
        None => Ok(()),
    }
}
