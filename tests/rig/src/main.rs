//! `rig COMMAND…` runs a command in the *rig*: a network namespace whose only
//! link leads to a second one, the *world*.
//!
//! The world owns the addresses that a learner must not reach (cloud metadata,
//! a neighbour on the LAN, a stand-in for the internet), answers on them, and
//! writes a line for each packet that arrives to the file that `DRYDOCK_RECORD`
//! names. The rig has no route to the machine's own interfaces: nothing that a
//! test sends can leave the machine, whatever is broken.
//!
//! The command also gets a mount namespace of its own, with a resolv.conf that
//! names the world. Both namespaces end with the command.

mod record;
mod world;

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// The rig's own address on its link to the world.
const RIG: &str = "10.99.0.2/24";
/// The world's end of the link: router and DNS.
const WORLD: &str = "10.99.0.1/24";

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first() {
        Some((first, [record])) if first == "--world" => {
            world::run(Path::new(record)).map(|()| ExitCode::SUCCESS)
        }
        Some((program, arguments)) => run(program, arguments),
        None => bail!("usage: rig COMMAND…"),
    }
}

fn run(program: &str, arguments: &[String]) -> Result<ExitCode> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the rig makes network namespaces, which needs root: run it as root");
    }
    let scratch = Scratch::new()?;
    let record = scratch.0.join("record");
    let mut world = start_world(&record)?;
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .context("cannot make the rig's namespaces")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("cannot make the rig's mounts private")?;
    link_to(world.0.id())?;
    world.say("linked")?;
    name_resolver(&scratch.0)?;
    let status = Command::new(program)
        .args(arguments)
        .env("DRYDOCK_RECORD", &record)
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(code as u8))
}

/// A directory that goes with the rig.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Scratch> {
        let path = std::env::temp_dir().join(format!("drydock-rig-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A left-over directory in /tmp does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The world's process; it ends with the rig.
struct World(Child);

impl World {
    /// Tells the world something, and waits for its answer.
    fn say(&mut self, word: &str) -> Result<()> {
        let input = self.0.stdin.as_mut().context("the world has no stdin")?;
        writeln!(input, "{word}").context("the world is gone")?;
        self.wait_for_answer()
    }

    fn wait_for_answer(&mut self) -> Result<()> {
        let output = self.0.stdout.as_mut().context("the world has no stdout")?;
        let mut byte = [0];
        output.read_exact(&mut byte).context("the world ended early")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It may have ended already; either way it is reaped here.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_world(record: &Path) -> Result<World> {
    let mut command = Command::new("/proc/self/exe");
    command.arg("--world").arg(record).stdin(Stdio::piped()).stdout(Stdio::piped());
    // SAFETY: only system calls between fork and exec, nothing allocates.
    unsafe {
        command.pre_exec(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            Ok(())
        });
    }
    let mut world = World(command.spawn().context("cannot start the world")?);
    world.wait_for_answer()?;
    Ok(world)
}

fn link_to(world_pid: u32) -> Result<()> {
    let pid = world_pid.to_string();
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "add", "rig0", "type", "veth", "peer", "name", "world0", "netns", &pid])?;
    ip(&["addr", "add", RIG, "dev", "rig0"])?;
    ip(&["addr", "add", "fd00:99::2/64", "dev", "rig0", "nodad"])?;
    ip(&["link", "set", "rig0", "up"])?;
    ip(&["route", "add", "default", "via", "10.99.0.1"])?;
    ip(&["-6", "route", "add", "default", "via", "fd00:99::1"])
}

fn name_resolver(scratch: &Path) -> Result<()> {
    let file = scratch.join("resolv.conf");
    std::fs::write(&file, "nameserver 10.99.0.1\n").context("cannot write resolv.conf")?;
    let target = std::fs::canonicalize("/etc/resolv.conf").context("cannot find /etc/resolv.conf")?;
    mount(Some(&file), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .context("cannot bind resolv.conf")
}

/// Runs `ip` in this process's network namespace.
fn ip(words: &[&str]) -> Result<()> {
    let status = Command::new("ip").args(words).status().context("cannot run ip: install iproute2")?;
    if !status.success() {
        bail!("ip {} failed", words.join(" "));
    }
    Ok(())
}
