//! `drydock config show`

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::{Context, output};
use crate::config::Layer;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print each setting that holds, and where it came from
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    pub(super) settings: Layer,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(context: &Context, command: Command) -> Result<ExitCode> {
    let Command::Show(args) = command;
    let entries = &context.config.entries;
    if args.json {
        output::json(entries)?;
    } else {
        let rows = entries.iter().map(|entry| {
            let value = match &entry.value {
                Value::Null => "-".into(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            vec![entry.key.clone(), value, entry.source.to_string()]
        });
        output::table(&["SETTING", "VALUE", "FROM"], rows)?;
    }
    // Printed first: whoever has to find the mistake wants to see the values.
    context.config.settings()?;
    Ok(ExitCode::SUCCESS)
}
