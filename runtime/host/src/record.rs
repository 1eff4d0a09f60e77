//! Host's memory of a session: one JSON file, written aside and renamed.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use drydock_protocol::host::{Node, Session};
use serde::{Deserialize, Serialize};

use crate::{error::HostError, ids, process::Process};

const VERSION: u32 = 1;

/// What host knows about a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// It is being removed: whoever reads this goes on with that.
    pub(crate) ended: bool,
    /// What callers see.
    pub(crate) session: Session,
    /// The first processes of its nodes.
    pub(crate) processes: BTreeMap<String, Process>,
}

impl Record {
    pub(crate) fn new(session: Session) -> Record {
        Record { version: VERSION, ended: false, session, processes: BTreeMap::new() }
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.session.nodes.iter().find(|node| node.name == name)
    }

    pub(crate) fn node_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.session.nodes.iter_mut().find(|node| node.name == name)
    }

    /// Writes the file. A crash leaves the old one or the new one.
    pub(crate) fn save(&self, directory: &Path) -> Result<(), HostError> {
        let path = path(directory, &self.session.id);
        let aside = path.with_extension("json.new");
        let failed = |source| HostError::Record { path: path.clone(), source };
        let text = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)
            .map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        fs::rename(&aside, &path).map_err(failed)
    }

    /// Removes the file; it is no error if it is gone.
    pub(crate) fn remove(directory: &Path, id: &str) -> Result<(), HostError> {
        let path = path(directory, id);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(HostError::Record { path, source })
            }
            _ => Ok(()),
        }
    }
}

/// All records, and the files that are none (a half-written one, say).
pub(crate) fn load(directory: &Path) -> Result<(Vec<Record>, Vec<PathBuf>), HostError> {
    let failed = |source| HostError::Record { path: directory.to_path_buf(), source };
    let (mut records, mut damaged) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        match read(&path) {
            Ok(record) => records.push(record),
            Err(error) => {
                tracing::error!("session file {} is of no use: {error}", path.display());
                damaged.push(path);
            }
        }
    }
    Ok((records, damaged))
}

fn read(file: &Path) -> Result<Record, HostError> {
    let failed = |source| HostError::Record { path: file.to_path_buf(), source };
    let record: Record =
        serde_json::from_slice(&fs::read(file).map_err(failed)?).map_err(|error| failed(error.into()))?;
    let wrong = |words: &str| failed(io::Error::new(io::ErrorKind::InvalidData, words));
    if record.version != VERSION {
        return Err(wrong("it is of another version"));
    }
    let nodes_named = record.session.nodes.iter().all(|node| ids::is_name(&node.name));
    let directory = file.parent().unwrap_or(Path::new("."));
    if !ids::is_id(&record.session.id) || !nodes_named || path(directory, &record.session.id) != file {
        return Err(wrong("its names don't fit"));
    }
    Ok(record)
}

/// The file of a session.
pub(crate) fn path(directory: &Path, id: &str) -> PathBuf {
    directory.join(format!("{id}.json"))
}

#[cfg(test)]
mod tests {
    use drydock_protocol::host::{Features, Limits};

    use super::*;

    fn session(id: &str) -> Session {
        Session {
            id: id.into(),
            owner: "kim".into(),
            purpose: String::new(),
            key: String::new(),
            created: 1,
            deadline: 2,
            features: Features::default(),
            limits: Limits::default(),
            nodes_max: 1,
            nodes: Vec::new(),
        }
    }

    #[test]
    fn records_come_back_and_damaged_files_are_told_apart() {
        let directory = std::env::temp_dir().join(format!("drydock-record-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let id = "a".repeat(26);
        Record::new(session(&id)).save(&directory).unwrap();
        let other = "b".repeat(26);
        fs::write(path(&directory, &other), "{\"version\":1").unwrap();
        // One that claims to be another session.
        fs::copy(path(&directory, &id), path(&directory, &"c".repeat(26))).unwrap();
        let (records, damaged) = load(&directory).unwrap();
        let ids: Vec<_> = records.iter().map(|record| record.session.id.as_str()).collect();
        assert_eq!(ids, [id.as_str()]);
        assert_eq!(damaged.len(), 2);
        Record::remove(&directory, &id).unwrap();
        Record::remove(&directory, &id).unwrap();
        fs::remove_dir_all(&directory).unwrap();
    }
}
