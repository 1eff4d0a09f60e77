//! Which learner was given which session, and why past ones ended.

use rusqlite::OptionalExtension;

use super::{Db, DbError, know_learner, now};
use crate::learner::Learner;

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The learner ended it.
    Learner,
    /// Nobody typed for too long.
    Idle,
    /// Its time was over.
    Time,
    /// The machine was started again.
    Restart,
    /// It is gone and nobody told us why: ended by the operator.
    Gone,
}

impl EndReason {
    fn word(self) -> &'static str {
        match self {
            EndReason::Learner => "learner",
            EndReason::Idle => "idle",
            EndReason::Time => "time",
            EndReason::Restart => "restart",
            EndReason::Gone => "gone",
        }
    }

    fn of_word(word: &str) -> EndReason {
        match word {
            "learner" => EndReason::Learner,
            "idle" => EndReason::Idle,
            "time" => EndReason::Time,
            "restart" => EndReason::Restart,
            _ => EndReason::Gone,
        }
    }
}

/// A session that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastSession {
    /// Its id.
    pub id: String,
    /// When it ended, in seconds since the epoch.
    pub ended: i64,
    /// Why.
    pub reason: EndReason,
}

impl Db {
    /// Notes a session that a learner was given.
    pub async fn session_made(&self, learner: &Learner, lab: &str, id: &str) -> Result<(), DbError> {
        let (learner, lab, id) = (learner.id.clone(), lab.to_owned(), id.to_owned());
        self.transaction(move |t| {
            know_learner(t, &learner)?;
            t.prepare_cached("INSERT INTO sessions (id, learner, lab, created) VALUES (?1, ?2, ?3, ?4)")?
                .execute((&id, &learner, &lab, now()))
                .map(drop)
        })
        .await
    }

    /// Notes that a session has ended. The first reason given stays.
    pub async fn session_ended(&self, id: &str, reason: EndReason) -> Result<(), DbError> {
        let id = id.to_owned();
        self.transaction(move |t| {
            t.prepare_cached("UPDATE sessions SET ended = ?2, reason = ?3 WHERE id = ?1 AND ended IS NULL")?
                .execute((&id, now(), reason.word()))?;
            t.prepare_cached("DELETE FROM grants WHERE session = ?1")?.execute((&id,)).map(drop)
        })
        .await
    }

    /// Sessions that have not ended as far as we know: their ids, and when they
    /// were made, in seconds since the epoch.
    pub async fn sessions_open(&self) -> Result<Vec<(String, i64)>, DbError> {
        self.transaction(|t| {
            t.prepare_cached("SELECT id, created FROM sessions WHERE ended IS NULL")?
                .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .await
    }

    /// The learner's last session for a lab, if it has ended.
    pub async fn session_past(&self, learner: &Learner, lab: &str) -> Result<Option<PastSession>, DbError> {
        let (learner, lab) = (learner.id.clone(), lab.to_owned());
        self.transaction(move |t| {
            let last = t
                .prepare_cached(
                    "SELECT id, ended, reason FROM sessions WHERE learner = ?1 AND lab = ?2
                     ORDER BY created DESC LIMIT 1",
                )?
                .query_row((&learner, &lab), |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get::<_, Option<i64>>(1)?,
                        row.get::<_, Option<String>>(2)?,
                    ))
                })
                .optional()?;
            Ok(last.and_then(|(id, ended, reason)| {
                Some(PastSession { id, ended: ended?, reason: EndReason::of_word(&reason?) })
            }))
        })
        .await
    }

    /// Why the learner's session with this id ended, if it has.
    pub async fn session_end(&self, learner: &Learner, id: &str) -> Result<Option<PastSession>, DbError> {
        let (learner, id) = (learner.id.clone(), id.to_owned());
        self.transaction(move |t| {
            t.prepare_cached(
                "SELECT id, ended, reason FROM sessions WHERE learner = ?1 AND id = ?2 AND ended IS NOT NULL",
            )?
            .query_row((&learner, &id), |row| {
                let reason: String = row.get(2)?;
                Ok(PastSession { id: row.get(0)?, ended: row.get(1)?, reason: EndReason::of_word(&reason) })
            })
            .optional()
        })
        .await
    }

    /// Lets a learner use a session that they opened with its key.
    pub async fn grant(&self, learner: &Learner, id: &str) -> Result<(), DbError> {
        let (learner, id) = (learner.id.clone(), id.to_owned());
        self.transaction(move |t| {
            know_learner(t, &learner)?;
            t.prepare_cached(
                "INSERT INTO grants (session, learner, created) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            )?
            .execute((&id, &learner, now()))
            .map(drop)
        })
        .await
    }

    /// Whether the learner has opened this session with its key.
    pub async fn granted(&self, learner: &Learner, id: &str) -> Result<bool, DbError> {
        let (learner, id) = (learner.id.clone(), id.to_owned());
        self.transaction(move |t| {
            t.prepare_cached("SELECT 1 FROM grants WHERE session = ?1 AND learner = ?2")?
                .exists((&id, &learner))
        })
        .await
    }
}
