//! The command line: parsing, wiring, exit codes.

mod config;
mod doctor;
mod events;
mod exec;
mod host;
mod hub;
mod output;
mod privileges;
mod session;
mod up;
mod web;

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use drydock_host::instance::Instance;

use crate::{
    config::{Config, Layer},
    host::{HostClient, HostError},
    labtest,
};

/// Interactive labs: a guide on the left, a real machine of your own on the right.
#[derive(Debug, Parser)]
#[command(name = "drydock", version, max_term_width = 100)]
struct Cli {
    /// Where the instance keeps its state; each directory is an instance of its own
    #[arg(
        long,
        global = true,
        env = "DRYDOCK_STATE_DIR",
        value_name = "DIR",
        default_value = "/var/lib/drydock"
    )]
    state_dir: PathBuf,
    /// Settings file [default: drydock.toml in the state directory]
    #[arg(long, global = true, env = "DRYDOCK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve: starts host and web, and starts them again if they end
    Up(Layer),
    /// Run the privileged part only: makes and removes nodes
    Host(host::HostArgs),
    /// Run the web server only
    Web(web::WebArgs),
    /// Make, list, use and remove sessions without a browser
    #[command(subcommand)]
    Session(session::Command),
    /// Test and check labs
    #[command(subcommand)]
    Lab(labtest::Command),
    /// The images that nodes can pull
    #[command(subcommand)]
    Hub(hub::Command),
    /// Say what this machine has and lacks
    Doctor(doctor::DoctorArgs),
    /// Settings
    #[command(subcommand)]
    Config(config::Command),
}

/// What every command works on.
#[derive(Debug, Clone)]
pub struct Context {
    /// The instance's state directory, absolute.
    pub state_dir: PathBuf,
    /// The instance's name and run directory.
    pub instance: Instance,
    /// Its settings, in layers.
    pub config: Config,
    /// Client of its host.
    pub host: HostClient,
}

impl Context {
    fn new(cli: &Cli, matches: &ArgMatches) -> Result<Context> {
        let state_dir = std::path::absolute(&cli.state_dir)
            .with_context(|| format!("state directory {}", cli.state_dir.display()))?;
        let instance = Instance::of(&state_dir);
        let named = cli.config.is_some();
        let file = cli.config.clone().unwrap_or_else(|| state_dir.join("drydock.toml"));
        let config = match cli.command.layer() {
            Some(layer) => Config::load(&state_dir, &file, named, layer, innermost(matches))?,
            None => {
                // A command without these flags still honours the environment.
                let environment = Layer::augment_args(clap::Command::new("drydock"));
                let matches = environment.try_get_matches_from(["drydock"])?;
                let layer = Layer::from_arg_matches(&matches)?;
                Config::load(&state_dir, &file, named, &layer, &matches)?
            }
        };
        let host = HostClient::new(&instance.host_socket);
        Ok(Context { state_dir, instance, config, host })
    }

    /// Where web keeps its files.
    pub fn web_dir(&self) -> PathBuf {
        self.state_dir.join("web")
    }

    /// Where the image store is.
    pub fn store_dir(&self) -> PathBuf {
        self.state_dir.join("store")
    }

    /// The address of the running web server, or of the one that would run.
    pub fn url(&self) -> Result<String> {
        let file = self.web_dir().join(web::URL_FILE);
        match std::fs::read_to_string(&file) {
            Ok(url) => Ok(url.trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(self.config.settings()?.url),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }
}

impl Command {
    /// The settings that were typed, for commands that take them.
    fn layer(&self) -> Option<&Layer> {
        match self {
            Command::Up(layer) => Some(layer),
            Command::Host(args) => Some(&args.settings),
            Command::Web(args) => Some(&args.settings),
            Command::Config(config::Command::Show(args)) => Some(&args.settings),
            _ => None,
        }
    }
}

fn innermost(matches: &ArgMatches) -> &ArgMatches {
    match matches.subcommand() {
        Some((_, inner)) => innermost(inner),
        None => matches,
    }
}

/// Parses the command line, runs the command, tells what went wrong.
pub fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    match run(cli, &matches) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn complain(error: &anyhow::Error) {
    eprintln!("{} {}", output::error_prefix(), in_words(error));
}

fn run(cli: Cli, matches: &ArgMatches) -> Result<ExitCode> {
    let context = Context::new(&cli, matches)?;
    match cli.command {
        Command::Up(_) => up::run(&context, innermost(matches)),
        Command::Host(args) => host::run(&context, &args),
        Command::Web(args) => web::run(&context, &args),
        Command::Session(command) => session::run(&context, command),
        Command::Lab(command) => labtest::run(command, &context),
        Command::Hub(command) => hub::run(&context, command),
        Command::Doctor(args) => doctor::run(&context, &args),
        Command::Config(command) => config::run(&context, command),
    }
}

/// An error with its causes, each said once: some messages name theirs already.
fn in_words(error: &anyhow::Error) -> String {
    let mut words = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    let away = error.chain().any(|cause| matches!(cause.downcast_ref(), Some(HostError::Away { .. })));
    if away { words + "; start it with `drydock up`" } else { words }
}

/// Whoever reads our output has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let kind = match cause.downcast_ref::<serde_json::Error>() {
            Some(error) => error.io_error_kind(),
            None => cause.downcast_ref::<io::Error>().map(io::Error::kind),
        };
        kind == Some(io::ErrorKind::BrokenPipe)
    })
}

/// A runtime for one command: no threads but for blocking work.
fn small_runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Logs to stderr; `RUST_LOG` chooses what.
fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(output::colours(&io::stderr()))
        .init();
}

/// Resolves at SIGINT or SIGTERM.
async fn stop_signal() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Makes the state directory. Others may pass through it (web must reach its
/// own part) but not list it.
fn make_state_dir(state_dir: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(state_dir)
        .and_then(|()| std::fs::set_permissions(state_dir, std::fs::Permissions::from_mode(0o711)))
        .with_context(|| format!("cannot make the state directory {}", state_dir.display()))
}
