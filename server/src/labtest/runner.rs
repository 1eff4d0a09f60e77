//! `drydock lab test`: one session a lab, its steps in order.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Result, anyhow};
use drydock_lab::{Catalogue, Lab, NodeVerb, Piece};
use drydock_protocol::host::{CreateSession, Session};

use super::{report::Report, step::Stage};
use crate::{cli::Context, config::Settings};

/// Who the sessions belong to.
const OWNER: &str = "lab-test";
/// How long a session lives at most when nobody removes it, in seconds.
const SESSION_SECONDS: u64 = 2 * 3600;

/// What to test, and how.
#[derive(Debug, clap::Args)]
pub struct TestArgs {
    /// Labs' folders, or folders of labs
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Wait so many times longer than the guides allow, on a slow machine
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    slow: u32,
    /// Print one JSON object a line: each step, then the sums
    #[arg(long)]
    json: bool,
    /// Leave the sessions as they are at the end
    #[arg(long)]
    keep: bool,
}

/// Tests labs; fails if anything in them does.
pub(super) fn run(args: &TestArgs, context: &Context) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(test(args, context))
}

async fn test(args: &TestArgs, context: &Context) -> Result<ExitCode> {
    let settings = context.config.settings()?;
    let catalogue = Catalogue { images: context.host.instance().await?.images };
    let mut report = Report::new(args.json);
    for dir in super::lab_dirs(&args.paths)? {
        let lab = match Lab::load(&dir) {
            Ok(lab) => lab,
            Err(found) => {
                let words: Vec<String> = found.iter().map(|diagnostic| diagnostic.to_string()).collect();
                report.untested(&dir, &words.join("\n"))?;
                continue;
            }
        };
        if let Err(error) = test_lab(&lab, args, context, &settings, &catalogue, &mut report).await {
            report.untested(&dir, &format!("{error:#}"))?;
        }
    }
    Ok(if report.end()? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn test_lab(
    lab: &Lab,
    args: &TestArgs,
    context: &Context,
    settings: &Settings,
    catalogue: &Catalogue,
    report: &mut Report,
) -> Result<()> {
    if let Some(image) = lab.front.images.iter().find(|image| !catalogue.has(image)) {
        return Err(anyhow!("the image {image} is not in the catalogue"));
    }
    let session = context.host.create(&request(lab, settings)).await?;
    let tested = test_session(lab, args, context, &session, report).await;
    if args.keep {
        eprintln!("session {} was kept; `drydock session rm {}` removes it", session.id, session.id);
        return tested;
    }
    let removed = context.host.remove(&session.id).await;
    tested?;
    Ok(removed?)
}

fn request(lab: &Lab, settings: &Settings) -> CreateSession {
    let pieces = lab.steps.iter().flat_map(|step| &step.pieces);
    let added =
        pieces.filter(|piece| matches!(piece, Piece::NodeAction(action) if action.verb == NodeVerb::Add));
    CreateSession {
        owner: OWNER.into(),
        purpose: lab.slug.clone(),
        nodes: lab.front.nodes.clone(),
        limits: crate::sessions::limits_of(lab, &settings.limits),
        features: crate::sessions::features_of(lab, settings),
        seconds: SESSION_SECONDS,
        nodes_max: Some((lab.front.nodes.len() + added.count()) as u32),
    }
}

async fn test_session(
    lab: &Lab,
    args: &TestArgs,
    context: &Context,
    session: &Session,
    report: &mut Report,
) -> Result<()> {
    report.lab(lab, &session.id)?;
    let mut stage = Stage::new(lab, context.host.clone(), session.clone(), args.slow);
    stage.copy_files(None).await?;
    for step in &lab.steps {
        let began = Instant::now();
        let failures = stage.test(step).await;
        report.step(lab, step, &failures, began.elapsed())?;
    }
    Ok(())
}
