//! The guides on disk, parsed, and read again when a file changes.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use drydock_lab::Lab;

/// How often the disk is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Files looked at in a lab's folder, at most.
const FILES_MAX: usize = 2000;

/// The labs of a directory. Cheap to clone.
#[derive(Clone)]
pub struct Labs {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    looked: Option<Instant>,
    stamps: BTreeMap<PathBuf, Stamp>,
    labs: Arc<Vec<Arc<Lab>>>,
}

/// What changes when a lab does: how many files it has, and the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    files: usize,
    newest: SystemTime,
}

impl Labs {
    /// The labs in `dir`: each folder with a `guide.md`.
    pub fn new(dir: &Path) -> Labs {
        Labs { shared: Arc::new(Shared { dir: dir.into(), state: Mutex::default() }) }
    }

    /// All labs that can be read, in teaching order: what comes before a lab
    /// stands before it, else by level and title. Those that can't be read are
    /// logged and left out.
    pub async fn all(&self) -> Arc<Vec<Arc<Lab>>> {
        let shared = self.shared.clone();
        match tokio::task::spawn_blocking(move || shared.look()).await {
            Ok(labs) => labs,
            Err(error) => {
                tracing::error!(%error, "labs could not be read");
                self.shared.lock().labs.clone()
            }
        }
    }

    /// One lab.
    pub async fn get(&self, slug: &str) -> Option<Arc<Lab>> {
        self.all().await.iter().find(|lab| lab.slug == slug).cloned()
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is replaced whole, so a panic elsewhere leaves it right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) -> Arc<Vec<Arc<Lab>>> {
        let mut state = self.lock();
        if state.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return state.labs.clone();
        }
        state.looked = Some(Instant::now());
        let stamps = match stamps(&self.dir) {
            Ok(stamps) => stamps,
            Err(error) => {
                tracing::error!(dir = %self.dir.display(), %error, "cannot read the labs");
                return state.labs.clone();
            }
        };
        if stamps != state.stamps {
            state.labs = Arc::new(in_teaching_order(load(&stamps)));
            state.stamps = stamps;
        }
        state.labs.clone()
    }
}

fn load(stamps: &BTreeMap<PathBuf, Stamp>) -> Vec<Arc<Lab>> {
    let mut labs = Vec::new();
    for dir in stamps.keys() {
        match Lab::load(dir) {
            Ok(lab) => labs.push(Arc::new(lab)),
            Err(diagnostics) => {
                for diagnostic in diagnostics {
                    tracing::error!("lab left out: {diagnostic}");
                }
            }
        }
    }
    labs
}

fn in_teaching_order(mut left: Vec<Arc<Lab>>) -> Vec<Arc<Lab>> {
    left.sort_by(|a, b| (a.front.level, &a.front.title).cmp(&(b.front.level, &b.front.title)));
    let mut ordered: Vec<Arc<Lab>> = Vec::new();
    while !left.is_empty() {
        let waits = |lab: &Lab| left.iter().any(|other| lab.front.after.contains(&other.slug));
        // In a circle nothing is free to go: then the first by title goes.
        let next = left.iter().position(|lab| !waits(lab)).unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered
}

fn stamps(dir: &Path) -> io::Result<BTreeMap<PathBuf, Stamp>> {
    let mut stamps = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.join("guide.md").is_file() {
            let stamp = stamp(&path)?;
            stamps.insert(path, stamp);
        }
    }
    Ok(stamps)
}

fn stamp(lab: &Path) -> io::Result<Stamp> {
    let mut stamp = Stamp { files: 0, newest: SystemTime::UNIX_EPOCH };
    let mut folders = vec![lab.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            stamp.files += 1;
            stamp.newest = stamp.newest.max(metadata.modified()?);
            if stamp.files > FILES_MAX {
                return Ok(stamp);
            }
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(stamp)
}
