//! Kernel settings that make a machine safer or roomier for nodes, and setting
//! them: only when somebody asks, never at a start.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{Feature, useful};

/// Where ours are kept for the next start of the machine.
const FILE: &str = "sysctl.d/60-drydock.conf";

/// What a setting should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    AtLeast(u64),
    AtMost(u64),
    Exactly(u64),
    /// A pattern for core files that starts no program.
    NoPipe,
}

/// A kernel setting.
#[derive(Debug)]
struct Setting {
    /// As sysctl(8) names it.
    key: &'static str,
    want: Want,
    what_for: &'static str,
    lost: &'static str,
    /// Whether `doctor --fix` sets it. What can't be undone, or may be another
    /// program's, is left to the operator.
    fixable: bool,
}

const fn setting(key: &'static str, want: Want, what_for: &'static str, lost: &'static str) -> Setting {
    Setting { key, want, what_for, lost, fixable: true }
}

const fn by_hand(key: &'static str, want: Want, what_for: &'static str, lost: &'static str) -> Setting {
    Setting { key, want, what_for, lost, fixable: false }
}

/// How many processes, watchers and neighbours hundreds of nodes need, and the
/// locks that narrow what a hole in the kernel gives away.
const SETTINGS: [Setting; 17] = [
    setting(
        "kernel.pid_max",
        Want::AtLeast(4_194_304),
        "process ids for all nodes; the sum of their limits must fit",
        "fewer nodes are let in",
    ),
    setting(
        "kernel.threads-max",
        Want::AtLeast(2_097_152),
        "threads for all nodes; the sum of their limits must fit",
        "fewer nodes are let in",
    ),
    setting(
        "fs.inotify.max_user_instances",
        Want::AtLeast(512),
        "programs in a node that watch files",
        "`tail -F` and editors may fail in busy nodes",
    ),
    setting(
        "net.ipv4.neigh.default.gc_thresh1",
        Want::AtLeast(8192),
        "neighbour entries of all sessions, which the kernel counts together",
        "entries are dropped early, and looked up again",
    ),
    setting(
        "net.ipv4.neigh.default.gc_thresh2",
        Want::AtLeast(16_384),
        "neighbour entries of all sessions, which the kernel counts together",
        "with hundreds of sessions, connections stall now and then",
    ),
    setting(
        "net.ipv4.neigh.default.gc_thresh3",
        Want::AtLeast(32_768),
        "neighbour entries of all sessions, which the kernel counts together",
        "with hundreds of sessions, nodes can't reach each other",
    ),
    setting(
        "net.netfilter.nf_conntrack_max",
        Want::AtMost(65_536),
        "connections that each node's network may have followed; no node's memory pays for them",
        "a node can fill some 84 MB of the kernel's memory with them",
    ),
    setting(
        "dev.tty.legacy_tiocsti",
        Want::Exactly(0),
        "nobody types into another's terminal by ioctl",
        "a second lock; nodes refuse the call in any case",
    ),
    setting(
        "kernel.io_uring_disabled",
        Want::Exactly(2),
        "keeps a large, young part of the kernel closed",
        "a second lock; nodes refuse the calls in any case",
    ),
    setting(
        "kernel.unprivileged_bpf_disabled",
        Want::AtLeast(1),
        "keeps users from loading programs into the kernel",
        "a second lock; nodes refuse the call in any case",
    ),
    setting(
        "kernel.perf_event_paranoid",
        Want::AtLeast(2),
        "keeps users from measuring the kernel",
        "a second lock; nodes refuse the call in any case",
    ),
    setting(
        "vm.unprivileged_userfaultfd",
        Want::Exactly(0),
        "takes a tool from whoever attacks the kernel",
        "a second lock; nodes refuse the call in any case",
    ),
    setting(
        "kernel.dmesg_restrict",
        Want::Exactly(1),
        "keeps the kernel's log to root",
        "addresses leak to users",
    ),
    setting(
        "kernel.kptr_restrict",
        Want::AtLeast(1),
        "keeps the kernel's addresses to root",
        "attacks find their way",
    ),
    setting(
        "net.ipv6.conf.all.accept_ra",
        Want::Exactly(0),
        "no learner's packet can name the machine a router",
        "safe while sessions stay in namespaces of their own; a second lock",
    ),
    by_hand(
        "kernel.core_pattern",
        Want::NoPipe,
        "a crash in a node starts no program of the machine",
        "a second lock; nodes may write no core files",
    ),
    by_hand(
        "kernel.kexec_load_disabled",
        Want::Exactly(1),
        "nobody starts another kernel; can't be undone until a restart",
        "a second lock; nodes refuse the calls in any case",
    ),
];

impl Want {
    fn holds(self, value: &str) -> bool {
        let number = value.trim().parse::<i64>().ok();
        match self {
            Want::AtLeast(least) => number.is_some_and(|number| number >= 0 && number as u64 >= least),
            Want::AtMost(most) => number.is_some_and(|number| number >= 0 && number as u64 <= most),
            Want::Exactly(want) => number == Some(want as i64),
            Want::NoPipe => !value.trim_start().starts_with('|'),
        }
    }

    fn value(self) -> String {
        match self {
            Want::AtLeast(value) | Want::AtMost(value) | Want::Exactly(value) => value.to_string(),
            Want::NoPipe => "core".into(),
        }
    }
}

/// Where settings are: of this machine, or of a test.
#[derive(Debug, Clone)]
pub struct Roots {
    /// `/proc/sys`.
    pub live: PathBuf,
    /// `/etc`.
    pub kept: PathBuf,
}

impl Roots {
    /// Those of this machine.
    pub fn machine() -> Roots {
        Roots { live: "/proc/sys".into(), kept: "/etc".into() }
    }

    fn file(&self, key: &str) -> PathBuf {
        self.live.join(key.replace('.', "/"))
    }

    /// A setting's value; `None` where the kernel has no such setting.
    fn value(&self, key: &str) -> io::Result<Option<String>> {
        match fs::read_to_string(self.file(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            value => value.map(|value| Some(value.trim().to_owned())),
        }
    }
}

/// The settings that this kernel has, each as a row of the table.
pub(super) fn features(roots: &Roots) -> Vec<Feature> {
    SETTINGS.iter().filter_map(|setting| feature(setting, roots.value(setting.key))).collect()
}

fn feature(setting: &Setting, value: io::Result<Option<String>>) -> Option<Feature> {
    let (ok, is) = match value {
        // What the kernel lacks needs no lock.
        Ok(None) => return None,
        Ok(Some(value)) => (setting.want.holds(&value), value),
        Err(error) => (false, error.to_string()),
    };
    let what_to_do = match (setting.want, setting.fixable) {
        (Want::NoPipe, _) => {
            format!("it is `{is}`; whoever needs no core files: sysctl -w kernel.core_pattern=core")
        }
        (want, true) => format!("it is {is}; `drydock doctor --fix` makes it {}", want.value()),
        (want, false) => format!("it is {is}; sysctl -w {}={}", setting.key, want.value()),
    };
    let feature = useful(setting.key, ok, setting.what_for, &what_to_do).without(setting.lost);
    Some(Feature { change: !ok, ..feature })
}

/// One setting that `--fix` would change.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// As sysctl(8) names it.
    pub key: String,
    /// What it is.
    pub from: String,
    /// What it becomes.
    pub to: String,
    /// Why.
    pub why: String,
}

/// What `--fix` would change.
pub fn changes(roots: &Roots) -> io::Result<Vec<Change>> {
    let mut changes = Vec::new();
    for setting in SETTINGS.iter().filter(|setting| setting.fixable) {
        if let Some(from) = roots.value(setting.key)?
            && !setting.want.holds(&from)
        {
            let (key, why) = (setting.key.to_owned(), setting.what_for.to_owned());
            changes.push(Change { key, from, to: setting.want.value(), why });
        }
    }
    Ok(changes)
}

/// Makes the changes, for now and for the next start of the machine. Returns
/// the file in which they are kept.
pub fn apply(roots: &Roots, changes: &[Change]) -> io::Result<PathBuf> {
    let named = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"))
    };
    let path = roots.kept.join(FILE);
    let before = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.map_err(named(&path))?,
    };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(named(directory))?;
    }
    let aside = path.with_extension("new");
    fs::write(&aside, merged(&before, changes)).map_err(named(&aside))?;
    fs::rename(&aside, &path).map_err(named(&path))?;
    for change in changes {
        let file = roots.file(&change.key);
        fs::write(&file, &change.to).map_err(named(&file))?;
    }
    Ok(path)
}

/// The file's text: what was set before, and the changes.
fn merged(before: &str, changes: &[Change]) -> String {
    let lines = before.lines().filter(|line| !line.trim_start().starts_with(['#', ';']));
    let mut values: BTreeMap<&str, &str> = lines
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    values.extend(changes.iter().map(|change| (change.key.as_str(), change.to.as_str())));
    let mut text =
        "# Set by `drydock doctor --fix`; removing this file undoes it at the next start.\n".to_owned();
    for (key, value) in values {
        text.push_str(&format!("{key} = {value}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with these settings.
    fn machine(values: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
        let directory = tempfile::tempdir().unwrap();
        let roots = Roots { live: directory.path().join("sys"), kept: directory.path().join("etc") };
        for (key, value) in values {
            let file = roots.file(key);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, format!("{value}\n")).unwrap();
        }
        (directory, roots)
    }

    #[test]
    fn settings_are_judged_by_their_values() {
        let (_directory, roots) = machine(&[
            ("kernel.pid_max", "32768"),
            ("kernel.perf_event_paranoid", "-1"),
            ("kernel.kptr_restrict", "2"),
            ("kernel.core_pattern", "|/usr/share/apport/apport %p"),
        ]);
        let features = features(&roots);
        let of = |name: &str| features.iter().find(|feature| feature.name == name).unwrap();
        assert_eq!(features.len(), 4, "what the kernel lacks is no row");
        assert!(!of("kernel.pid_max").ok && !of("kernel.perf_event_paranoid").ok);
        assert!(of("kernel.kptr_restrict").ok && !of("kernel.core_pattern").ok);
        let words = "it is 32768; `drydock doctor --fix` makes it 4194304";
        assert_eq!(of("kernel.pid_max").what_to_do, words);
        assert!(
            features
                .iter()
                .all(|feature| feature.change != feature.ok && !feature.needed && !feature.lost.is_empty())
        );
    }

    #[test]
    fn a_fix_sets_what_is_wrong_now_and_for_the_next_start() {
        let (_directory, roots) = machine(&[
            ("kernel.pid_max", "32768"),
            ("kernel.kptr_restrict", "0"),
            ("kernel.dmesg_restrict", "1"),
            ("kernel.kexec_load_disabled", "0"),
        ]);
        let found = changes(&roots).unwrap();
        let keys: Vec<_> = found.iter().map(|change| change.key.as_str()).collect();
        assert_eq!(keys, ["kernel.pid_max", "kernel.kptr_restrict"], "what can't be undone is left alone");
        fs::create_dir_all(roots.kept.join("sysctl.d")).unwrap();
        fs::write(roots.kept.join(FILE), "# old\nvm.x=1\nkernel.pid_max = 1\n").unwrap();
        let file = apply(&roots, &found).unwrap();
        let text = fs::read_to_string(file).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines, ["kernel.kptr_restrict = 1", "kernel.pid_max = 4194304", "vm.x = 1"]);
        assert_eq!(roots.value("kernel.pid_max").unwrap().unwrap(), "4194304");
        assert_eq!(changes(&roots).unwrap(), []);
    }

    #[test]
    fn a_fix_that_fails_names_the_file() {
        let (_directory, roots) = machine(&[("kernel.pid_max", "32768")]);
        let change = Change { key: "kernel.gone".into(), from: "0".into(), to: "1".into(), why: "x".into() };
        fs::remove_dir_all(&roots.live).unwrap();
        let error = apply(&roots, &[change]).unwrap_err().to_string();
        assert!(error.contains("sys/kernel/gone"), "{error}");
    }
}
