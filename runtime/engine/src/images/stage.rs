//! The short-lived child that reads and writes archives for the engine, within
//! the learner's own limits: what an archive makes of this code, it has a
//! learner's rights at most, and sees `/var/lib/docker` only.

use std::{
    collections::HashSet,
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use caps::Capability;
use drydock_image::{
    archive::ArchiveError,
    compose::{Base, compose},
    import::{ImportError, Loaded, Progress, load},
    limits::Limits,
    save::{Item, save},
    store::{Image, Lock, Store},
    upper,
};
use drydock_sandbox::{
    capabilities,
    mount::{self, Attributes},
    seccomp,
};
use nix::sys::resource::{Resource, setrlimit};
use serde::{Deserialize, Serialize};

use crate::{
    container::{StageError, enter_cgroups, step},
    engine::{ROOT, STORE},
};

/// What the child shall do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Images {
    /// v1 `tasks` files to enter.
    pub(super) cgroup_tasks: usize,
    pub(super) task: Task,
}

/// One piece of work.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Task {
    /// Unpack the images of the archive on stdin.
    Load,
    /// Make an image of one more layer on others.
    Compose { base: Box<Base>, from: Source },
    /// Write images as an archive to stdout.
    Save(Vec<Item>),
}

/// Where a new layer comes from.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    /// A tar on stdin.
    Stdin,
    /// An overlay's upper directory below [`ROOT`], without some paths.
    Upper { directory: PathBuf, skip: HashSet<PathBuf> },
}

/// What the child tells on stdout, a line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    Progress(Progress),
    Loaded(Loaded),
    Composed(Image),
}

/// More than a zstd window and the descriptions of all images take.
const MEMORY: u64 = 1 << 30;
const DESCRIPTORS: u64 = 256;
const NEEDED: [Capability; 5] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_SETFCAP,
];

/// How much an archive of a learner's may bring: its descriptions are held in
/// the engine's memory.
pub(super) fn limits() -> Limits {
    Limits { bytes: 8 << 30, text: 1 << 20, ..Limits::default() }
}

/// Does the work.
pub(crate) fn run(config: Images) -> Result<u8, StageError> {
    enter_cgroups(config.cgroup_tasks)?;
    let root = match config.task {
        // The machine's store lies elsewhere, and nothing is read but blobs.
        Task::Save(_) => PathBuf::from(ROOT),
        _ => {
            enter_root().map_err(|error| StageError::Config(error.to_string()))?;
            PathBuf::from("/")
        }
    };
    confine()?;
    let store = root.join("image");
    let done = match config.task {
        Task::Load => load_all(&store),
        Task::Compose { base, from: Source::Stdin } => compose_one(&store, io::stdin().lock(), *base),
        Task::Compose { base, from: Source::Upper { directory, skip } } => {
            let below = directory.strip_prefix(ROOT).map_err(|error| error.to_string());
            below.and_then(|below| compose_upper(&store, *base, root.join(below), skip))
        }
        Task::Save(items) => save_all(&items),
    };
    done.map(|()| 0).map_err(StageError::Config)
}

/// Makes `/var/lib/docker` the root, where no device and no program counts.
fn enter_root() -> Result<(), mount::MountError> {
    mount::make_private()?;
    let tree = mount::copy(Path::new(ROOT))?;
    let attributes = Attributes { nosuid: true, nodev: true, noexec: true, ..Attributes::default() };
    mount::set_attributes(tree.as_fd(), attributes)?;
    mount::attach(tree.as_fd(), Path::new(ROOT))?;
    mount::pivot_root(Path::new(ROOT))
}

fn confine() -> Result<(), StageError> {
    seccomp::apply(&seccomp::node(false, false))?;
    capabilities::drop_bounding(&NEEDED)?;
    capabilities::set(&NEEDED)?;
    nix::sys::prctl::set_no_new_privs().map_err(step("forbidding new privileges"))?;
    for (resource, limit) in
        [(Resource::RLIMIT_AS, MEMORY), (Resource::RLIMIT_NOFILE, DESCRIPTORS), (Resource::RLIMIT_CORE, 0)]
    {
        setrlimit(resource, limit, limit).map_err(step("setting limits"))?;
    }
    Ok(())
}

/// Waits for whom an engine before this one has started.
fn lock(store: &Path) -> Result<Lock, String> {
    Lock::take(store).map_err(|error| format!("cannot lock the node's images: {error}"))
}

fn load_all(store: &Path) -> Result<(), String> {
    let _lock = lock(store)?;
    let mut progress = |progress| report(&Report::Progress(progress));
    let loaded = load(store, io::stdin().lock(), limits(), &mut progress).map_err(words)?;
    loaded.into_iter().for_each(|loaded| report(&Report::Loaded(loaded)));
    Ok(())
}

/// What is wrong with an archive; one that breaks off in Docker's words.
fn words(error: ImportError) -> String {
    match error {
        ImportError::Archive(ArchiveError::Read(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "unexpected EOF".to_owned()
        }
        other => other.to_string(),
    }
}

fn compose_one(store: &Path, tar: impl io::Read, base: Base) -> Result<(), String> {
    let _lock = lock(store)?;
    let image = compose(store, tar, base, limits()).map_err(words)?;
    report(&Report::Composed(image));
    Ok(())
}

fn compose_upper(store: &Path, base: Base, upper: PathBuf, skip: HashSet<PathBuf>) -> Result<(), String> {
    let (tar, to) = io::pipe().map_err(|error| format!("cannot make a pipe: {error}"))?;
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || upper::write(&upper, &skip, io::BufWriter::new(to)));
        let composed = compose_one(store, tar, base);
        match writer.join() {
            // Who reads no further has said why.
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => composed,
            Ok(Err(error)) => Err(format!("cannot read the container's files: {error}")),
            Ok(Ok(())) => composed,
            Err(_) => Err("reading the container's files broke off".to_owned()),
        }
    })
}

fn save_all(items: &[Item]) -> Result<(), String> {
    let stores = [STORE.to_owned(), format!("{ROOT}/image")];
    let stores: Result<Vec<Store>, _> = stores.into_iter().map(Store::open).collect();
    let stores = stores.map_err(|error| error.to_string())?;
    let out = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
    save(&stores, items, out).map_err(|error| error.to_string())
}

/// Tells the engine. If it listens no more, there is nobody to do it for.
fn report(report: &Report) {
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        if io::stdout().lock().write_all(&line).is_err() {
            std::process::exit(1);
        }
    }
}
