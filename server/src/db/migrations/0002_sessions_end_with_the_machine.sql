-- A session may also have ended with a restart of the machine. A column's check
-- can't be changed, so the table is made anew.
CREATE TABLE sessions_new (
    id      TEXT PRIMARY KEY,
    learner TEXT NOT NULL REFERENCES learners (id) ON DELETE CASCADE,
    lab     TEXT NOT NULL,
    created INTEGER NOT NULL,
    ended   INTEGER,
    reason  TEXT CHECK (reason IN ('learner', 'idle', 'time', 'restart', 'gone'))
) STRICT, WITHOUT ROWID;

INSERT INTO sessions_new SELECT id, learner, lab, created, ended, reason FROM sessions;
DROP TABLE sessions;
ALTER TABLE sessions_new RENAME TO sessions;

CREATE INDEX sessions_by_learner ON sessions (learner, lab, created);
