//! Stores, keys and URIs from arguments, files and the environment. Secrets come from files or the
//! environment only: what stands on the command line, every user of the machine can read.

use std::{fs, path::Path, str::FromStr, sync::Arc};

use bygone_agent::SourceUri;
use bygone_base::{Clock, Error, ErrorKind, JobName, PartName, Result, SystemClock, SystemRng};
use bygone_blockstore::{Repository, Secret, create_store, open_store};
use bygone_snapshot::{PartStore, parts};

use crate::args::StoreArgs;

/// The system's clock, shared.
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

fn secret(args: &StoreArgs) -> Result<Option<Secret>> {
    match (&args.key_file, &args.passphrase_file) {
        (Some(file), _) => Secret::from_key_file(file).map(Some),
        (None, Some(file)) => passphrase(file).map(Some),
        (None, None) => match std::env::var("BYGONE_PASSPHRASE") {
            Ok(text) => Secret::passphrase(text).map(Some),
            Err(_) => Ok(None),
        },
    }
}

/// The passphrase in a file: its first line.
pub fn passphrase(file: &Path) -> Result<Secret> {
    Secret::passphrase(first_line(file)?)
}

fn first_line(file: &Path) -> Result<String> {
    let text =
        fs::read_to_string(file).map_err(|e| Error::io(format!("read {}", file.display()), e))?;
    Ok(text.lines().next().unwrap_or_default().trim_end().to_owned())
}

/// Opens the repository; with `create`, makes one where there is none.
pub async fn repository(
    args: &StoreArgs,
    clock: Arc<dyn Clock>,
    create: bool,
) -> Result<Repository> {
    let secret = secret(args)?;
    let rng = Arc::new(SystemRng);
    if create {
        let store = create_store(&args.store, clock.clone()).await?;
        return Repository::open_or_create(store, secret.as_ref(), rng, clock.as_ref()).await;
    }
    let store = open_store(&args.store, clock).await?;
    Repository::open(store, secret.as_ref(), rng).await
}

/// The secret that opens the repository, where one is needed.
pub fn secret_of(args: &StoreArgs) -> Result<Option<Secret>> {
    secret(args)
}

/// The parts of the job asked for; without a name the store must hold one job only.
pub async fn job_parts(repository: &Repository, job: Option<&str>) -> Result<Vec<PartStore>> {
    let mut all = parts(repository).await?;
    if let Some(job) = job {
        let job = JobName::from_str(job)?;
        all.retain(|(j, _)| *j == job);
    }
    let location = repository.store().location();
    let mut jobs: Vec<&JobName> = all.iter().map(|(job, _)| job).collect();
    jobs.dedup();
    match jobs[..] {
        [] => Err(Error::new(ErrorKind::NotFound, format!("{location} holds no such job"))
            .hint("start one with `bygone up` or `bygone backup`")),
        [_] => Ok(all.into_iter().map(|(job, part)| part_of(repository, job, part)).collect()),
        _ => {
            let names: Vec<&str> = jobs.iter().map(|j| j.as_str()).collect();
            Err(Error::usage(format!("{location} holds several jobs: {}", names.join(", ")))
                .hint("name one with --job"))
        }
    }
}

/// The part in a repository.
pub fn part_of(repository: &Repository, job: JobName, part: PartName) -> PartStore {
    PartStore::new(repository.clone(), job, part)
}

/// The one part that a restore reads.
pub async fn only_part(repository: &Repository, job: Option<&str>) -> Result<PartStore> {
    let mut parts = job_parts(repository, job).await?;
    match (parts.pop(), parts.is_empty()) {
        (Some(part), true) => Ok(part),
        _ => Err(Error::usage("the job has several parts")
            .hint("restoring sharded clusters is not possible yet")),
    }
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
    let uri = match (file, argument) {
        (Some(file), _) => SourceUri::parse(&first_line(file)?)?,
        (None, Some(text)) => {
            let uri = SourceUri::parse(text)?;
            let in_argv = std::env::args().any(|a| a.contains(text));
            if uri.has_password() && in_argv {
                return Err(Error::usage(format!(
                    "the {what} URI holds a password, which every user of this machine can read"
                ))
                .hint(format!(
                    "use --{what}-file FILE, {from_environment}, or --password-file FILE"
                )));
            }
            uri
        }
        (None, None) => {
            return Err(Error::usage(format!("no {what} is given"))
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
