//! Flags that the tools share.

use std::{path::PathBuf, time::Duration};

use bygone_base::{Error, Result};
use bygone_dumptools::{
    connect::{self, ConnectOptions},
    report::Level,
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
        let given = [&self.uri, &positional, &config.uri].into_iter().flatten().count();
        if given > 1 {
            return Err(Error::usage(
                "too many URIs found in positional arguments: only one URI can be set",
            ));
        }
        let uri = self.uri.clone().or(positional).or(config.uri);
        if let Some(uri) = &uri {
            let named = connect::database_of(uri)?;
            match (&*db, named) {
                (Some(db), Some(named)) if *db != named => {
                    return Err(Error::usage(
                        "Invalid Options: Cannot specify different database in connection URI and command-line option",
                    ));
                }
                (None, Some(named)) => *db = Some(named),
                _ => {}
            }
        }
        Ok(ConnectOptions {
            host: self.host.clone(),
            port: self.port.clone(),
            username: self.username.clone(),
            password: self.password.clone().or(config.password).filter(|p| !p.is_empty()),
            auth_database: self.auth_database.clone(),
            mechanism: self.mechanism.clone(),
            aws_session_token: self.aws_token.clone(),
            tls: self.ssl,
            ca_file: self.ca_file.clone(),
            key_file: self.client_key_file.clone(),
            key_password: self
                .key_password
                .clone()
                .or(config.key_password)
                .filter(|p| !p.is_empty()),
            insecure: self.insecure || self.invalid_certificates || self.invalid_hostnames,
            read_preference: None,
            db: db.clone(),
            selection_timeout: self.selection_timeout.map(Duration::from_secs),
            compressors: self.compressors.clone(),
            uri,
        })
    }

    /// Asks for the passwords that are missing.
    pub fn ask(&self, options: &mut ConnectOptions) -> Result<()> {
        let in_uri = options.uri.as_deref().and_then(user_without_password);
        let user = options.username.clone().or(in_uri);
        if let Some(user) = user.filter(|_| self.needs_password(options)) {
            options.password = Some(password::ask(&format!("mongo user {user}"))?);
        }
        if connect::is_key_locked(options)? {
            options.key_password = Some(password::ask("client certificate")?);
        }
        Ok(())
    }

    fn needs_password(&self, options: &ConnectOptions) -> bool {
        let in_uri = options.uri.as_deref().is_some_and(has_password);
        let by_password =
            !matches!(self.mechanism.as_deref(), Some("MONGODB-X509" | "GSSAPI" | "MONGODB-AWS"));
        let x509 = options.uri.as_deref().is_some_and(|u| u.contains("MONGODB-X509"));
        options.password.is_none() && !in_uri && by_password && !x509
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

fn user_info(uri: &str) -> Option<&str> {
    let rest = uri.split_once("://")?.1;
    let authority = rest.split(['/', '?']).next()?;
    Some(authority.rsplit_once('@')?.0)
}

fn has_password(uri: &str) -> bool {
    user_info(uri).is_some_and(|info| info.contains(':'))
}

fn user_without_password(uri: &str) -> Option<String> {
    user_info(uri).filter(|info| !info.contains(':') && !info.is_empty()).map(str::to_owned)
}

/// The first rule that is broken.
pub fn refuse(rules: &[(bool, &str)]) -> Result<()> {
    match rules.iter().find(|(broken, _)| *broken) {
        Some((_, why)) => Err(Error::usage(format!("bad option: {why}"))),
        None => Ok(()),
    }
}
