//! `drydock doctor`

use std::process::ExitCode;

use anyhow::Result;
use drydock_host::doctor::Feature;
use serde::Serialize;

use super::{Context, output};

#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A feature as `--json` prints it.
#[derive(Serialize)]
struct View {
    name: String,
    ok: bool,
    needed: bool,
    what_for: String,
    what_to_do: String,
}

pub(super) fn run(context: &Context, args: &DoctorArgs) -> Result<ExitCode> {
    let features = drydock_host::doctor::features(&context.state_dir);
    let missing = features.iter().any(|feature| feature.needed && !feature.ok);
    if args.json {
        let views: Vec<_> = features.into_iter().map(View::from).collect();
        output::json(&views)?;
    } else {
        let rows = features.iter().map(|feature| {
            let state = match (feature.ok, feature.needed) {
                (true, _) => "ok",
                (false, true) => "MISSING",
                (false, false) => "absent",
            };
            vec![state.into(), feature.name.to_string(), feature.what_for.to_string()]
        });
        output::table(&["STATE", "FEATURE", "WHAT FOR"], rows)?;
        for feature in features.iter().filter(|feature| !feature.ok) {
            println!("\n{}: {}", feature.name, feature.what_to_do);
        }
    }
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl From<Feature> for View {
    fn from(feature: Feature) -> View {
        View {
            name: feature.name.to_string(),
            ok: feature.ok,
            needed: feature.needed,
            what_for: feature.what_for.to_string(),
            what_to_do: feature.what_to_do.to_string(),
        }
    }
}
