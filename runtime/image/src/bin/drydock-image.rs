//! `drydock-image`: makes image archives, for `./dev` and for tests.
//!
//! It can unpack as well, so that an import needs no node binary.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use drydock_image::import::{Progress, Purpose};
use drydock_image::pack::{Base, Recipe, pack};
use drydock_image::{sandboxed, unpack};

const USAGE: &str = "usage:
  drydock-image pack RECIPE.json ROOT.tar SECONDS OUT.tar [BASE.tar]
                                                             makes an OCI archive, on top of another
  drydock-image import STORE catalogue|node-root FILE        brings an archive into a store
  drydock-image unpack PURPOSE STORE <FILE                   what `import` runs";

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["unpack", ..] => return unpack::main(),
        ["pack", recipe, root, seconds, out] => pack_file(recipe, root, seconds, out, None),
        ["pack", recipe, root, seconds, out, base] => pack_file(recipe, root, seconds, out, Some(base)),
        ["import", store, purpose, file] => import(store, purpose, file),
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drydock-image: {error}");
            ExitCode::FAILURE
        }
    }
}

fn pack_file(recipe: &str, root: &str, seconds: &str, out: &str, base: Option<&str>) -> Result<(), Failure> {
    let recipe: Recipe = serde_json::from_slice(&std::fs::read(recipe)?)?;
    let base = base.map(|base| Base::open(File::open(base)?)).transpose()?;
    pack(base, File::open(root)?, &recipe, seconds.parse()?, File::create(out)?)?;
    Ok(())
}

fn import(store: &str, purpose: &str, file: &str) -> Result<(), Failure> {
    let purpose = match purpose {
        "catalogue" => Purpose::Catalogue,
        "node-root" => Purpose::NodeRoot,
        _ => return Err(USAGE.into()),
    };
    let tell = |progress: Progress| eprintln!("{}: {} MB", progress.what, progress.done >> 20);
    let names =
        sandboxed::import(Path::new(store), &std::env::current_exe()?, File::open(file)?, purpose, tell)?;
    println!("{}", names.join("\n"));
    Ok(())
}
