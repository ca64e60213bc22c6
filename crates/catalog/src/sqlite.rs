//! The embedded backend: one SQLite file.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bygone_base::{Error, ErrorKind, Result, work::Workers};
use rusqlite::{Connection, OptionalExtension as _, Row, named_params};

use crate::{Backend, Kind, Page, Stored};

/// The layout of the file; a newer one is refused.
const LAYOUT: i64 = 1;
/// Another process that writes is waited for so long.
const BUSY: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS rows (
        kind TEXT NOT NULL, id TEXT NOT NULL, scope TEXT NOT NULL,
        version INTEGER NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (kind, id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS rows_by_scope ON rows (kind, scope, id);";

/// Rows in a SQLite file, or in memory. Read and written on a thread of its own: a store that stands still, and all the
/// threads that wait for it, must not keep anybody from seeing how things are.
pub struct Sqlite {
    connection: Arc<Mutex<Connection>>,
    worker: Workers,
    file: Option<PathBuf>,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Sqlite {
    /// Opens the file, making it where there is none.
    ///
    /// # Errors
    /// Unsupported: a newer bygone made it. Damaged: it is no catalog.
    pub fn open(file: &Path) -> Result<Sqlite> {
        let what = || format!("catalog {}", file.display());
        let connection = Connection::open(file).map_err(|e| failed(&e).within(what()))?;
        prepare(&connection).map_err(|e| e.within(what()))?;
        Sqlite::of(connection, Some(file.to_owned()))
    }

    /// A catalog that ends with the process.
    pub fn in_memory() -> Result<Sqlite> {
        let connection = Connection::open_in_memory().map_err(|e| failed(&e))?;
        prepare(&connection)?;
        Sqlite::of(connection, None)
    }

    fn of(connection: Connection, file: Option<PathBuf>) -> Result<Sqlite> {
        let worker = Workers::start("catalog", 1)?;
        Ok(Sqlite { connection: Arc::new(Mutex::new(connection)), worker, file })
    }

    async fn with<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let connection = Arc::clone(&self.connection);
        let done = self.worker.run("a look into the catalog", move || {
            job(&connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        done.await?.map_err(|e| failed(&e).within("catalog"))
    }
}

fn prepare(connection: &Connection) -> Result<()> {
    let run = |sql: &str| connection.execute_batch(sql).map_err(|e| failed(&e));
    connection.busy_timeout(BUSY).map_err(|e| failed(&e))?;
    // Full: what is acknowledged survives a power cut.
    run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;")?;
    let layout: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|e| failed(&e))?;
    if layout > LAYOUT {
        return Err(Error::unsupported(format!("layout {layout} is newer than this bygone knows"))
            .hint("use the bygone that made it, or a newer one"));
    }
    run(SCHEMA)?;
    connection.pragma_update(None, "user_version", LAYOUT).map_err(|e| failed(&e))
}

fn failed(error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode as Code;
    let kind = match error.sqlite_error_code() {
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => ErrorKind::Unavailable,
        Some(Code::DiskFull) => ErrorKind::Full,
        Some(Code::DatabaseCorrupt | Code::NotADatabase) => ErrorKind::Damaged,
        Some(Code::CannotOpen | Code::PermissionDenied | Code::ReadOnly) => ErrorKind::Denied,
        Some(Code::ConstraintViolation) => ErrorKind::Conflict,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, error.to_string())
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored { id: row.get(0)?, scope: row.get(1)?, version: row.get(2)?, body: row.get(3)? })
}

fn changed_elsewhere(kind: Kind, id: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("{} {id} was changed by somebody else", kind.0))
}

#[async_trait]
impl Backend for Sqlite {
    async fn get(&self, kind: Kind, id: &str) -> Result<Option<Stored>> {
        let id = id.to_owned();
        self.with(move |c| {
            c.prepare_cached(
                "SELECT id, scope, version, body FROM rows WHERE kind = ?1 AND id = ?2",
            )?
            .query_row((kind.0, &id), stored)
            .optional()
        })
        .await
    }

    async fn insert(&self, kind: Kind, id: &str, scope: &str, body: String) -> Result<()> {
        let (row, scope) = (id.to_owned(), scope.to_owned());
        let added = self
            .with(move |c| {
                c.prepare_cached(
                    "INSERT INTO rows (kind, id, scope, version, body) VALUES (?1, ?2, ?3, 1, ?4) \
                     ON CONFLICT DO NOTHING",
                )?
                .execute((kind.0, &row, &scope, &body))
            })
            .await?;
        if added == 1 {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, format!("{} {id} exists already", kind.0)))
    }

    async fn update(&self, kind: Kind, id: &str, version: u64, body: String) -> Result<()> {
        let row = id.to_owned();
        let changed = self
            .with(move |c| {
                c.prepare_cached(
                    "UPDATE rows SET body = ?4, version = version + 1 \
                     WHERE kind = ?1 AND id = ?2 AND version = ?3",
                )?
                .execute((kind.0, &row, version, &body))
            })
            .await?;
        if changed == 1 { Ok(()) } else { Err(changed_elsewhere(kind, id)) }
    }

    async fn delete(&self, kind: Kind, id: &str, version: u64) -> Result<()> {
        let row = id.to_owned();
        let deleted = self
            .with(move |c| {
                c.prepare_cached("DELETE FROM rows WHERE kind = ?1 AND id = ?2 AND version = ?3")?
                    .execute((kind.0, &row, version))
            })
            .await?;
        if deleted == 1 { Ok(()) } else { Err(changed_elsewhere(kind, id)) }
    }

    async fn list(&self, kind: Kind, page: &Page) -> Result<Vec<Stored>> {
        let Page { scope, newest_first, after, limit } = page.clone();
        let (beyond, order) = if newest_first { ("<", "DESC") } else { (">", "ASC") };
        let sql = format!(
            "SELECT id, scope, version, body FROM rows WHERE kind = :kind \
             AND (:scope IS NULL OR scope = :scope) AND (:after IS NULL OR id {beyond} :after) \
             ORDER BY id {order} LIMIT :limit"
        );
        self.with(move |c| {
            let mut statement = c.prepare_cached(&sql)?;
            let limit = limit.map_or(-1, i64::from);
            let wanted = named_params! {
                ":kind": kind.0, ":scope": scope, ":after": after, ":limit": limit
            };
            statement.query_map(wanted, stored)?.collect()
        })
        .await
    }

    async fn count(&self, kind: Kind, scope: Option<&str>) -> Result<u64> {
        let scope = scope.map(str::to_owned);
        self.with(move |c| {
            c.prepare_cached(
                "SELECT count(*) FROM rows WHERE kind = ?1 AND (?2 IS NULL OR scope = ?2)",
            )?
            .query_row((kind.0, scope), |row| row.get(0))
        })
        .await
    }

    async fn copy_to(&self, file: &Path) -> Result<()> {
        let name = file.to_string_lossy().into_owned();
        self.with(move |c| c.execute("VACUUM INTO ?1", [name])).await?;
        Ok(())
    }
}
