//! Hundreds of sessions at once, each with a shell and a container.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use drydock_protocol::host::{Limits, Session};

use crate::spread::{Spread, ms};
use crate::{api, prompt, timed, usage};
use drydock_tests::viewer::Viewer;

/// How many sessions there are in the end.
const SESSIONS: usize = 300;
/// Sessions are asked for no faster than this.
const PACE: Duration = Duration::from_millis(50);
/// How many sessions at the beginning and at the end are compared.
const COMPARED: usize = 30;
/// Keys and `docker run`s in one of them.
const KEYS: usize = 300;
const RUNS: usize = 100;
/// How long all idle while their time is counted.
const IDLE: Duration = Duration::from_secs(20);

/// A session with a shell that prompts and a container that sleeps.
struct Busy {
    session: Session,
    viewer: Viewer,
    took: Duration,
}

impl Busy {
    fn make(socket: &Path) -> Result<Busy> {
        let begin = Instant::now();
        // So many processes a node that 300 nodes fit under a pid_max of 32768.
        let limits = Limits { memory_mb: 512, pids: 90, ..Limits::default() };
        let session = prompt::create(socket, 1, limits)?;
        let mut viewer = Viewer::attach(&session.nodes[0].agent)?;
        viewer.prompt()?;
        let took = begin.elapsed();
        let docker = &session.nodes[0].docker;
        api::pull(docker, "busybox")?;
        api::sleeper(docker, "bridge")?;
        Ok(Busy { session, viewer, took })
    }

    fn pids(&self) -> Vec<i32> {
        usage::processes(&self.session.id, &self.session.nodes[0].name)
    }

    /// The 99th percentiles of a key's echo and of `docker run`.
    fn latency(&mut self) -> Result<(Duration, Duration)> {
        let keys: Result<Vec<_>> = (0..KEYS).map(|_| self.viewer.echo()).collect();
        let host = format!("unix://{}", self.session.nodes[0].docker.display());
        let words = ["run", "--rm", "busybox", "true"];
        let runs: Result<Vec<_>> = (0..RUNS).map(|_| timed(&host, &words)).collect();
        Ok((Spread::of(keys?).percentile(99), Spread::of(runs?).percentile(99)))
    }
}

/// Makes them, and prints what they cost and how one of them feels.
pub(crate) fn print(socket: &Path) -> Result<()> {
    let mut first = Busy::make(socket)?;
    let alone = first.latency()?;
    let alone_pss = usage::pss_kb(&first.pids());
    let before = Kernel::now()?;
    let mut all = vec![first];
    while all.len() < SESSIONS {
        let begin = Instant::now();
        let number = all.len() + 1;
        all.push(Busy::make(socket).with_context(|| format!("session {number}"))?);
        std::thread::sleep(PACE.saturating_sub(begin.elapsed()));
    }
    let after = Kernel::now()?;
    let times: Vec<Duration> = all.iter().map(|busy| busy.took).collect();
    let (early, late) = (&times[..COMPARED], &times[SESSIONS - COMPARED..]);
    println!("| what | value | goal |\n| --- | --- | --- |");
    println!("| creation to prompt, ms, sessions 1 to {COMPARED} | {} | |", Spread::of(early.to_vec()));
    println!("| … the last {COMPARED} of {SESSIONS} | {} | within 1.5× |", Spread::of(late.to_vec()));
    let pids: Vec<i32> = all.iter().flat_map(Busy::pids).collect();
    let cpu = usage::cpu_ns(&pids);
    std::thread::sleep(IDLE);
    let busy = (usage::cpu_ns(&pids) - cpu) as f64 / IDLE.as_nanos() as f64 / SESSIONS as f64 * 100.0;
    let pss = usage::pss_kb(&pids) as f64 / SESSIONS as f64 / 1024.0;
    println!("| an idle node with a container, % of a core | **{busy:.3}** | 0.05 |");
    println!("| its processes' memory (PSS), MB, 1 node | **{:.1}** | 10 |", alone_pss as f64 / 1024.0);
    println!("| … of {SESSIONS} nodes each | **{pss:.1}** | 10 |");
    after.print_growth(&before, SESSIONS - 1);
    let crowded = all[SESSIONS / 2].latency()?;
    println!("| p99 of a key's echo, ms, 1 session | **{}** | |", ms(alone.0));
    println!("| … in one of {SESSIONS} | **{}** | within 2× |", ms(crowded.0));
    println!("| p99 of `docker run --rm busybox true`, ms, 1 session | **{}** | |", ms(alone.1));
    println!("| … in one of {SESSIONS} | **{}** | within 2× |", ms(crowded.1));
    for busy in all {
        prompt::remove(socket, &busy.session.id)?;
    }
    Ok(())
}

/// What the machine's memory is used for, in KiB.
struct Kernel {
    available: u64,
    slab: u64,
    percpu: u64,
    stacks_and_tables: u64,
}

impl Kernel {
    fn now() -> Result<Kernel> {
        Ok(Kernel {
            available: usage::meminfo("MemAvailable:")?,
            slab: usage::meminfo("SUnreclaim:")?,
            percpu: usage::meminfo("Percpu:")?,
            stacks_and_tables: usage::meminfo("KernelStack:")? + usage::meminfo("PageTables:")?,
        })
    }

    fn print_growth(&self, before: &Kernel, nodes: usize) {
        let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / nodes as f64 / 1024.0;
        let all = each(before.available, self.available);
        println!("| all that a node takes of the machine's memory, MB | **{all:.1}** | |");
        println!("| … of it the kernel's slabs | {:.1} | |", each(self.slab, before.slab));
        println!("| … per-CPU data | {:.1} | |", each(self.percpu, before.percpu));
        println!(
            "| … stacks and page tables | {:.1} | |",
            each(self.stacks_and_tables, before.stacks_and_tables)
        );
        println!("| nodes a GB | **{:.0}** | 42 (1,000 on 24 GB) |", 1024.0 / all);
    }
}
