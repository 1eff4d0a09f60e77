//! How far learners are in labs.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Db, DbError, know_learner, now};
use crate::learner::Learner;

/// How far a learner is in a lab.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The step the learner looked at last; 0 when none.
    pub step: u32,
    /// When they began, in seconds since the epoch.
    pub started: Option<i64>,
    /// When they last looked at it.
    pub seen: Option<i64>,
    /// When all steps were done.
    pub done: Option<i64>,
    /// What was done in each step.
    pub steps: BTreeMap<u32, StepProgress>,
}

/// What a learner did in a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StepProgress {
    /// The last exit status of each run block that was run.
    pub runs: BTreeMap<u32, i32>,
    /// Checks that passed.
    pub checks: BTreeSet<u32>,
    /// Quizzes that were answered rightly.
    pub quizzes: BTreeSet<u32>,
    /// When the whole step was done.
    pub done: Option<i64>,
}

/// Something in a step that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A run block ended with this exit status.
    Run {
        /// The block's number in its step.
        block: u32,
        /// Its exit status.
        exit: i32,
    },
    /// A check passed.
    Check(u32),
    /// A quiz was answered rightly.
    Quiz(u32),
    /// The whole step is done.
    Step,
}

impl Mark {
    fn columns(self) -> (&'static str, u32, Option<i32>) {
        match self {
            Mark::Run { block, exit } => ("run", block, Some(exit)),
            Mark::Check(number) => ("check", number, None),
            Mark::Quiz(number) => ("quiz", number, None),
            Mark::Step => ("step", 0, None),
        }
    }
}

impl Db {
    /// How far the learner is in the lab.
    pub async fn progress(&self, learner: &Learner, lab: &str) -> Result<Progress, DbError> {
        let (learner, lab) = (learner.id.clone(), lab.to_owned());
        self.transaction(move |t| read(t, &learner, &lab)).await
    }

    /// Notes that the learner looks at this step.
    pub async fn visit(&self, learner: &Learner, lab: &str, step: u32) -> Result<(), DbError> {
        let (learner, lab) = (learner.id.clone(), lab.to_owned());
        self.transaction(move |t| {
            begin(t, &learner, &lab, step)?;
            t.prepare_cached("UPDATE progress SET step = ?3, seen = ?4 WHERE learner = ?1 AND lab = ?2")?
                .execute((&learner, &lab, step, now()))?;
            Ok(())
        })
        .await
    }

    /// Notes what was done in a step. A second time keeps the first time's
    /// time, but a block's last exit status counts.
    pub async fn mark(
        &self,
        learner: &Learner,
        lab: &str,
        step: u32,
        marks: Vec<Mark>,
    ) -> Result<(), DbError> {
        let (learner, lab) = (learner.id.clone(), lab.to_owned());
        self.transaction(move |t| {
            begin(t, &learner, &lab, step)?;
            let mut insert = t.prepare_cached(
                "INSERT INTO marks (learner, lab, step, kind, number, status, time)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET status = excluded.status",
            )?;
            for mark in marks {
                let (kind, number, status) = mark.columns();
                insert.execute((&learner, &lab, step, kind, number, status, now()))?;
            }
            Ok(())
        })
        .await
    }

    /// Notes that all steps of the lab are done.
    pub async fn mark_done(&self, learner: &Learner, lab: &str) -> Result<(), DbError> {
        let (learner, lab) = (learner.id.clone(), lab.to_owned());
        self.transaction(move |t| {
            t.prepare_cached(
                "UPDATE progress SET done = coalesce(done, ?3) WHERE learner = ?1 AND lab = ?2",
            )?
            .execute((&learner, &lab, now()))?;
            Ok(())
        })
        .await
    }

    /// Forgets what was done in a step, for one who starts it over.
    pub async fn forget_step(&self, learner: &Learner, lab: &str, step: u32) -> Result<(), DbError> {
        let (learner, lab) = (learner.id.clone(), lab.to_owned());
        self.transaction(move |t| {
            t.prepare_cached("DELETE FROM marks WHERE learner = ?1 AND lab = ?2 AND step = ?3")?
                .execute((&learner, &lab, step))?;
            Ok(())
        })
        .await
    }
}

fn begin(t: &rusqlite::Transaction<'_>, learner: &str, lab: &str, step: u32) -> rusqlite::Result<()> {
    know_learner(t, learner)?;
    t.prepare_cached(
        "INSERT INTO progress (learner, lab, step, started, seen) VALUES (?1, ?2, ?3, ?4, ?4)
         ON CONFLICT DO NOTHING",
    )?
    .execute((learner, lab, step, now()))
    .map(drop)
}

fn read(t: &rusqlite::Transaction<'_>, learner: &str, lab: &str) -> rusqlite::Result<Progress> {
    let mut progress = Progress::default();
    let mut of_lab =
        t.prepare_cached("SELECT step, started, seen, done FROM progress WHERE learner = ?1 AND lab = ?2")?;
    let mut rows = of_lab.query((learner, lab))?;
    if let Some(row) = rows.next()? {
        progress.step = row.get(0)?;
        progress.started = row.get(1)?;
        progress.seen = row.get(2)?;
        progress.done = row.get(3)?;
    }
    let mut marks = t.prepare_cached(
        "SELECT step, kind, number, status, time FROM marks WHERE learner = ?1 AND lab = ?2",
    )?;
    let mut rows = marks.query((learner, lab))?;
    while let Some(row) = rows.next()? {
        let step = progress.steps.entry(row.get(0)?).or_default();
        let kind: String = row.get(1)?;
        let number: u32 = row.get(2)?;
        match kind.as_str() {
            "run" => drop(step.runs.insert(number, row.get(3)?)),
            "check" => drop(step.checks.insert(number)),
            "quiz" => drop(step.quizzes.insert(number)),
            _ => step.done = Some(row.get(4)?),
        }
    }
    Ok(progress)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learner(id: &str) -> Learner {
        Learner { id: id.into() }
    }

    #[tokio::test]
    async fn progress_is_each_learners_own_and_outlives_the_handle() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("db.sqlite");
        let (ann, ben) = (learner("ann"), learner("ben"));
        let db = Db::open(&file).unwrap();
        db.visit(&ann, "namespaces", 2).await.unwrap();
        let marks = vec![Mark::Run { block: 0, exit: 1 }, Mark::Check(1), Mark::Quiz(0), Mark::Step];
        db.mark(&ann, "namespaces", 2, marks).await.unwrap();
        db.mark(&ann, "namespaces", 2, vec![Mark::Run { block: 0, exit: 0 }]).await.unwrap();
        drop(db);

        let db = Db::open(&file).unwrap();
        let progress = db.progress(&ann, "namespaces").await.unwrap();
        assert_eq!(progress.step, 2);
        let step = &progress.steps[&2];
        assert_eq!(step.runs, BTreeMap::from([(0, 0)]));
        assert_eq!((step.checks.len(), step.quizzes.len(), step.done.is_some()), (1, 1, true));
        assert_eq!(db.progress(&ben, "namespaces").await.unwrap(), Progress::default());
        assert_eq!(db.progress(&ann, "other").await.unwrap(), Progress::default());
    }

    #[tokio::test]
    async fn a_step_that_is_started_over_is_not_done() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("db.sqlite")).unwrap();
        let ann = learner("ann");
        db.mark(&ann, "lab", 1, vec![Mark::Step]).await.unwrap();
        db.mark(&ann, "lab", 2, vec![Mark::Step]).await.unwrap();
        db.forget_step(&ann, "lab", 1).await.unwrap();
        assert_eq!(db.progress(&ann, "lab").await.unwrap().steps.keys().collect::<Vec<_>>(), [&2]);
    }
}
