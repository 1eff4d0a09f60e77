//! `./dev test golden`: the real Docker CLI in a node, command by command,
//! against what it printed before real Docker 28.
//!
//! `golden [-v] [SCENARIO…]`, such as `golden 03`: plays these scenarios, or
//! all. `scenarios/` has the commands, `v28/` what real Docker answered,
//! `differences.toml` which answers differ and why. Lines of a scenario that
//! begin with `~registry` or the like wait for what they name.
//!
//! An older CLI has other texts: with one, exit statuses alone are compared,
//! and the suite says so.

mod differences;
mod transcript;
mod volatile;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail, ensure};
use drydock_tests::{instance::Instance, setting};

use differences::{Differences, Listed};
use transcript::Played;

/// The CLI that the transcripts were made with.
const CLI: &str = "Docker version 28.";
/// At most one command in so many may be listed as different.
const LISTED_OF: usize = 10;
/// How much of a line is shown, in characters.
const LINE_MAX: usize = 400;

fn main() -> Result<ExitCode> {
    let (flags, wanted): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with('-'));
    ensure!(flags.iter().all(|flag| flag == "-v"), "usage: golden [-v] [SCENARIO…]");
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let suite = Suite {
        differences: Differences::load(&home.join("differences.toml"))?,
        scratch: tempfile::tempdir().context("cannot make a directory")?,
        home,
        texts: cli()?.starts_with(CLI),
        whole: wanted.is_empty(),
        verbose: !flags.is_empty(),
    };
    if !suite.texts {
        println!("the transcripts are of CLI 28 and none is on PATH: exit statuses alone are compared");
    }
    let scenarios = suite.scenarios(&wanted)?;
    suite.make_images()?;
    let instance = Instance::start();
    let mut sum = Sum::default();
    for scenario in &scenarios {
        let ours = suite.play(&instance, scenario)?;
        suite.judge(scenario, &ours, &mut sum)?;
    }
    Ok(suite.conclude(&sum))
}

/// What the CLI that nodes get calls itself.
fn cli() -> Result<String> {
    let output = Command::new(setting("DOCKER_CLI")).arg("--version").output();
    let output = output.context("cannot run the Docker CLI")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

struct Suite {
    home: PathBuf,
    differences: Differences,
    scratch: tempfile::TempDir,
    /// The CLI is the transcripts', so that its texts are compared too.
    texts: bool,
    /// All scenarios are played.
    whole: bool,
    verbose: bool,
}

/// What came out so far.
#[derive(Default)]
struct Sum {
    passed: usize,
    failed: usize,
    listed: usize,
    waiting: usize,
}

impl Suite {
    /// The names of the scenarios that are asked for.
    fn scenarios(&self, wanted: &[String]) -> Result<Vec<String>> {
        let folder = self.home.join("scenarios");
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(".gold").map(str::to_owned))
            .collect();
        names.sort();
        if let Some(unknown) = wanted.iter().find(|want| !names.iter().any(|name| name.starts_with(*want))) {
            bail!("no scenario is called {unknown}; there are {}", names.join(", "));
        }
        names.retain(|name| wanted.is_empty() || wanted.iter().any(|want| name.starts_with(want)));
        Ok(names)
    }

    /// The stand-in images, from the busybox of this machine.
    fn make_images(&self) -> Result<()> {
        let status = Command::new("python3")
            .arg(self.home.join("mkimages.py"))
            .arg("tar")
            .arg(self.scratch.path().join("images.tar"))
            .args(["alpine", "busybox", "hello-world"])
            .status()
            .context("cannot run python3")?;
        ensure!(status.success(), "mkimages.py ended with {status}");
        Ok(())
    }

    /// Plays a scenario in a new node.
    fn play(&self, instance: &Instance, scenario: &str) -> Result<Vec<Played>> {
        let session = instance.session(&[]);
        let images =
            std::fs::read(self.scratch.path().join("images.tar")).context("cannot read images.tar")?;
        let load =
            "mkdir -p /home/learner && cd /home/learner && cat > images.tar && docker load -q -i images.tar";
        let done = session.exec("node1", &["bash", "-c", load], &images);
        ensure!(done.status == 0, "the images could not be loaded: {done:?}");
        let text = std::fs::read_to_string(self.home.join(format!("scenarios/{scenario}.gold")))?;
        let now: Vec<&str> = text.lines().filter(|line| !line.starts_with('~')).collect();
        let (script, out) = (self.scratch.path().join("scenario"), self.scratch.path().join("out"));
        std::fs::write(&script, now.join("\n"))?;
        let drydock = setting("DRYDOCK_BIN");
        let prefix = format!(
            "{} session exec {} node1 -- env -i HOME=/home/learner USER=learner TERM=xterm LANG=C.UTF-8 \
             PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            drydock.display(),
            session.id
        );
        let status = Command::new("python3")
            .arg(self.home.join("gold.py"))
            .args([&script, &out])
            .env("PREFIX", prefix)
            .env("GOLD_HOME", "/home/learner")
            .env("DRYDOCK_STATE_DIR", instance.state_dir())
            .status()
            .context("cannot run python3")?;
        ensure!(status.success(), "gold.py ended with {status}");
        instance.drydock(&["session", "rm", &session.id]);
        let transcript = String::from_utf8_lossy(&std::fs::read(&out)?).into_owned();
        transcript::read(&transcript).with_context(|| format!("cannot read what {scenario} printed"))
    }

    /// Compares a scenario with what real Docker answered.
    fn judge(&self, scenario: &str, ours: &[Played], sum: &mut Sum) -> Result<()> {
        let golden = std::fs::read_to_string(self.home.join(format!("v28/{scenario}.txt")))?;
        let golden = transcript::read(&golden)?;
        let waiting = self.waiting(scenario)?;
        let theirs = golden.iter().filter(|played| !waiting.contains(&played.command));
        let commands: Vec<String> = ours.iter().map(|played| played.command.clone()).collect();
        for unknown in self.differences.unknown(scenario, &commands) {
            println!("{scenario}: differences.toml lists a command that it doesn't have: {unknown}");
            sum.failed += 1;
        }
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let before = (sum.passed, sum.failed, sum.listed);
        let mut theirs = theirs.peekable();
        for played in ours {
            let Some(expected) = theirs.next_if(|theirs| theirs.command == played.command) else {
                bail!("{scenario}: real Docker was not asked `{}` at this place", played.command);
            };
            let nth = seen.entry(&played.command).and_modify(|nth| *nth += 1).or_insert(1);
            let listed = self.differences.of(scenario, &played.command, *nth);
            self.compare(scenario, expected, played, *nth, listed, sum);
        }
        if let Some(missing) = theirs.next() {
            bail!("{scenario}: `{}` was not played", missing.command);
        }
        sum.waiting += waiting.len();
        println!(
            "{scenario}: {} commands, {} wrong, {} listed as different, {} wait",
            ours.len(),
            sum.failed - before.1,
            sum.listed - before.2,
            waiting.len()
        );
        for command in waiting {
            println!("{scenario}: waits: {command}");
        }
        Ok(())
    }

    fn compare(
        &self,
        scenario: &str,
        expected: &Played,
        played: &Played,
        nth: usize,
        listed: Listed,
        sum: &mut Sum,
    ) {
        sum.listed += usize::from(listed != Listed::No);
        let (theirs, ours) = (volatile::without(expected), volatile::without(played));
        let place = format!("{scenario}: `{}`, number {nth}", played.command);
        // An older CLI lacks some options.
        let unasked = !self.texts && played.output.contains("unknown ") && played.output.contains(" flag");
        let wrong = match (theirs == ours, listed) {
            _ if unasked => None,
            _ if status(expected) != status(played) => Some("its exit status is another"),
            _ if !self.texts => None,
            (false, Listed::No) => Some("its output is another"),
            (true, Listed::Differs) => Some("it is listed as different and is not"),
            _ => None,
        };
        let Some(wrong) = wrong else {
            sum.passed += 1;
            if self.verbose && theirs != ours {
                print!("{place}: listed\n{}", changes(&theirs, &ours));
            }
            return;
        };
        sum.failed += 1;
        println!("{place}: {wrong}");
        if status(expected) != status(played) {
            println!("  -[exit {}]\n  +[exit {}]", expected.exit, played.exit);
        }
        print!("{}", changes(&theirs, &ours));
    }

    /// Commands that are not played yet.
    fn waiting(&self, scenario: &str) -> Result<Vec<String>> {
        let text = std::fs::read_to_string(self.home.join(format!("scenarios/{scenario}.gold")))?;
        let waiting = text.lines().filter(|line| line.starts_with('~'));
        // `~registry $ docker …`; hidden steps count nothing.
        let commands = waiting.filter_map(|line| {
            let (_, step) = line.split_once(' ')?;
            step.strip_prefix("$ ").or_else(|| step.strip_prefix("@ ")).map(str::to_owned)
        });
        Ok(commands.collect())
    }

    fn conclude(&self, sum: &Sum) -> ExitCode {
        let all = sum.passed + sum.failed;
        let mut failed = sum.failed;
        if self.whole && sum.listed * LISTED_OF > all {
            println!(
                "{} of {all} commands are listed as different: more than one in {LISTED_OF}",
                sum.listed
            );
            failed += 1;
        }
        println!("{} listed as different, {} wait for what is not there yet", sum.listed, sum.waiting);
        println!("{} passed, {failed} failed", sum.passed);
        ExitCode::from(u8::from(failed > 0))
    }
}

/// The exit status; a command that a signal killed has none, and where it ran
/// in a node, the shell's number for it.
fn status(played: &Played) -> i32 {
    if played.exit < 0 { 128 - played.exit } else { played.exit }
}

/// A line, not longer than a screen is wide a few times.
fn clipped(line: &str) -> String {
    line.chars().take(LINE_MAX).collect()
}

/// The lines that only one side has, in order: `-` is real Docker's.
fn changes(theirs: &str, ours: &str) -> String {
    let (theirs, ours): (Vec<&str>, Vec<&str>) = (theirs.lines().collect(), ours.lines().collect());
    // Lengths of the longest common sequence of each pair of tails.
    let mut common = vec![vec![0_usize; ours.len() + 1]; theirs.len() + 1];
    for left in (0..theirs.len()).rev() {
        for right in (0..ours.len()).rev() {
            common[left][right] = if theirs[left] == ours[right] {
                common[left + 1][right + 1] + 1
            } else {
                common[left + 1][right].max(common[left][right + 1])
            };
        }
    }
    let (mut left, mut right, mut out) = (0, 0, String::new());
    while left < theirs.len() || right < ours.len() {
        if left < theirs.len() && right < ours.len() && theirs[left] == ours[right] {
            (left, right) = (left + 1, right + 1);
        } else if right == ours.len()
            || (left < theirs.len() && common[left + 1][right] >= common[left][right + 1])
        {
            out.push_str(&format!("  -{}\n", clipped(theirs[left])));
            left += 1;
        } else {
            out.push_str(&format!("  +{}\n", clipped(ours[right])));
            right += 1;
        }
    }
    out
}
