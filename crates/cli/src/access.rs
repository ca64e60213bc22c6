//! Stores, keys and URIs from arguments, files and the environment. Secrets come from files or the
//! environment only: what stands on the command line, every user of the machine can read.

use std::{fs, path::Path, str::FromStr, sync::Arc};

use bygone_agent::SourceUri;
use bygone_base::{Clock, Error, ErrorKind, JobName, Result, SystemClock};
use bygone_blockstore::Secret;
use bygone_control::repository;
use bygone_snapshot::{Parts, Stores, parts};

use crate::args::{AccessArgs, StoreArgs};

/// The system's clock, shared.
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// The secret that opens the repository, where one is given.
pub fn secret(args: &AccessArgs) -> Result<Option<Secret>> {
    match &args.key_file {
        Some(file) => Secret::from_key_file(file).map(Some),
        None => passphrase_text(args)?.map(Secret::passphrase).transpose(),
    }
}

/// The passphrase, where one is given.
pub fn passphrase_text(args: &AccessArgs) -> Result<Option<String>> {
    match &args.passphrase_file {
        Some(file) => first_line(file).map(Some),
        None => Ok(std::env::var("BYGONE_PASSPHRASE").ok()),
    }
}

/// The passphrase in a file: its first line.
pub fn passphrase(file: &Path) -> Result<Secret> {
    Secret::passphrase(first_line(file)?)
}

pub fn first_line(file: &Path) -> Result<String> {
    let text =
        fs::read_to_string(file).map_err(|e| Error::io(format!("read {}", file.display()), e))?;
    Ok(text.lines().next().unwrap_or_default().trim_end().to_owned())
}

/// Opens the stores of a job; with `create`, makes those that are not there.
pub async fn open(args: &StoreArgs, clock: Arc<dyn Clock>, create: bool) -> Result<Stores> {
    open_at(&args.store, &args.access, clock, create).await
}

/// As [`open`], where the store of the snapshots is given apart.
pub async fn open_at(
    store: &str,
    access: &AccessArgs,
    clock: Arc<dyn Clock>,
    create: bool,
) -> Result<Stores> {
    let secret = secret(access)?;
    let blocks = repository(store, secret.as_ref(), clock.clone(), create).await?;
    let other = async |url: &Option<String>, what: &str| match url {
        Some(url) if url != store => {
            let opened = repository(url, secret.as_ref(), clock.clone(), create).await;
            opened.map_err(|e| e.within(what))
        }
        _ => Ok(blocks.clone()),
    };
    let oplog = other(&access.oplog_store, "--oplog-store").await?;
    let sync = other(&access.sync_store, "--sync-store").await?;
    Ok(Stores { blocks, oplog, sync })
}

/// The parts of the job asked for; without a name the stores must hold one job only.
pub async fn parts_of(stores: &Stores, job: Option<&str>) -> Result<Vec<Parts>> {
    let mut all = parts(&stores.blocks).await?;
    if stores.oplog.id() != stores.blocks.id() {
        all.extend(parts(&stores.oplog).await?);
    }
    all.sort();
    all.dedup();
    if let Some(job) = job {
        let job = JobName::from_str(job)?;
        all.retain(|(j, _)| *j == job);
    }
    let location = stores.blocks.store().location();
    let mut jobs: Vec<&JobName> = all.iter().map(|(job, _)| job).collect();
    jobs.dedup();
    match jobs[..] {
        [] => Err(no_job(&location, job)),
        [_] => Ok(all.into_iter().map(|(job, part)| stores.part(job, part)).collect()),
        _ => {
            let names: Vec<&str> = jobs.iter().map(|j| j.as_str()).collect();
            Err(Error::usage(format!("{location} holds several jobs: {}", names.join(", ")))
                .hint("name one with --job"))
        }
    }
}

/// The one part that a restore reads.
pub async fn only_part(stores: &Stores, job: Option<&str>) -> Result<Parts> {
    let mut parts = parts_of(stores, job).await?;
    match (parts.pop(), parts.is_empty()) {
        (Some(part), true) => Ok(part),
        _ => Err(Error::usage("the job has several parts")
            .hint("restoring sharded clusters is not possible yet")),
    }
}

fn no_job(location: &str, job: Option<&str>) -> Error {
    let message = match job {
        Some(job) => format!("{location} holds no job {job}"),
        None => format!("{location} holds no job"),
    };
    Error::new(ErrorKind::NotFound, message).hint("start one with `bygone up` or `bygone backup`")
}

/// A URI from an argument or a file, completed by a password from a file or `BYGONE_PASSWORD`.
///
/// # Errors
/// Usage when a password stands in the argument.
pub fn uri(
    what: &str,
    argument: Option<&str>,
    from_environment: &str,
    file: Option<&Path>,
    password_file: Option<&Path>,
) -> Result<SourceUri> {
    let parse = |text: &str| SourceUri::parse(text).map_err(|e| e.within(format!("--{what}")));
    let uri = match (file, argument) {
        (Some(file), _) => parse(&first_line(file)?)?,
        (None, Some(text)) => {
            let uri = parse(text)?;
            let in_argv = std::env::args_os().any(|a| a.to_string_lossy().contains(text));
            if uri.has_secret() && in_argv {
                return Err(Error::usage(format!(
                    "--{what} holds a password, which every user of this machine can read"
                ))
                .hint(format!(
                    "use --{what}-file FILE, {from_environment}, or --password-file FILE"
                )));
            }
            uri
        }
        (None, None) => {
            return Err(Error::usage(format!("no --{what} is given"))
                .hint(format!("use --{what} URI, --{what}-file FILE or {from_environment}")));
        }
    };
    let password = match password_file {
        Some(file) => Some(first_line(file)?),
        None => std::env::var("BYGONE_PASSWORD").ok(),
    };
    match password {
        Some(password) if !uri.has_password() => uri.with_password(&password.into()),
        _ => Ok(uri),
    }
}
