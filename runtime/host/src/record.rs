//! Host's memory of a session: one JSON file, written aside and renamed.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use drydock_protocol::host::{Node, NodeState, Session};
use serde::{Deserialize, Serialize};

use crate::{
    error::HostError,
    ids,
    process::{self, Process},
};

const VERSION: u32 = 1;

/// What host knows about a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// It is being removed: whoever reads this goes on with that.
    pub(crate) ended: bool,
    /// It was never whole since it was asked for: after a crash nobody knows
    /// of it, so it is removed.
    #[serde(default)]
    pub(crate) making: bool,
    /// The start of the machine in which it was made. Nothing of it outlives
    /// that.
    #[serde(default)]
    boot: Option<String>,
    /// What callers see.
    pub(crate) session: Session,
    /// The first processes of its nodes.
    pub(crate) processes: BTreeMap<String, Process>,
}

impl Record {
    pub(crate) fn new(session: Session) -> Record {
        // Whoever can't tell the boot finds no session of another one either.
        let boot = process::boot_id().ok();
        Record { version: VERSION, ended: false, making: true, boot, session, processes: BTreeMap::new() }
    }

    /// Whether the machine was started again since the session was made.
    pub(crate) fn is_of_earlier_boot(&self) -> io::Result<bool> {
        match &self.boot {
            Some(boot) => Ok(*boot != process::boot_id()?),
            None => Ok(false),
        }
    }

    /// Notes when the session has become whole: all nodes are made, or failed.
    pub(crate) fn settle(&mut self) {
        self.making &= self.session.nodes.iter().any(|node| node.state == NodeState::Creating);
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.session.nodes.iter().find(|node| node.name == name)
    }

    pub(crate) fn node_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.session.nodes.iter_mut().find(|node| node.name == name)
    }

    /// Changes a node's state, and what goes with it.
    pub(crate) fn set_state(&mut self, name: &str, state: NodeState, error: Option<String>) {
        let runs = matches!(state, NodeState::Running | NodeState::Foreign);
        if !runs {
            self.processes.remove(name);
        }
        if let Some(node) = self.node_mut(name) {
            if !runs {
                node.pid = None;
            }
            node.state = state;
            node.error = error;
        }
    }

    /// Writes the file. A crash leaves the old one or the new one.
    pub(crate) fn save(&self, directory: &Path) -> Result<(), HostError> {
        let path = path(directory, &self.session.id);
        let aside = path.with_extension("json.new");
        let failed = |source| HostError::Record { path: path.clone(), source };
        let text = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        let mut options = fs::OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&aside);
        let written =
            opened.and_then(|mut file| file.write_all(&text)).and_then(|()| fs::rename(&aside, &path));
        if written.is_err()
            && let Err(error) = fs::remove_file(&aside)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!("cannot remove {}: {error}", aside.display());
        }
        written.map_err(failed)
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

/// All records, and the files that are none (a half-written one, say). One that
/// can't be read right now may be good, so that is an error.
pub(crate) fn load(directory: &Path) -> Result<(Vec<Record>, Vec<PathBuf>), HostError> {
    let failed = |source| HostError::Record { path: directory.to_path_buf(), source };
    let (mut records, mut damaged) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        match read(&path) {
            Ok(record) => records.push(record),
            Err(HostError::Record { source, path }) if !is_damaged(&source) => {
                return Err(HostError::Record { source, path });
            }
            Err(error) => {
                tracing::error!("session file {} is of no use: {error}", path.display());
                damaged.push(path);
            }
        }
    }
    Ok((records, damaged))
}

/// Whether an error is about what a file holds.
fn is_damaged(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
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

    /// What this crate's first release wrote. An upgrade must not lose a session,
    /// so that what is added later has a default.
    const FIRST: &str = r#"{"version":1,"ended":false,"session":{"id":"aaaaaaaaaaaaaaaaaaaaaaaaaa",
        "owner":"kim","purpose":"first-containers","key":"k","created":1,"deadline":2,
        "features":{"userns":false,"netfilter":true},
        "limits":{"memory_mb":1024,"disk_mb":2048,"inodes":131072,"pids":1024,"cpu_milli":2000},
        "nodes_max":5,"nodes":[{"name":"node1","address":"192.168.0.11","mac":"02:42:c0:a8:00:0b",
        "state":"running","cut":false,"error":null,"base_id":1048576,"pid":77,
        "agent":"/run/drydock/drydock/s/a/node1/agent.sock",
        "docker":"/run/drydock/drydock/s/a/node1/docker.sock"}]},
        "processes":{"node1":{"pid":77,"start":5,"boot":"b"}}}"#;

    #[test]
    fn records_of_the_first_release_are_read() {
        let directory = std::env::temp_dir().join(format!("drydock-first-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(path(&directory, &"a".repeat(26)), FIRST).unwrap();
        let (records, damaged) = load(&directory).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        assert!(damaged.is_empty());
        assert_eq!(records[0].session.nodes[0].state, NodeState::Running);
        assert!(!records[0].making && records[0].processes.contains_key("node1"));
    }
}
