//! `drydock up`: host and web as children, started again when they end.

use std::{
    net::TcpListener,
    os::fd::OwnedFd,
    process::{ExitCode, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::{ArgMatches, parser::ValueSource};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::{Instant, sleep, timeout},
};

use super::{Context, privileges, web};
use crate::config::{Settings, Source};

/// How long a child may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// How long a part may take until it answers for the first time.
const START: Duration = Duration::from_secs(60);

/// The longest pause before a part that keeps ending is started again.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// A part that ran for so long had no trouble starting.
const STEADY: Duration = Duration::from_secs(30);

pub(super) fn run(context: &Context, matches: &ArgMatches) -> Result<ExitCode> {
    let settings = context.config.settings()?;
    check(context, &settings)?;
    // Bound here, so that a taken port is told at once, and so that browsers
    // wait instead of failing while web is started again.
    let listener = web::bind(settings.listen)?;
    let runtime = super::small_runtime()?;
    runtime.block_on(supervise(context, &settings, listener, matches))
}

fn check(context: &Context, settings: &Settings) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("drydock makes isolated machines and needs root for it: run it as root");
    }
    privileges::user(&settings.web_user)?;
    if !settings.node_binary.is_file() {
        bail!(
            "there is no node program at {}: build it, or name it with --node-binary",
            settings.node_binary.display()
        );
    }
    if !settings.labs.is_dir() {
        bail!("there is no directory with labs at {}: name it with --labs", settings.labs.display());
    }
    super::make_state_dir(&context.state_dir)
}

async fn supervise(
    context: &Context,
    settings: &Settings,
    listener: TcpListener,
    matches: &ArgMatches,
) -> Result<ExitCode> {
    let stop = super::stop_signal().await?;
    let parts = Parts { listener, flags: flags(context, matches) };
    let mut host = Part::start("host", &parts)?;
    let mut web = None;
    let serve = async {
        host.until_answers(host_answers(context)).await?;
        let web = web.insert(Part::start("web", &parts)?);
        let stdout = web.child.stdout.take();
        web.until_answers(web_answers(stdout)).await?;
        println!("Drydock is at {}", settings.url);
        loop {
            tokio::select! {
                ended = host.child.wait() => host.again(ended?, &parts).await?,
                ended = web.child.wait() => web.again(ended?, &parts).await?,
            }
        }
    };
    let served: Result<()> = tokio::select! {
        served = serve => served,
        () = stop => Ok(()),
    };
    // Web first: it stops asking host. Sessions go on without either.
    if let Some(web) = &mut web {
        web.end().await;
    }
    host.end().await;
    served.map(|()| ExitCode::SUCCESS)
}

/// What children are started with.
struct Parts {
    listener: TcpListener,
    /// Settings given by flag, as the environment variables that say the same.
    flags: Vec<(String, String)>,
}

/// The environment that makes children see our flags: they read file and
/// environment themselves.
fn flags(context: &Context, matches: &ArgMatches) -> Vec<(String, String)> {
    let mut flags = vec![("DRYDOCK_STATE_DIR".into(), context.state_dir.display().to_string())];
    if let Some(file) = matches.get_one::<std::path::PathBuf>("config") {
        flags.push(("DRYDOCK_CONFIG".into(), file.display().to_string()));
    }
    for entry in context.config.entries.iter().filter(|entry| entry.source == Source::Flag) {
        debug_assert!(matches.value_source(&entry.key) == Some(ValueSource::CommandLine));
        let value = match &entry.value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(words) => {
                words.iter().filter_map(serde_json::Value::as_str).collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        };
        flags.push((format!("DRYDOCK_{}", entry.key.to_uppercase()), value));
    }
    flags
}

/// A child that is to run for ever.
struct Part {
    name: &'static str,
    child: Child,
    started: Instant,
    pause: Duration,
}

impl Part {
    fn start(name: &'static str, parts: &Parts) -> Result<Part> {
        Ok(Part { name, child: spawn(name, parts)?, started: Instant::now(), pause: Duration::ZERO })
    }

    /// Waits until the part answers; its end before that is our end too.
    async fn until_answers(&mut self, answers: impl Future<Output = ()>) -> Result<()> {
        let name = self.name;
        tokio::select! {
            () = answers => Ok(()),
            // What was wrong it has said itself.
            ended = self.child.wait() => bail!("{name} could not start ({})", ended?),
            () = sleep(START) => bail!("{name} does not answer after {} s", START.as_secs()),
        }
    }

    /// Starts it again; after a pause if it keeps ending.
    async fn again(&mut self, ended: ExitStatus, parts: &Parts) -> Result<()> {
        if self.started.elapsed() > STEADY {
            self.pause = Duration::ZERO;
        }
        eprintln!("drydock: {} ended ({ended}); it is started again", self.name);
        sleep(self.pause).await;
        self.pause = (self.pause * 2).clamp(Duration::from_millis(200), PAUSE_MAX);
        self.child = spawn(self.name, parts)?;
        self.started = Instant::now();
        Ok(())
    }

    /// Ends it: in order if it does so in time.
    async fn end(&mut self) {
        if let Some(pid) = self.child.id() {
            let pid = nix::unistd::Pid::from_raw(pid as i32);
            if let Err(error) = nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM) {
                eprintln!("drydock: cannot stop {}: {error}", self.name);
            }
        }
        if timeout(GRACE, self.child.wait()).await.is_err() {
            eprintln!("drydock: {} did not end within {} s and is killed", self.name, GRACE.as_secs());
            if let Err(error) = self.child.kill().await {
                eprintln!("drydock: cannot kill {}: {error}", self.name);
            }
        }
    }
}

fn spawn(name: &'static str, parts: &Parts) -> Result<Child> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    // A group of its own: Ctrl-C is for us, and we end the parts in order.
    command
        .arg(name)
        .arg("--with-parent")
        .arg(std::process::id().to_string())
        .envs(parts.flags.iter().cloned())
        .process_group(0);
    if name == "web" {
        let listener: OwnedFd = parts.listener.try_clone()?.into();
        command.arg("--inherit-listener").stdin(Stdio::from(listener)).stdout(Stdio::piped());
    } else {
        command.stdin(Stdio::null());
    }
    command.spawn().with_context(|| format!("cannot start {name}"))
}

async fn host_answers(context: &Context) {
    while context.host.instance().await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
}

/// Web says so on its stdout, once it serves.
async fn web_answers(stdout: Option<ChildStdout>) {
    let mut line = String::new();
    let Some(stdout) = stdout else { return };
    // At its end web has ended too, which is waited for beside this.
    if !matches!(BufReader::new(stdout).read_line(&mut line).await, Ok(1..)) {
        std::future::pending().await
    }
}
