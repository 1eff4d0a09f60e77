-- A learner is whoever holds the cookie that was signed for this id.
CREATE TABLE learners (
    id      TEXT PRIMARY KEY,
    name    TEXT,
    created INTEGER NOT NULL
) STRICT;

-- Classes and roles have no screens yet.
CREATE TABLE classes (
    id        INTEGER PRIMARY KEY,
    name      TEXT NOT NULL,
    join_code TEXT UNIQUE,
    created   INTEGER NOT NULL
) STRICT;

CREATE TABLE members (
    learner TEXT NOT NULL REFERENCES learners (id) ON DELETE CASCADE,
    class   INTEGER NOT NULL REFERENCES classes (id) ON DELETE CASCADE,
    role    TEXT NOT NULL DEFAULT 'learner' CHECK (role IN ('learner', 'instructor')),
    PRIMARY KEY (learner, class)
) STRICT, WITHOUT ROWID;

-- How far a learner is in a lab. `class` says in which class they took it.
CREATE TABLE progress (
    learner TEXT NOT NULL REFERENCES learners (id) ON DELETE CASCADE,
    lab     TEXT NOT NULL,
    class   INTEGER REFERENCES classes (id) ON DELETE SET NULL,
    step    INTEGER NOT NULL,
    started INTEGER NOT NULL,
    seen    INTEGER NOT NULL,
    done    INTEGER,
    PRIMARY KEY (learner, lab)
) STRICT, WITHOUT ROWID;

-- One thing in a step that was done: a run block with its last exit status, a
-- check that passed, a quiz answered rightly, or the step as a whole.
CREATE TABLE marks (
    learner TEXT NOT NULL,
    lab     TEXT NOT NULL,
    step    INTEGER NOT NULL,
    kind    TEXT NOT NULL CHECK (kind IN ('run', 'check', 'quiz', 'step')),
    number  INTEGER NOT NULL,
    status  INTEGER,
    time    INTEGER NOT NULL,
    PRIMARY KEY (learner, lab, step, kind, number),
    FOREIGN KEY (learner, lab) REFERENCES progress (learner, lab) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Sessions that learners were given, kept after their end to say why it came.
-- What lives is host's to say.
CREATE TABLE sessions (
    id      TEXT PRIMARY KEY,
    learner TEXT NOT NULL REFERENCES learners (id) ON DELETE CASCADE,
    lab     TEXT NOT NULL,
    created INTEGER NOT NULL,
    ended   INTEGER,
    reason  TEXT CHECK (reason IN ('learner', 'idle', 'time', 'gone'))
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_learner ON sessions (learner, lab, created);

-- Sessions that a learner may use because they opened them with their key.
CREATE TABLE grants (
    session TEXT NOT NULL,
    learner TEXT NOT NULL REFERENCES learners (id) ON DELETE CASCADE,
    created INTEGER NOT NULL,
    PRIMARY KEY (session, learner)
) STRICT, WITHOUT ROWID;

CREATE INDEX grants_by_learner ON grants (learner);

CREATE INDEX learners_by_age ON learners (created);
