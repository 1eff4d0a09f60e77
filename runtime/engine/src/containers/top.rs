//! `GET /containers/{ref}/top`: as `ps` would show it, from `/proc`.

use std::fs;

use axum::{
    Json,
    extract::{Path, Query, State},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    engine::Shared,
    error::{ApiError, failed},
    proc::{self, Line},
};

/// Clock ticks a second: fixed for all programs on Linux.
const TICKS: u64 = 100;
/// A page on x86_64, in KiB.
const PAGE_KIB: u64 = 4;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TopQuery {
    ps_args: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Top {
    processes: Vec<Vec<String>>,
    titles: Vec<&'static str>,
}

/// `GET /containers/{ref}/top`
pub(crate) async fn top(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    Query(query): Query<TopQuery>,
) -> Result<Json<Top>, ApiError> {
    let container = engine.containers.find(&reference)?;
    let record = container.running()?;
    let columns = columns(&query.ps_args)?;
    let lines = proc::members(record.state.pid).map_err(failed("reading /proc failed"))?.into_iter();
    let machine = Machine::read();
    let processes = lines
        .filter_map(proc::line)
        .map(|line| columns.iter().map(|column| column.show(&line, &machine)).collect());
    Ok(Json(Top {
        processes: processes.collect(),
        titles: columns.iter().map(|column| column.title()).collect(),
    }))
}

/// What is the same for all processes.
struct Machine {
    boot: i64,
    memory_kib: u64,
    users: String,
}

impl Machine {
    fn read() -> Machine {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let boot = stat
            .lines()
            .find_map(|line| line.strip_prefix("btime "))
            .and_then(|time| time.trim().parse().ok());
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        Machine {
            boot: boot.unwrap_or(0),
            memory_kib: total.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(1),
            users: fs::read_to_string("/etc/passwd").unwrap_or_default(),
        }
    }

    fn user(&self, uid: u32) -> String {
        let named = self.users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        });
        named.unwrap_or_else(|| uid.to_string())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Uid,
    User,
    Pid,
    Ppid,
    C,
    Cpu,
    Memory,
    Stime,
    Start,
    Tty,
    Time,
    Cmd,
    Command,
    Comm,
    Stat,
    Vsz,
    Rss,
}

const FULL: &[Column] = &[
    Column::Uid,
    Column::Pid,
    Column::Ppid,
    Column::C,
    Column::Stime,
    Column::Tty,
    Column::Time,
    Column::Cmd,
];
const BSD: &[Column] = &[
    Column::User,
    Column::Pid,
    Column::Cpu,
    Column::Memory,
    Column::Vsz,
    Column::Rss,
    Column::Tty,
    Column::Stat,
    Column::Start,
    Column::Time,
    Column::Command,
];

/// The columns for arguments of `ps`: `-ef`, `aux`, `-o LIST`.
fn columns(arguments: &str) -> Result<Vec<Column>, ApiError> {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let refuse = |what: &str| {
        ApiError::Invalid(format!("this engine's top shows -ef, aux and -o COLUMNS, not \"{what}\""))
    };
    match words.as_slice() {
        [] | ["-ef" | "-f" | "ef" | "-e" | "-eF"] => return Ok(FULL.to_vec()),
        ["aux" | "-aux" | "u" | "au"] => return Ok(BSD.to_vec()),
        _ => {}
    }
    let list = words.iter().find_map(|word| {
        let attached = ["-eo", "-o", "o", "-axo", "axo"].iter().find_map(|flag| word.strip_prefix(flag))?;
        (!attached.is_empty()).then_some(attached)
    });
    let list = match (list, words.as_slice()) {
        (Some(list), _) => list.to_owned(),
        (None, [.., "-o" | "-eo" | "o" | "axo" | "-axo", list]) => (*list).to_owned(),
        _ => return Err(refuse(arguments)),
    };
    let named = |name: &str| {
        Some(match name.split('=').next().unwrap_or(name).trim_start_matches('%') {
            "uid" => Column::Uid,
            "user" | "euser" | "ruser" => Column::User,
            "pid" | "tgid" => Column::Pid,
            "ppid" => Column::Ppid,
            "c" => Column::C,
            "cpu" | "pcpu" => Column::Cpu,
            "mem" | "pmem" => Column::Memory,
            "stime" => Column::Stime,
            "start" | "lstart" => Column::Start,
            "tty" | "tt" | "tname" => Column::Tty,
            "time" | "cputime" => Column::Time,
            "cmd" => Column::Cmd,
            "args" | "command" => Column::Command,
            "comm" | "ucmd" => Column::Comm,
            "stat" | "s" | "state" => Column::Stat,
            "vsz" => Column::Vsz,
            "rss" => Column::Rss,
            _ => return None,
        })
    };
    let names = list.split(',').filter(|name| !name.is_empty());
    let mut columns: Vec<Column> =
        names.map(|name| named(name).ok_or_else(|| refuse(name))).collect::<Result<_, _>>()?;
    if !columns.contains(&Column::Pid) {
        return Err(ApiError::Failed("Couldn't find PID field in ps output".to_owned()));
    }
    columns.truncate(32);
    Ok(columns)
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Column::Uid => "UID",
            Column::User => "USER",
            Column::Pid => "PID",
            Column::Ppid => "PPID",
            Column::C => "C",
            Column::Cpu => "%CPU",
            Column::Memory => "%MEM",
            Column::Stime => "STIME",
            Column::Start => "START",
            Column::Tty => "TTY",
            Column::Time => "TIME",
            Column::Cmd => "CMD",
            Column::Command | Column::Comm => "COMMAND",
            Column::Stat => "STAT",
            Column::Vsz => "VSZ",
            Column::Rss => "RSS",
        }
    }

    fn show(self, line: &Line, machine: &Machine) -> String {
        let seconds = line.ticks / TICKS;
        let began = machine.boot + (line.started / TICKS) as i64;
        let lived = (Timestamp::now().as_second() - began).max(1) as u64;
        let resident_kib = line.resident_pages * PAGE_KIB;
        match self {
            Column::Uid | Column::User => machine.user(line.uid),
            Column::Pid => line.pid.to_string(),
            Column::Ppid => line.parent.to_string(),
            Column::C => (seconds * 100 / lived).min(99).to_string(),
            Column::Cpu => format!("{:.1}", line.ticks as f64 * 100.0 / TICKS as f64 / lived as f64),
            Column::Memory => format!("{:.1}", resident_kib as f64 * 100.0 / machine.memory_kib as f64),
            Column::Stime | Column::Start => {
                let second = began.rem_euclid(24 * 3600);
                format!("{:02}:{:02}", second / 3600, second / 60 % 60)
            }
            Column::Tty => terminal(line.terminal),
            Column::Time => format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
            Column::Cmd | Column::Command => line.arguments.clone(),
            Column::Comm => line.name.clone(),
            Column::Stat => line.state.to_string(),
            Column::Vsz => (line.virtual_bytes / 1024).to_string(),
            Column::Rss => resident_kib.to_string(),
        }
    }
}

/// `pts/0` for a device number of the kernel's terminal filesystem.
fn terminal(device: i32) -> String {
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    if (136..=143).contains(&major) { format!("pts/{}", minor + (major - 136) * 256) } else { "?".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_ps_choose_columns() {
        assert_eq!(columns("").unwrap(), FULL);
        assert_eq!(columns("-o pid,comm").unwrap(), [Column::Pid, Column::Comm]);
        assert_eq!(columns("-opid,ppid").unwrap(), [Column::Pid, Column::Ppid]);
        assert!(columns("-o comm").is_err() && columns("--help").is_err());
    }
}
