//! `drydock lab`: tests labs in real nodes, says what is wrong with them,
//! begins new ones.

mod lint;
mod new;
mod report;
mod runner;
mod step;
mod typing;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

use crate::cli::Context;

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run every block of labs in real nodes of the running instance
    Test(runner::TestArgs),
    /// Say what is wrong with labs
    Lint {
        /// Labs' folders, or folders of labs
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Begin a lab: a folder with a guide that works
    New {
        /// The new lab's folder; its name becomes the lab's address
        dir: PathBuf,
    },
}

/// Runs a command.
pub fn run(command: Command, context: &Context) -> Result<ExitCode> {
    match command {
        Command::Test(args) => runner::run(&args, context),
        Command::Lint { paths } => lint::run(&paths, context),
        Command::New { dir } => new::run(&dir),
    }
}

/// The labs that `paths` name: each a lab's folder or a folder of labs.
fn lab_dirs(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut dirs = Vec::new();
    for path in paths {
        let path = fs::canonicalize(path).with_context(|| format!("no lab at {}", path.display()))?;
        if is_lab(&path) {
            dirs.push(path);
            continue;
        }
        let mut inside = Vec::new();
        for entry in fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))? {
            inside.push(entry?.path());
        }
        inside.retain(|dir| is_lab(dir));
        inside.sort();
        if inside.is_empty() {
            bail!("no guide.md in {} nor in a folder in it", path.display());
        }
        dirs.append(&mut inside);
    }
    Ok(dirs)
}

fn is_lab(dir: &Path) -> bool {
    dir.join("guide.md").is_file()
}
