//! `./dev bench`: medians and spreads, beside real Docker where it is installed.
//!
//! Both engines are asked in turns, in one run on one machine. Prints Markdown,
//! as it stands in BENCH.md. Its parts can be named: `docker`, `nodes` (these
//! two when none is named) and `hundreds`.

mod api;
mod hundreds;
mod peer;
mod prompt;
mod spread;
mod unix_http;
mod usage;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use drydock_tests::instance::Instance;
use drydock_tests::setting;
use spread::Spread;

/// How often something is timed, after one run that is not counted.
const RUNS: usize = 21;
/// How often a session is made.
const SESSIONS: usize = 11;
/// How long a node idles while its time is counted.
const IDLE: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let mut parts: Vec<String> = std::env::args().skip(1).collect();
    if parts.is_empty() {
        parts = vec!["docker".into(), "nodes".into()];
    }
    let instance = Instance::start();
    println!("{}", machine()?);
    let socket = instance.session(&[]).run_dir().join("host.sock");
    for part in parts {
        println!();
        match part.as_str() {
            "docker" => beside_docker(&instance)?,
            "nodes" => nodes(&socket)?,
            "hundreds" => hundreds::print(&socket)?,
            other => bail!("{other} is no part of the benchmark: there are docker, nodes and hundreds"),
        }
    }
    Ok(())
}

/// What both engines do.
fn beside_docker(instance: &Instance) -> Result<()> {
    let session = instance.session(&[]);
    let ours = PathBuf::from(session.docker_host(0).trim_start_matches("unix://"));
    let cli = |socket: &Path| format!("unix://{}", socket.display());
    docker(&cli(&ours), &["pull", "-q", "busybox"])?;
    let peer = peer::Dockerd::start(&cli(&ours))?;
    let theirs = peer.as_ref().map(|peer| PathBuf::from(peer.host.trim_start_matches("unix://")));
    println!("| what | Drydock, ms | Docker, ms |\n| --- | --- | --- |");
    let row = |what: &str, time: &dyn Fn(&Path) -> Result<Duration>| -> Result<()> {
        let (mut mine, mut others) = (Vec::new(), Vec::new());
        for round in 0..=RUNS {
            let times = (time(&ours)?, theirs.as_deref().map(time).transpose()?);
            if round > 0 {
                mine.push(times.0);
                others.extend(times.1);
            }
        }
        println!("| {what} | {} | {} |", Spread::of(mine), Spread::of(others));
        Ok(())
    };
    let run = ["run", "--rm", "busybox", "true"];
    let run_alone = ["run", "--rm", "--network", "none", "busybox", "true"];
    row("`docker run --rm busybox true`, bridge", &|socket| timed(&cli(socket), &run))?;
    row("… `--network none`", &|socket| timed(&cli(socket), &run_alone))?;
    row("`docker version` (the CLI and one call)", &|socket| timed(&cli(socket), &["version"]))?;
    row("API: create, start, wait, remove; bridge", &|socket| api::run(socket, "bridge"))?;
    row("… no network", &|socket| api::run(socket, "none"))?;
    let sleepers = [Some(&ours), theirs.as_ref()].into_iter().flatten();
    let sleepers: Result<Vec<String>> = sleepers.map(|socket| api::sleeper(socket, "none")).collect();
    let sleepers = sleepers?;
    row("API: exec of `true`", &|socket| api::exec(socket, &sleepers[usize::from(socket != ours)]))?;
    for (socket, id) in [Some(&ours), theirs.as_ref()].into_iter().flatten().zip(&sleepers) {
        api::remove(socket, id)?;
    }
    many_containers(&ours)
}

/// The 200th container starts as fast as the first ones, and 50 take little.
fn many_containers(socket: &Path) -> Result<()> {
    let mut times = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..200 {
        let begin = Instant::now();
        ids.push(api::sleeper(socket, "bridge")?);
        times.push(begin.elapsed());
    }
    let late = times.split_off(180);
    times.truncate(20);
    println!("| API: create and start, containers 1 to 20 of a node | {} | |", Spread::of(times));
    println!("| … 181 to 200 | {} | |", Spread::of(late));
    for id in ids {
        api::remove(socket, &id)?;
    }
    Ok(())
}

/// What a node takes, in time and memory.
fn nodes(socket: &Path) -> Result<()> {
    println!("| what | value | goal |\n| --- | --- | --- |");
    for (nodes, goal) in [(1, 150), (3, 300)] {
        let times: Result<Vec<Duration>> =
            (0..=SESSIONS).map(|_| prompt::session_to_prompt(socket, nodes)).collect();
        let times = Spread::of(times?.split_off(1));
        println!("| a session's creation to its first prompt, {nodes} node(s), ms | {times} | {goal} |");
    }
    let session = prompt::create(socket, 1, drydock_protocol::host::Limits::default())?;
    let mut viewer = drydock_tests::viewer::Viewer::attach(&session.nodes[0].agent)?;
    viewer.prompt()?;
    let pids = usage::processes(&session.id, "node1");
    let before = usage::cpu_ns(&pids);
    std::thread::sleep(IDLE);
    let share = (usage::cpu_ns(&pids) - before) as f64 / IDLE.as_nanos() as f64 * 100.0;
    println!("| an idle node (PID 1, engine, shell), % of a core | **{share:.3}** | 0.05 |");
    println!("| … its memory (PSS), MB | **{:.1}** | 10 |", usage::pss_kb(&pids) as f64 / 1024.0);
    let keys: Result<Vec<Duration>> = (0..200).map(|_| viewer.echo()).collect();
    println!("| a key's echo, at the agent socket, ms | {} | |", Spread::of(keys?));
    let floods: Result<Vec<Duration>> = (0..RUNS).map(|_| viewer.interrupt_a_flood()).collect();
    println!("| Ctrl-C during `yes` to the prompt, ms | {} | |", Spread::of(floods?));
    fifty_containers(&session.nodes[0].docker, &pids)?;
    prompt::remove(socket, &session.id)
}

/// `pids` are those of the node before it has containers: PID 1, engine, shell.
fn fifty_containers(docker: &Path, pids: &[i32]) -> Result<()> {
    api::pull(docker, "busybox")?;
    for _ in 0..50 {
        api::sleeper(docker, "bridge")?;
    }
    println!("| … with 50 containers, MB | **{:.1}** | 25 |", usage::pss_kb(pids) as f64 / 1024.0);
    Ok(())
}

/// How long the CLI takes.
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
