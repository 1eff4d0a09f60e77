//! `./dev bench`: medians and spreads, beside real Docker where it is installed.
//!
//! Both engines are asked by the same CLI, in turns, in one run on one machine.
//! Prints Markdown, as it stands in BENCH.md.

mod peer;
mod prompt;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use drydock_tests::instance::Instance;
use drydock_tests::setting;

/// How often a command is timed, after one run that is not counted.
const RUNS: usize = 21;
/// How often a session is made.
const SESSIONS: usize = 11;

fn main() -> Result<()> {
    let instance = Instance::start();
    let session = instance.session(&[]);
    let ours = format!("unix://{}", session.docker_host(0).trim_start_matches("unix://"));
    docker(&ours, &["pull", "-q", "busybox"])?;
    let peer = peer::Dockerd::start(&ours)?;
    println!("{}\n", machine()?);
    println!("| what | Drydock, ms (min–max) | Docker, ms (min–max) |\n| --- | --- | --- |");
    for (what, words) in [
        ("`docker run --rm busybox true`, bridge", &["run", "--rm", "busybox", "true"][..]),
        ("… `--network none`", &["run", "--rm", "--network", "none", "busybox", "true"]),
        ("`docker version` (the CLI and one call)", &["version"]),
    ] {
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..=RUNS {
            let times =
                (timed(&ours, words)?, peer.as_ref().map(|peer| timed(&peer.host, words)).transpose()?);
            if round > 0 {
                mine.push(times.0);
                theirs.extend(times.1);
            }
        }
        println!("| {what} | {} | {} |", Spread::of(mine), Spread::of(theirs));
    }
    let socket = session.run_dir().join("host.sock");
    for nodes in [1, 3] {
        let times: Result<Vec<Duration>> =
            (0..=SESSIONS).map(|_| prompt::session_to_prompt(&socket, nodes)).collect();
        let times = times?.split_off(1);
        println!("| a session's creation to its first prompt, {nodes} node(s) | {} | |", Spread::of(times));
    }
    Ok(())
}

/// Median, minimum and maximum of some times.
struct Spread(Vec<Duration>);

impl Spread {
    fn of(mut times: Vec<Duration>) -> Spread {
        times.sort();
        Spread(times)
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: &Duration| time.as_secs_f64() * 1000.0;
        match (self.0.first(), self.0.get(self.0.len() / 2), self.0.last()) {
            (Some(least), Some(median), Some(most)) => {
                write!(out, "**{:.0}** ({:.0}–{:.0})", ms(median), ms(least), ms(most))
            }
            _ => write!(out, "not installed"),
        }
    }
}

fn timed(host: &str, words: &[&str]) -> Result<Duration> {
    let begin = Instant::now();
    docker(host, words)?;
    Ok(begin.elapsed())
}

/// Runs the Docker CLI, which must succeed, and gives its stdout.
fn docker(host: &str, words: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(setting("DOCKER_CLI"))
        .args(words)
        .env("DOCKER_HOST", host)
        .stdin(Stdio::null())
        .output()
        .context("cannot run the Docker CLI")?;
    if !output.status.success() {
        bail!("docker {} failed: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

/// A line about the machine and the day.
fn machine() -> Result<String> {
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    let cpu = read("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = std::thread::available_parallelism().context("cannot count the cores")?;
    let kernel = read("/proc/sys/kernel/osrelease")?;
    let date = Command::new("date").arg("+%Y-%m-%d").output().context("cannot run date")?;
    Ok(format!(
        "{} on {cores} cores ({}), kernel {}; median of {RUNS} runs, {SESSIONS} sessions.",
        String::from_utf8_lossy(&date.stdout).trim(),
        model.trim_start_matches([' ', '\t', ':']).trim(),
        kernel.trim()
    ))
}
