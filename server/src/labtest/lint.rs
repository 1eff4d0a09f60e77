//! `drydock lab lint`.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use drydock_image::store::Store;
use drydock_lab::{Catalogue, Lab};

use crate::cli::Context;

/// Prints all that is wrong; fails if anything is.
pub(super) fn run(paths: &[PathBuf], context: &Context) -> Result<ExitCode> {
    let catalogue = catalogue(context)?;
    let mut out = io::stdout().lock();
    if catalogue.is_none() {
        eprintln!("{} has no images yet, so images are not looked up", context.store_dir().display());
    }
    let dirs = super::lab_dirs(paths)?;
    let mut found = 0;
    for dir in &dirs {
        for diagnostic in Lab::lint(dir, catalogue.as_ref()) {
            writeln!(out, "{diagnostic}\n")?;
            found += 1;
        }
    }
    match found {
        0 => writeln!(out, "{} labs, nothing wrong", dirs.len())?,
        found => writeln!(out, "{found} things wrong in {} labs", dirs.len())?,
    }
    Ok(if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The images of this instance's store, if it has one.
fn catalogue(context: &Context) -> Result<Option<Catalogue>> {
    let dir = context.store_dir();
    if !dir.join("index.json").is_file() {
        return Ok(None);
    }
    let store = Store::open(&dir).with_context(|| format!("cannot open {}", dir.display()))?;
    let index = store.index().with_context(|| format!("cannot read the images in {}", dir.display()))?;
    Ok(Some(Catalogue { images: index.images.into_keys().collect() }))
}
