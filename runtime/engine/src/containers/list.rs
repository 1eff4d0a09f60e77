//! `GET /containers/json`

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Query, State},
};
use serde::{Deserialize, Serialize};

use super::{
    inspect::sizes,
    record::{MountPoint, Record, Status},
};
use crate::{
    clock,
    engine::{Engine, Shared},
    error::ApiError,
    filters::{Filters, is_true},
    networks::{EndpointSettings, PortSummary, endpoints, port_list},
};

const FILTERS: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ListQuery {
    all: String,
    limit: String,
    size: String,
    filters: String,
}

impl ListQuery {
    /// All containers with their sizes.
    pub(crate) fn everything() -> ListQuery {
        ListQuery { all: "1".to_owned(), size: "1".to_owned(), ..ListQuery::default() }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Summary {
    id: String,
    names: Vec<String>,
    image: String,
    #[serde(rename = "ImageID")]
    image_id: String,
    command: String,
    created: i64,
    ports: Vec<PortSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_rw: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_root_fs: Option<u64>,
    labels: BTreeMap<String, String>,
    state: Status,
    status: String,
    host_config: HostMode,
    network_settings: Networks,
    mounts: Vec<MountPoint>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct HostMode {
    network_mode: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Networks {
    networks: BTreeMap<String, EndpointSettings>,
}

/// `GET /containers/json`
pub(crate) async fn list(
    State(engine): State<Shared>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<Summary>>, ApiError> {
    let filters = Filters::parse(&query.filters)?;
    check(&filters)?;
    let limit: usize = query.limit.parse().ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    // A filter for states that don't run shows those too.
    let all = is_true(&query.all) || limit != usize::MAX || filters.has("status") || filters.has("exited");
    let created_of = |key: &str| -> Result<Option<String>, ApiError> {
        filters
            .values(key)
            .next()
            .map(|name| Ok(engine.containers.find(name)?.locked().created.clone()))
            .transpose()
    };
    let (before, since) = (created_of("before")?, created_of("since")?);
    let records = engine.containers.all().into_iter().map(|container| container.record());
    let chosen = records
        .filter(|record| all || record.state.status.is_active())
        .filter(|record| before.as_ref().is_none_or(|before| record.created < *before))
        .filter(|record| since.as_ref().is_none_or(|since| record.created > *since))
        .filter(|record| fits(&engine, record, &filters))
        .take(limit);
    Ok(Json(chosen.map(|record| summary(&engine, record, is_true(&query.size))).collect()))
}

fn check(filters: &Filters) -> Result<(), ApiError> {
    filters.only(FILTERS)?;
    const STATES: [&str; 7] = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];
    match filters.values("status").find(|state| !STATES.contains(state)) {
        Some(state) => Err(ApiError::Invalid(format!(
            "invalid filter 'status={state}': invalid value for state ({state}): must be one of created, running, \
             paused, restarting, removing, exited, dead"
        ))),
        None => Ok(()),
    }
}

fn fits(engine: &Engine, record: &Record, filters: &Filters) -> bool {
    let state = &record.state;
    filters.allows("id", |id| record.id.starts_with(id))
        && filters.allows("name", |name| name_fits(&record.name, name))
        && filters.allows("status", |status| state.status.word() == status)
        && filters
            .allows("exited", |code| state.status == Status::Exited && code.parse() == Ok(state.exit_code))
        && filters.allows("ancestor", |image| {
            record.config.image == image
                || engine.images.find(image).is_ok_and(|found| found.id.to_string() == record.image)
        })
        && filters.allows("network", |network| engine.networks.has(record, network))
        && filters.allows("volume", |volume| {
            record.mounts.iter().any(|point| point.name == volume || point.destination == volume)
        })
        && filters.allows("health", |wanted| {
            state.health.as_ref().map_or("none", |health| health.status.word()) == wanted
        })
        && filters.allows("is-task", |task| task == "false")
        && filters.allows("publish", |wanted| published(record, wanted))
        && filters.allows("expose", |port| {
            record.config.exposed_ports.keys().any(|own| own == port || own.split('/').next() == Some(port))
        })
        && filters.labels(&record.config.labels)
}

/// Whether a container publishes `80`, `80/tcp`, or a port of `80-90/tcp`.
fn published(record: &Record, wanted: &str) -> bool {
    let (range, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else { return false };
    port_list(record).iter().any(|port| {
        port.protocol == protocol && port.public_port.is_some() && (first..=last).contains(&port.private_port)
    })
}

/// A name, part of it, or with `^` and `$` at its ends.
fn name_fits(name: &str, wanted: &str) -> bool {
    let (start, wanted) = wanted.strip_prefix('^').map_or((false, wanted), |rest| (true, rest));
    let (end, wanted) = wanted.strip_suffix('$').map_or((false, wanted), |rest| (true, rest));
    let wanted = wanted.strip_prefix('/').unwrap_or(wanted);
    match (start, end) {
        (true, true) => name == wanted,
        (true, false) => name.starts_with(wanted),
        (false, true) => name.ends_with(wanted),
        (false, false) => name.contains(wanted),
    }
}

fn summary(engine: &Engine, record: Record, size: bool) -> Summary {
    let sizes = size.then(|| sizes(engine, &record));
    let networks = endpoints(engine, &record);
    // An image whose name now means another is shown by its id.
    let moved =
        engine.images.find(&record.config.image).map_or(true, |found| found.id.to_string() != record.image);
    let image = if moved { record.image.clone() } else { record.config.image.clone() };
    Summary {
        names: vec![format!("/{}", record.name)],
        image,
        image_id: record.image.clone(),
        command: command_words(&record.argv()),
        created: clock::seconds(&record.created),
        ports: port_list(&record),
        size_rw: sizes.map(|(rw, _)| rw),
        size_root_fs: sizes.map(|(_, all)| all),
        labels: record.config.labels.clone(),
        state: record.state.status,
        status: record.state.words(),
        host_config: HostMode { network_mode: record.network().to_owned() },
        network_settings: Networks { networks },
        mounts: record.mounts,
        id: record.id,
    }
}

/// A command as one text; words with spaces in quotes.
fn command_words(argv: &[String]) -> String {
    let mut words = argv.iter();
    let mut text = words.next().cloned().unwrap_or_default();
    for word in words {
        if word.contains(' ') || word.is_empty() {
            text.push_str(&format!(" '{word}'"));
        } else {
            text.push_str(&format!(" {word}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_part_and_by_anchors() {
        assert!(name_fits("web", "we") && name_fits("web", "^web$") && name_fits("web", "^/web$"));
        assert!(!name_fits("web2", "^web$") && !name_fits("web", "^eb"));
    }

    #[test]
    fn commands_are_quoted_as_docker_does() {
        let argv = ["sh", "-c", "echo hi"].map(str::to_owned);
        assert_eq!(command_words(&argv), "sh -c 'echo hi'");
    }
}
