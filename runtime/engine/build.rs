//! Compiles `init/main.rs` to the program that the engine carries for `--init`.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=init/main.rs");
    println!("cargo:rerun-if-changed=build.rs");
    let out = env::var("OUT_DIR").expect("cargo says where to write");
    let rustc = env::var("RUSTC").expect("cargo says which compiler");
    let program = Path::new(&out).join("docker-init");
    let status = Command::new(rustc)
        .args(["--edition", "2024", "--crate-type", "bin", "--target", "x86_64-unknown-linux-musl"])
        .args(["-C", "opt-level=s", "-C", "panic=abort", "-C", "strip=symbols", "-C", "lto=fat"])
        .args(["-C", "relocation-model=static", "-l", "static=c", "-C", "target-feature=+crt-static"])
        .arg("-o")
        .arg(&program)
        .arg("init/main.rs")
        .status()
        .expect("the compiler can be run");
    assert!(status.success(), "compiling init/main.rs failed: {status}");
}
