//! `drydock doctor`

use std::{
    io::{self, BufRead, IsTerminal, Write},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use drydock_host::{
    admission::{Load, Machine},
    doctor::{self, Change, Feature, Roots},
};
use drydock_protocol::host::{Limits, Resource};
use serde::Serialize;

use super::{Context, output};
use crate::config::Settings;

#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Set what is machine-wide and not as it should be, after asking
    #[arg(long, conflicts_with = "json")]
    fix: bool,
    /// With --fix: don't ask
    #[arg(long, short = 'y', requires = "fix")]
    yes: bool,
}

/// All that `--json` prints.
#[derive(Serialize)]
struct Report {
    features: Vec<Feature>,
    /// What `--fix` would change.
    changes: Vec<Change>,
    room: Room,
}

/// How many nodes fit.
#[derive(Serialize)]
struct Room {
    memory_mb: u64,
    memory_reserve_mb: u64,
    disk_free_mb: u64,
    disk_reserve_mb: u64,
    processes: u64,
    cores: u64,
    /// The setting.
    nodes_max: u32,
    /// Idle nodes that memory would really hold.
    idle_nodes: u64,
    sizes: Vec<Size>,
}

/// Nodes of one size.
#[derive(Serialize)]
struct Size {
    name: &'static str,
    limits: Limits,
    /// So many are let in.
    nodes: u64,
    /// What is used up first.
    bound_by: Option<Resource>,
    each: Vec<Fit>,
}

#[derive(Serialize)]
struct Fit {
    resource: Resource,
    nodes: u64,
}

pub(super) fn run(context: &Context, args: &DoctorArgs) -> Result<ExitCode> {
    let settings = context.config.settings()?;
    let roots = Roots::machine();
    if args.fix {
        return fix(&roots, args.yes);
    }
    let features = doctor::report(&context.state_dir, &settings.web_user);
    let missing = features.iter().any(|feature| feature.needed && !feature.ok);
    let changes = doctor::changes(&roots).context("cannot read the kernel's settings")?;
    let machine = Machine::look(&context.state_dir).context("cannot look at what this machine has")?;
    let report = Report { features, changes, room: room(&machine, &settings) };
    if args.json {
        output::json(&report)?;
    } else {
        print(&report)?;
    }
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn room(machine: &Machine, settings: &Settings) -> Room {
    let policy = &settings.policy;
    let most = settings.limits;
    let small = Limits { memory_mb: 256, disk_mb: 512, inodes: 32_768, pids: 256, cpu_milli: 500 };
    let half = Limits { memory_mb: most.memory_mb / 2, pids: most.pids / 2, ..most };
    let sizes = [("small", small), ("half", half), ("as set", most)].map(|(name, limits)| {
        let each: Vec<_> = machine
            .fits(policy, Load::of_node(&limits))
            .into_iter()
            .map(|(resource, nodes)| Fit { resource, nodes })
            .collect();
        let least = each.iter().min_by_key(|fit| fit.nodes);
        let (nodes, bound_by) = match least {
            Some(least) if least.nodes < u64::from(settings.nodes_max) => (least.nodes, Some(least.resource)),
            _ => (u64::from(settings.nodes_max), Some(Resource::Nodes)),
        };
        Size { name, limits, nodes, bound_by, each }
    });
    Room {
        memory_mb: machine.memory_mb,
        memory_reserve_mb: machine.memory_reserve_mb(policy),
        disk_free_mb: machine.disk_free_mb,
        disk_reserve_mb: machine.disk_reserve_mb(policy),
        processes: machine.pids,
        cores: machine.cpu_milli / 1000,
        nodes_max: settings.nodes_max,
        idle_nodes: machine.idle_nodes(policy),
        sizes: sizes.into(),
    }
}

fn print(report: &Report) -> Result<()> {
    let rows = report.features.iter().map(|feature| {
        let state = match (feature.ok, feature.needed) {
            (true, _) => "ok",
            (false, true) => "MISSING",
            (false, false) if feature.change => "change",
            (false, false) => "absent",
        };
        vec![state.into(), feature.name.clone(), feature.what_for.clone()]
    });
    output::table(&["STATE", "FEATURE", "WHAT FOR"], rows)?;
    let mut out = io::stdout().lock();
    for feature in report.features.iter().filter(|feature| !feature.ok) {
        writeln!(
            out,
            "\n{}\n  without it: {}\n  what to do: {}",
            feature.name, feature.lost, feature.what_to_do
        )?;
    }
    writeln!(out, "\nHow many nodes are let in at once:")?;
    let rows = report.room.sizes.iter().map(|size| {
        let of = |resource| {
            let found = size.each.iter().find(|fit| fit.resource == resource);
            found.map_or_else(String::new, |fit| fit.nodes.to_string())
        };
        let limits = &size.limits;
        vec![
            size.name.into(),
            format!("{} MiB", limits.memory_mb),
            format!("{} MiB", limits.disk_mb),
            limits.pids.to_string(),
            (limits.cpu_milli as f64 / 1000.0).to_string(),
            size.nodes.to_string(),
            bound_by(
                size.bound_by,
                [of(Resource::Memory), of(Resource::Disk), of(Resource::Processes), of(Resource::Cpu)],
            ),
        ]
    });
    output::table(&["SIZE", "MEMORY", "DISK", "PROCESSES", "CORES", "NODES", "BOUND BY"], rows)?;
    let room = &report.room;
    writeln!(
        out,
        "\nThis machine has {} MiB of memory ({} MiB are left to it), {} MiB of free disk ({} MiB are left), \
         {} process ids and {} cores.\nIdle nodes are small: its memory would hold some {} of them.",
        room.memory_mb,
        room.memory_reserve_mb,
        room.disk_free_mb,
        room.disk_reserve_mb,
        room.processes,
        room.cores,
        room.idle_nodes
    )?;
    if !report.changes.is_empty() {
        let count = report.changes.len();
        let settings = if count == 1 { "setting" } else { "settings" };
        writeln!(out, "\n`drydock doctor --fix` would change {count} kernel {settings}, after asking.")?;
    }
    Ok(())
}

fn bound_by(resource: Option<Resource>, [memory, disk, processes, cpu]: [String; 4]) -> String {
    let all = format!("memory {memory}, disk {disk}, processes {processes}, CPU {cpu}");
    match resource {
        Some(Resource::Nodes) => format!("the setting nodes_max ({all})"),
        Some(Resource::Memory) => format!("memory_factor × memory ({all})"),
        Some(Resource::Disk) => format!("disk_factor × free disk ({all})"),
        Some(Resource::Processes) => format!("kernel.pid_max ({all})"),
        Some(Resource::Cpu) => format!("cpu_factor × cores ({all})"),
        _ => all,
    }
}

/// Lists what would change, asks, and changes it.
fn fix(roots: &Roots, yes: bool) -> Result<ExitCode> {
    let changes = doctor::changes(roots).context("cannot read the kernel's settings")?;
    if changes.is_empty() {
        println!("All kernel settings are as they should be.");
        return Ok(ExitCode::SUCCESS);
    }
    let rows = changes
        .iter()
        .map(|change| vec![change.key.clone(), change.from.clone(), change.to.clone(), change.why.clone()]);
    output::table(&["SETTING", "IS", "BECOMES", "WHY"], rows)?;
    if !yes && !asked()? {
        println!("Nothing was changed.");
        return Ok(ExitCode::SUCCESS);
    }
    let file = doctor::apply(roots, &changes).context("cannot set the kernel's settings")?;
    println!("Done, and kept for the next start of this machine in {}.", file.display());
    Ok(ExitCode::SUCCESS)
}

/// Whether somebody at the terminal says yes.
fn asked() -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("these settings are the whole machine's: say --yes to change them without being asked");
    }
    print!("These settings are the whole machine's. Change them? [y/N] ");
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
