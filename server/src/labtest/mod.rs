//! `drydock lab`: tests and checks of labs.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use drydock_lab::{Lab, Severity};

use crate::cli::Context;

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Say what is wrong with labs
    Lint {
        /// Labs' folders
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}

/// Runs a command.
pub fn run(command: Command, _context: &Context) -> Result<ExitCode> {
    let Command::Lint { paths } = command;
    let mut code = ExitCode::SUCCESS;
    for diagnostic in paths.iter().flat_map(|path| Lab::lint(path, None)) {
        println!("{diagnostic}");
        if diagnostic.severity == Severity::Error {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
