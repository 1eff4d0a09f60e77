//! The database's shape: numbered SQL files, each run once, in order.

use rusqlite::Connection;

use super::DbError;

const MIGRATIONS: [&str; 2] = [
    include_str!("migrations/0001_learners_classes_progress.sql"),
    include_str!("migrations/0002_sessions_end_with_the_machine.sql"),
];

/// Runs what was not run yet. `user_version` counts what was.
pub(super) fn run(connection: &mut Connection) -> Result<(), DbError> {
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let found = found as usize;
    if found > MIGRATIONS.len() {
        return Err(DbError::TooNew { found, known: MIGRATIONS.len() });
    }
    for (index, sql) in MIGRATIONS.iter().enumerate().skip(found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", index as u32 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}
