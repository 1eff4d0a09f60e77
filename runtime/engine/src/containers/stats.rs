//! `GET /containers/{ref}/stats`: what a container uses, once or each second.
//!
//! On v2 its own group counts. On v1, where groups can't be read from inside
//! the node and most containers have none, its processes are added up: the time
//! of those that have ended is in their parents' account.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{Container, record::Record};
use crate::{
    clock,
    engine::{Engine, Shared},
    error::ApiError,
    filters::is_true,
    proc,
    system::events::channel,
};

const EVERY: Duration = Duration::from_secs(1);
/// Clock ticks a second: fixed for all programs on Linux.
const TICK_NS: u64 = 10_000_000;
/// A page on x86_64.
const PAGE: u64 = 4096;

#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct StatsQuery {
    stream: String,
    #[serde(rename = "one-shot")]
    one_shot: String,
}

impl Default for StatsQuery {
    fn default() -> StatsQuery {
        StatsQuery { stream: "1".to_owned(), one_shot: String::new() }
    }
}

#[derive(Debug, Default, Clone, Serialize)]
struct Stats {
    name: String,
    id: String,
    read: String,
    preread: String,
    pids_stats: Pids,
    blkio_stats: Blkio,
    num_procs: u32,
    storage_stats: BTreeMap<String, u64>,
    cpu_stats: Cpu,
    precpu_stats: Cpu,
    memory_stats: Memory,
    #[serde(skip_serializing_if = "Option::is_none")]
    networks: Option<BTreeMap<String, Link>>,
}

#[derive(Debug, Default, Clone, Serialize)]
struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    current: u64,
    #[serde(skip_serializing_if = "is_zero")]
    limit: u64,
}

#[derive(Debug, Default, Clone, Serialize)]
struct Blkio {
    io_service_bytes_recursive: Option<Vec<BlkioEntry>>,
    io_serviced_recursive: Option<Vec<BlkioEntry>>,
    io_queue_recursive: Option<Vec<BlkioEntry>>,
    io_service_time_recursive: Option<Vec<BlkioEntry>>,
    io_wait_time_recursive: Option<Vec<BlkioEntry>>,
    io_merged_recursive: Option<Vec<BlkioEntry>>,
    io_time_recursive: Option<Vec<BlkioEntry>>,
    sectors_recursive: Option<Vec<BlkioEntry>>,
}

#[derive(Debug, Default, Clone, Serialize)]
struct BlkioEntry {
    major: u64,
    minor: u64,
    op: &'static str,
    value: u64,
}

#[derive(Debug, Default, Clone, Serialize)]
struct Cpu {
    cpu_usage: CpuUsage,
    #[serde(skip_serializing_if = "is_zero")]
    system_cpu_usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    online_cpus: u64,
    throttling_data: Throttling,
}

#[derive(Debug, Default, Clone, Serialize)]
struct CpuUsage {
    total_usage: u64,
    usage_in_kernelmode: u64,
    usage_in_usermode: u64,
}

#[derive(Debug, Default, Clone, Serialize)]
struct Throttling {
    periods: u64,
    throttled_periods: u64,
    throttled_time: u64,
}

#[derive(Debug, Default, Clone, Serialize)]
struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    stats: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "is_zero")]
    limit: u64,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
struct Link {
    rx_bytes: u64,
    rx_packets: u64,
    rx_errors: u64,
    rx_dropped: u64,
    tx_bytes: u64,
    tx_packets: u64,
    tx_errors: u64,
    tx_dropped: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// `GET /containers/{ref}/stats`
pub(crate) async fn stats(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    Query(query): Query<StatsQuery>,
) -> Result<Response, ApiError> {
    let container = engine.containers.find(&reference)?;
    if is_true(&query.stream) {
        let (mut sender, body) = channel();
        tokio::spawn(async move {
            let mut last = Cpu::default();
            let mut preread = clock::NEVER.to_owned();
            while !container.life.borrow().removed {
                let now = measure(&engine, &container, &last, &preread);
                (last, preread) = (now.cpu_stats.clone(), now.read.clone());
                if sender.send(&now).await.is_err() {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(EVERY) => {}
                    () = sender.closed() => return,
                }
            }
        });
        return Ok(([("content-type", "application/json")], body).into_response());
    }
    let first = measure(&engine, &container, &Cpu::default(), clock::NEVER);
    if is_true(&query.one_shot) || !container.locked().state.status.is_up() {
        return Ok(Json(first).into_response());
    }
    // A share of time needs two moments.
    tokio::time::sleep(EVERY).await;
    Ok(Json(measure(&engine, &container, &first.cpu_stats, &first.read)).into_response())
}

fn measure(engine: &Engine, container: &Arc<Container>, last: &Cpu, preread: &str) -> Stats {
    let record = container.record();
    let mut stats = Stats {
        name: format!("/{}", record.name),
        id: record.id.clone(),
        read: clock::NEVER.to_owned(),
        preread: clock::NEVER.to_owned(),
        ..Stats::default()
    };
    if !record.state.status.is_up() {
        return stats;
    }
    stats.read = clock::now();
    preread.clone_into(&mut stats.preread);
    stats.precpu_stats = last.clone();
    match record.group.filter(|_| engine.cgroups.is_v2()) {
        Some(number) => by_group(engine, number, &mut stats),
        None => by_processes(record.state.pid, &mut stats),
    }
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    (stats.cpu_stats.system_cpu_usage, stats.cpu_stats.online_cpus) = system_time(&text);
    stats.memory_stats.limit = memory_limit(engine, &record);
    stats.pids_stats.limit =
        record.host_config.pids_limit.and_then(|limit| u64::try_from(limit).ok()).unwrap_or(0);
    if record.network() != "none" {
        let text = fs::read_to_string(format!("/proc/{}/net/dev", record.state.pid)).unwrap_or_default();
        stats.networks = Some(links(&text)).filter(|links| !links.is_empty());
    }
    stats
}

/// The container's own limit, or what the node has.
fn memory_limit(engine: &Engine, record: &Record) -> u64 {
    let node = engine.spec.limits.memory_mb << 20;
    match u64::try_from(record.host_config.memory) {
        Ok(own) if own > 0 && (own < node || node == 0) => own,
        _ => node,
    }
}

fn by_processes(first: i32, stats: &mut Stats) {
    let mut anonymous = 0;
    for pid in proc::members(first).unwrap_or_default() {
        let Some(used) = Used::of(pid) else { continue };
        stats.cpu_stats.cpu_usage.usage_in_usermode += used.user;
        stats.cpu_stats.cpu_usage.usage_in_kernelmode += used.system;
        stats.pids_stats.current += used.threads;
        anonymous += used.anonymous;
    }
    let cpu = &mut stats.cpu_stats.cpu_usage;
    cpu.total_usage = cpu.usage_in_usermode + cpu.usage_in_kernelmode;
    stats.memory_stats.usage = anonymous;
    stats.memory_stats.stats =
        BTreeMap::from([("rss".to_owned(), anonymous), ("total_inactive_file".to_owned(), 0)]);
}

/// What one process uses, with those of its children that have ended.
struct Used {
    /// Nanoseconds.
    user: u64,
    system: u64,
    threads: u64,
    /// Bytes that no other container shares.
    anonymous: u64,
}

impl Used {
    fn of(pid: i32) -> Option<Used> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let memory = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        let fields: Vec<u64> =
            stat.rsplit_once(')')?.1.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        let pages: Vec<u64> = memory.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        let field = |place: usize| fields.get(place).copied().unwrap_or(0);
        Some(Used {
            user: (field(11) + field(13)) * TICK_NS,
            system: (field(12) + field(14)) * TICK_NS,
            threads: field(17),
            anonymous: pages.get(1)?.saturating_sub(*pages.get(2)?) * PAGE,
        })
    }
}

fn by_group(engine: &Engine, number: u32, stats: &mut Stats) {
    let keyed = |file: &str| -> BTreeMap<String, u64> {
        let text = engine.cgroups.read(number, file).unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        pairs.filter_map(|(key, value)| Some((key.to_owned(), value.trim().parse().ok()?))).collect()
    };
    let cpu = keyed("cpu.stat");
    let microseconds = |key: &str| cpu.get(key).copied().unwrap_or(0) * 1000;
    stats.cpu_stats.cpu_usage = CpuUsage {
        total_usage: microseconds("usage_usec"),
        usage_in_kernelmode: microseconds("system_usec"),
        usage_in_usermode: microseconds("user_usec"),
    };
    stats.cpu_stats.throttling_data = Throttling {
        periods: cpu.get("nr_periods").copied().unwrap_or(0),
        throttled_periods: cpu.get("nr_throttled").copied().unwrap_or(0),
        throttled_time: microseconds("throttled_usec"),
    };
    let one = |file: &str| -> u64 {
        engine.cgroups.read(number, file).and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    };
    stats.memory_stats.usage = one("memory.current");
    stats.memory_stats.stats = keyed("memory.stat");
    stats.pids_stats.current = one("pids.current");
    let io = engine.cgroups.read(number, "io.stat").unwrap_or_default();
    stats.blkio_stats.io_service_bytes_recursive = Some(blocks(&io)).filter(|entries| !entries.is_empty());
}

/// `8:0 rbytes=90112 wbytes=0 …` of v2.
fn blocks(text: &str) -> Vec<BlkioEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for word in words {
            let op = match word.split_once('=') {
                Some(("rbytes", _)) => "read",
                Some(("wbytes", _)) => "write",
                _ => continue,
            };
            let value = word.split_once('=').and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
            entries.push(BlkioEntry { major, minor, op, value });
        }
    }
    entries
}

/// Nanoseconds of all processors in all states, and how many there are.
fn system_time(stat: &str) -> (u64, u64) {
    let total = stat.lines().find_map(|line| line.strip_prefix("cpu ")).map_or(0, |line| {
        let ticks = line.split_whitespace().take(8).filter_map(|field| field.parse::<u64>().ok());
        ticks.sum::<u64>() * TICK_NS
    });
    let is_one = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    (total, stat.lines().filter(is_one).count() as u64)
}

/// The links of a network namespace, but loopback.
fn links(text: &str) -> BTreeMap<String, Link> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let name = name.trim();
        let numbers: Vec<u64> = rest.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        if name == "lo" || numbers.len() < 12 {
            continue;
        }
        let link = Link {
            rx_bytes: numbers[0],
            rx_packets: numbers[1],
            rx_errors: numbers[2],
            rx_dropped: numbers[3],
            tx_bytes: numbers[8],
            tx_packets: numbers[9],
            tx_errors: numbers[10],
            tx_dropped: numbers[11],
        };
        found.insert(name.to_owned(), link);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_files_are_read() {
        let stat = "cpu  1 2 3 4 5 6 7 8 9 9\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nbtime 5\n";
        assert_eq!(system_time(stat), (36 * TICK_NS, 2));
        let dev = "Inter-| Receive\n face |bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0:  838 7 0 0 0 0 0 0 \
            126 3 0 0 0 0 0 0\n";
        let found = links(dev);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["eth0"]);
        assert_eq!((found["eth0"].rx_bytes, found["eth0"].tx_bytes), (838, 126));
        let io = blocks("8:0 rbytes=90112 wbytes=4096 rios=1\n");
        assert_eq!((io.len(), io[1].op, io[1].value), (2, "write", 4096));
    }

    #[test]
    fn our_own_use_is_measured() {
        let used = Used::of(std::process::id() as i32).unwrap();
        assert!(used.threads > 0 && used.anonymous > 0);
    }
}
