//! `bygone key`.

use std::process::ExitCode;

use bygone_base::{Error, Result, SystemRng};
use bygone_blockstore::{Secret, keys};
use serde_json::json;

use crate::{access, args::KeyCommand, output::Output};

/// Makes or rotates keys.
pub async fn run(command: KeyCommand, output: &Output) -> Result<ExitCode> {
    match command {
        KeyCommand::New { file } => {
            keys::new_key_file(&file, &SystemRng)?;
            output.result(
                format!(
                    "wrote {}; keep a copy away from the store: without it nothing can be restored",
                    file.display()
                ),
                &json!({ "key_file": file.display().to_string() }),
            );
        }
        KeyCommand::Rotate { store, new_key_file, new_passphrase_file } => {
            let current = access::secret(&store.access)?.ok_or_else(|| {
                Error::usage("rotating needs the key in force").hint("give --key-file")
            })?;
            let next = match (new_key_file, new_passphrase_file) {
                (Some(file), _) => Secret::from_key_file(&file)?,
                (None, Some(file)) => access::passphrase(&file)?,
                (None, None) => current.clone(),
            };
            let stores = access::open(&store, access::clock(), false).await?;
            for repository in stores.distinct() {
                keys::rotate(repository, &current, &next).await?;
            }
            output.result(
                "a new data key is in force; restart what has the store open to use it",
                &json!({ "rotated": true }),
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
