//! `drydock hub`

use std::{fs::File, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use drydock_image::{import::Purpose, sandboxed};

use super::Context;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Bring images in from an archive made by `docker save`, or an OCI archive
    Import {
        /// The archive
        file: PathBuf,
        /// The image becomes the root of all new nodes, and is not listed
        #[arg(long)]
        node_root: bool,
    },
    /// List the images that nodes can pull
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(context: &Context, command: Command) -> Result<ExitCode> {
    match command {
        Command::Import { file, node_root } => import(context, &file, node_root),
        Command::List { json } => list(context, json),
    }
}

fn import(context: &Context, file: &std::path::Path, node_root: bool) -> Result<ExitCode> {
    let archive = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    super::make_state_dir(&context.state_dir)?;
    let node_binary = context.config.settings()?.node_binary;
    let progress = indicatif::ProgressBar::new_spinner();
    progress.set_message(format!("Unpacking {}", file.display()));
    progress.enable_steady_tick(std::time::Duration::from_millis(100));
    let purpose = if node_root { Purpose::NodeRoot } else { Purpose::Catalogue };
    let names = sandboxed::import(&context.store_dir(), &node_binary, archive, purpose, |done| {
        progress.set_message(done.what);
    });
    progress.finish_and_clear();
    let names = names.with_context(|| format!("cannot import {}", file.display()))?;
    for name in names {
        println!("Imported {name}");
    }
    Ok(ExitCode::SUCCESS)
}

fn list(context: &Context, json: bool) -> Result<ExitCode> {
    let instance = super::small_runtime()?.block_on(context.host.instance())?;
    if json {
        super::output::json(&instance.images)?;
    } else {
        for image in instance.images {
            println!("{image}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
