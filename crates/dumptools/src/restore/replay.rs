//! Operations to the server, many in one command where they are documents' changes: one round trip for each would take
//! hours.

use bygone_base::Result;
use bygone_restore::{create::Command, raw::Build};

use super::{Run, entry::Operation};

/// Operations of one command.
const MAX_OPERATIONS: usize = 1000;
/// Bytes of one command, unless one operation is larger.
const MAX_BYTES: usize = 4 << 20;

/// Gathers operations and sends them in their order.
#[derive(Debug, Default)]
pub(super) struct Replay {
    waiting: Vec<Vec<u8>>,
    bytes: usize,
    /// Operations applied.
    pub(super) applied: u64,
}

impl Replay {
    /// Applies an operation, now or with those behind it.
    pub(super) async fn push(&mut self, run: &Run<'_>, operation: Operation) -> Result<()> {
        let full =
            self.waiting.len() >= MAX_OPERATIONS || self.bytes + operation.bytes.len() > MAX_BYTES;
        if operation.command || full {
            self.flush(run).await?;
        }
        self.bytes += operation.bytes.len();
        self.waiting.push(operation.bytes);
        if operation.command { self.flush(run).await } else { Ok(()) }
    }

    /// Applies what waits.
    pub(super) async fn flush(&mut self, run: &Run<'_>) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        let operations: Vec<&[u8]> = waiting.iter().map(Vec::as_slice).collect();
        let body = Build::new().docs("applyOps", &operations).majority().finish();
        let command = Command { db: "admin".to_owned(), body };
        let what = "restore error: error applying oplog: applyOps";
        let reply = run.target.run(what, &command).await?;
        run.log.debug(format_args!(
            "applied {} operations: {:?}",
            waiting.len(),
            reply.document.get("ok")
        ));
        self.applied += waiting.len() as u64;
        Ok(())
    }
}
