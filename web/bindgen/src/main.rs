//! `drydock-bindgen IN.wasm OUTDIR`: makes the page's module loadable.
//!
//! Runs wasm-bindgen's own step as a library, so that its version is always the
//! one in Cargo.lock, and writes beside it `page.js`, the small module that the
//! pages name: it starts the WASM, and says so when it can't.

use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result, bail};
use wasm_bindgen_cli_support::Bindgen;

/// The loader. The page shows what it says when a browser has no WebAssembly.
const LOADER: &str = r#"import init from "./drydock_page.js";

init({ module_or_path: new URL("./drydock_page_bg.wasm", import.meta.url) }).catch((error) => {
  document.documentElement.classList.add("no-wasm");
  console.error("the page's WebAssembly could not be started:", error);
});
"#;

fn main() -> Result<()> {
    let args: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [input, out] = args.as_slice() else { bail!("usage: drydock-bindgen IN.wasm OUTDIR") };
    fs::create_dir_all(out).with_context(|| format!("could not make {}", out.display()))?;
    Bindgen::new()
        .input_path(input)
        .out_name("drydock_page")
        .web(true)
        .context("wasm-bindgen has no target web")?
        .typescript(false)
        .demangle(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .omit_default_module_path(true)
        .generate(out)
        .with_context(|| format!("wasm-bindgen could not read {}", input.display()))?;
    let loader = out.join("page.js");
    fs::write(&loader, LOADER).with_context(|| format!("could not write {}", loader.display()))
}
