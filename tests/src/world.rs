//! The rig's record of what arrived in the world.

use std::path::PathBuf;

/// The record, from a moment on.
pub struct Record {
    file: PathBuf,
    seen: usize,
}

impl Record {
    /// Begins to look now.
    pub fn from_now() -> Record {
        let file = crate::setting("DRYDOCK_RECORD");
        let seen = lines(&file).len();
        Record { file, seen }
    }

    /// The packets since then, a line each.
    pub fn packets(&self) -> Vec<String> {
        lines(&self.file).split_off(self.seen)
    }
}

fn lines(file: &PathBuf) -> Vec<String> {
    let text =
        std::fs::read_to_string(file).unwrap_or_else(|error| panic!("cannot read the rig's record: {error}"));
    text.lines().map(str::to_owned).collect()
}
