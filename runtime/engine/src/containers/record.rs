//! What is known of a container, as it is kept on disk.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::{Config, HostConfig};
use crate::{
    clock,
    networks::{Attachment, Sandbox},
};

/// A container, in the file `container.json` of its directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    /// Without a slash.
    pub(crate) name: String,
    pub(crate) created: String,
    /// The image's id, `sha256:…`.
    pub(crate) image: String,
    /// Names of the image's layers in the store, lowest first.
    pub(crate) layers: Vec<String>,
    pub(crate) config: Config,
    pub(crate) host_config: HostConfig,
    pub(crate) mounts: Vec<MountPoint>,
    pub(crate) state: State,
    pub(crate) restart_count: u32,
    /// How it is attached to networks, by their names.
    #[serde(default)]
    pub(crate) networks: BTreeMap<String, Attachment>,
    /// Its place in networks, while it runs and has a namespace of its own.
    #[serde(default)]
    pub(crate) sandbox: Option<Sandbox>,
    /// The number of its cgroup, while it runs and has one of its own.
    pub(crate) group: Option<u32>,
    /// Somebody stopped it: no restart policy starts it again.
    pub(crate) stopped: bool,
    /// How often in a row it ended soon after its policy had started it.
    #[serde(default)]
    pub(crate) streak: u32,
}

impl Record {
    /// The program and its arguments: entrypoint, then command.
    pub(crate) fn argv(&self) -> Vec<String> {
        let parts = [&self.config.entrypoint, &self.config.cmd];
        parts.into_iter().flatten().flatten().cloned().collect()
    }

    /// Its network mode: a network's name, or whose namespace it shares.
    pub(crate) fn network(&self) -> &str {
        match self.host_config.network_mode.as_str() {
            "default" | "" => "bridge",
            other => other,
        }
    }

    /// Its directory with the overlay's parts.
    pub(crate) fn overlay(&self) -> String {
        format!("{}/overlay2/{}", crate::engine::ROOT, self.id)
    }

    /// What is told with its events.
    pub(crate) fn attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = self.config.labels.clone();
        attributes.insert("image".to_owned(), self.config.image.clone());
        attributes.insert("name".to_owned(), self.name.clone());
        attributes
    }
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Created,
    Running,
    Paused,
    /// It ended and its policy is about to start it again.
    Restarting,
    Exited,
    Removing,
    Dead,
}

impl Status {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
            Status::Removing => "removing",
            Status::Dead => "dead",
        }
    }

    /// Its process is there.
    pub(crate) fn is_up(self) -> bool {
        matches!(self, Status::Running | Status::Paused)
    }

    /// It runs for those who ask: its process is there, or comes back.
    pub(crate) fn is_active(self) -> bool {
        self.is_up() || self == Status::Restarting
    }
}

/// How a container fares.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) status: Status,
    /// The PID in the node; 0 when it doesn't run.
    pub(crate) pid: i32,
    pub(crate) exit_code: i32,
    pub(crate) error: String,
    pub(crate) oom_killed: bool,
    pub(crate) started_at: String,
    pub(crate) finished_at: String,
    /// What its probes say, if it has any.
    #[serde(default)]
    pub(crate) health: Option<Health>,
}

impl Default for State {
    fn default() -> State {
        State {
            status: Status::Created,
            pid: 0,
            exit_code: 0,
            error: String::new(),
            oom_killed: false,
            started_at: clock::NEVER.to_owned(),
            finished_at: clock::NEVER.to_owned(),
            health: None,
        }
    }
}

impl State {
    /// As `docker ps` says it.
    pub(crate) fn words(&self) -> String {
        match self.status {
            Status::Created => "Created".to_owned(),
            Status::Running => {
                let health = match self.health.as_ref().map(|health| health.status) {
                    None => "",
                    Some(Condition::Starting) => " (health: starting)",
                    Some(Condition::Healthy) => " (healthy)",
                    Some(Condition::Unhealthy) => " (unhealthy)",
                };
                format!("Up {}{health}", clock::ago(&self.started_at))
            }
            Status::Restarting => {
                format!("Restarting ({}) {} ago", self.exit_code, clock::ago(&self.finished_at))
            }
            Status::Paused => format!("Up {} (Paused)", clock::ago(&self.started_at)),
            Status::Exited => format!("Exited ({}) {} ago", self.exit_code, clock::ago(&self.finished_at)),
            Status::Removing => "Removal In Progress".to_owned(),
            Status::Dead => "Dead".to_owned(),
        }
    }
}

/// Whether a container's probes succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Condition {
    Starting,
    Healthy,
    Unhealthy,
}

impl Condition {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Condition::Starting => "starting",
            Condition::Healthy => "healthy",
            Condition::Unhealthy => "unhealthy",
        }
    }
}

/// What a container's probes said, as `docker inspect` shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Health {
    pub(crate) status: Condition,
    pub(crate) failing_streak: u32,
    /// The newest probes, the oldest first.
    pub(crate) log: Vec<Probe>,
}

/// One probe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Probe {
    pub(crate) start: String,
    pub(crate) end: String,
    pub(crate) exit_code: i32,
    pub(crate) output: String,
}

/// A mount, as `docker inspect` shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MountPoint {
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) destination: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) driver: String,
    pub(crate) mode: String,
    #[serde(rename = "RW")]
    pub(crate) rw: bool,
    pub(crate) propagation: String,
}
