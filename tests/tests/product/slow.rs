//! `drydock lab test --slow N`: every limit of a guide grows, and the time after
//! which a program is interrupted doesn't, since that is part of what is shown.

use std::fs;
use std::path::Path;
use std::process::Output;

use drydock_tests::instance::Instance;

/// Writes a lab of one step with these blocks, and tests it.
fn test(instance: &Instance, slow: &str, blocks: &str) -> Output {
    let home = tempfile::tempdir().expect("a directory can be made");
    // A folder's name is the lab's, and not every name will do.
    let folder = home.path().join("slow");
    fs::create_dir(&folder).expect("a directory can be made");
    let guide = format!(
        "---\ntitle: Slow\nsummary: How long things may take.\nlevel: beginner\nminutes: 5\n---\n\n\
         ## One: a step\n\n{blocks}\n\n```sh check title=\"done\"\ntest -e /tmp/done\n```\n"
    );
    fs::write(folder.join("guide.md"), guide).expect("a guide can be written");
    instance.drydock(&["lab", "test", "--slow", slow, text(&folder)])
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

#[test]
fn a_limit_is_multiplied() {
    let instance = Instance::start();
    // Three seconds on any machine, and the guide allows one.
    let block = "```sh run timeout=1s\nsleep 3; touch /tmp/done\n```";
    let strict = test(&instance, "1", block);
    assert!(!strict.status.success(), "three seconds passed for one: {strict:?}");
    let words = String::from_utf8_lossy(&strict.stdout);
    assert!(words.contains("not done after 1 s"), "{words}");
    let patient = test(&instance, "100", block);
    assert!(patient.status.success(), "{patient:?}");
}

#[test]
fn an_interrupt_comes_when_the_guide_says() {
    let instance = Instance::start();
    let slow = if std::env::var_os("DRYDOCK_SLOW").is_some() { 600 } else { 60 };
    // Multiplied, it would come after the command's end.
    let block = format!(
        "```sh run interrupt=1s\nsleep {slow} && echo late\n```\n\n```output\n```\n\n```sh run\ntouch /tmp/done\n```"
    );
    let tested = test(&instance, "100", &block);
    assert!(tested.status.success(), "{tested:?}");
}
