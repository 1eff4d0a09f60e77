//! Learners, progress and classes, in SQLite.
//!
//! One thread owns the one connection; handlers send it closures and wait. So
//! there is one writer, nothing blocks the runtime, and a read sees every write
//! that was answered before it.

mod migrations;
mod progress;
mod sessions;

use std::{path::Path, thread};

use rusqlite::Connection;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

pub use progress::{Mark, Progress, StepProgress};
pub use sessions::{EndReason, PastSession};

/// How many requests may wait for the connection.
const QUEUE: usize = 1024;

/// Learners who did nothing yet that are remembered.
const LOOKERS_MAX: u32 = 50_000;

/// How many are forgotten in one go, so that nobody waits long.
const FORGET_AT_ONCE: u32 = 5_000;

/// Why the database did not do what it was asked.
#[derive(Debug, Error)]
pub enum DbError {
    /// SQLite said no.
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file was written by a newer Drydock.
    #[error("the database has version {found}, and this drydock knows only {known}: use a newer drydock")]
    TooNew {
        /// The file's version.
        found: usize,
        /// The newest version known here.
        known: usize,
    },
    /// The thread that owns the connection has ended.
    #[error("the database is closed")]
    Closed,
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A handle on the database. Cheap to clone; it closes with the last handle.
#[derive(Debug, Clone)]
pub struct Db {
    jobs: mpsc::Sender<Job>,
}

impl Db {
    /// Opens the database file, making it or bringing it up to date.
    pub fn open(file: &Path) -> Result<Db, DbError> {
        let mut connection = Connection::open(file)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        migrations::run(&mut connection)?;
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        thread::Builder::new()
            .name("database".into())
            .spawn(move || {
                while let Some(job) = queue.blocking_recv() {
                    job(&mut connection);
                }
            })
            .map_err(|_| DbError::Closed)?;
        Ok(Db { jobs })
    }

    /// Runs `work` in a transaction on the connection's thread.
    async fn transaction<T: Send + 'static>(
        &self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DbError> {
        let (answer, result) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let done = connection.transaction().and_then(|transaction| {
                let value = work(&transaction)?;
                transaction.commit()?;
                Ok(value)
            });
            // Whoever asked may have gone away meanwhile.
            drop(answer.send(done));
        });
        self.jobs.send(job).await.map_err(|_| DbError::Closed)?;
        Ok(result.await.map_err(|_| DbError::Closed)??)
    }
}

impl Db {
    /// Forgets learners who only ever looked at pages, but for the newest
    /// [`LOOKERS_MAX`]: anyone can make them by asking for a page without a
    /// cookie. Returns how many; until it is 0, some may be left.
    pub async fn forget_lookers(&self) -> Result<usize, DbError> {
        self.transaction(|t| {
            t.prepare_cached(
                "DELETE FROM learners WHERE id IN (
                     SELECT id FROM learners
                     WHERE NOT EXISTS (SELECT 1 FROM marks WHERE learner = learners.id)
                       AND NOT EXISTS (SELECT 1 FROM sessions WHERE learner = learners.id)
                       AND NOT EXISTS (SELECT 1 FROM grants WHERE learner = learners.id)
                       AND NOT EXISTS (SELECT 1 FROM members WHERE learner = learners.id)
                     ORDER BY created DESC LIMIT ?1 OFFSET ?2)",
            )?
            .execute((FORGET_AT_ONCE, LOOKERS_MAX))
        })
        .await
    }
}

/// Seconds since the epoch.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Makes the learner's row if it is not there: a cookie alone makes none.
fn know_learner(transaction: &rusqlite::Transaction<'_>, learner: &str) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT INTO learners (id, created) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute((learner, now()))
        .map(drop)
}
