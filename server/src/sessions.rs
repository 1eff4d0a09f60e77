//! Learners' sessions: made, found, extended, and ended when nobody types.
//!
//! What lives is host's to say; here is who may use it. No transport in here.

pub mod health;
mod idle;
mod prepare;
mod roster;
mod seats;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use drydock_agent::AgentError;
use drydock_lab::Lab;
use drydock_protocol::host::{AddNode, CreateSession, Features, Limits, NodeState, Session, Verb};
use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::{
    config::Settings,
    db::{Db, EndReason, PastSession},
    error::AppError,
    host::HostClient,
    labs::Labs,
    learner::Learner,
};

pub use prepare::copy_files;
pub use seats::Seat;

/// The owner of sessions made at the command line.
pub const OWNER_CLI: &str = "cli";

/// Sessions that one learner may have at once, over all labs.
const SESSIONS_PER_LEARNER: usize = 3;

/// The most nodes a session may grow to by Add a node.
const NODES_PER_SESSION: u32 = 5;

/// All sessions, as learners see them. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Arc<Settings>,
    host: HostClient,
    db: Db,
    labs: Labs,
    roster: roster::Roster,
    /// One lock a learner, so that two clicks make one session.
    making: Mutex<HashMap<String, Arc<AsyncMutex<()>>>>,
    /// Nodes promised to sessions that are being made.
    promised: Mutex<u32>,
    activity: idle::Activity,
    seats: seats::Seats,
}

impl Sessions {
    /// The sessions of `host`.
    pub fn new(settings: Arc<Settings>, host: HostClient, db: Db, labs: Labs) -> Sessions {
        let roster = roster::Roster::new(host.clone());
        let shared = Shared {
            settings,
            host,
            db,
            labs,
            roster,
            making: Mutex::default(),
            promised: Mutex::default(),
            activity: idle::Activity::default(),
            seats: seats::Seats::default(),
        };
        Sessions { shared: Arc::new(shared) }
    }

    /// Keeps the list of sessions fresh and ends idle ones; runs for ever.
    pub async fn run(&self) {
        tokio::join!(self.shared.roster.run(), idle::run(self));
    }

    /// The sessions that live, as of a moment ago; changes can be waited for.
    pub fn watch(&self) -> watch::Receiver<Arc<Vec<Session>>> {
        self.shared.roster.watch()
    }

    /// Tells that sessions have changed: the list is read again at once.
    pub fn refresh(&self) {
        self.shared.roster.refresh();
    }

    /// How many nodes are not in use.
    pub fn free_nodes(&self) -> u32 {
        let used = self.shared.roster.now().iter().map(|session| session.nodes.len() as u32).sum::<u32>();
        let promised = *self.shared.promised.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.settings.nodes_max.saturating_sub(used + promised)
    }

    /// Notes that the learner did something in a session, so that it is not idle.
    pub fn touch(&self, id: &str) {
        self.shared.activity.touch(id);
    }

    /// A long-lived connection of this learner; they have only so many.
    pub fn take_seat(&self, learner: &Learner) -> Result<Seat, AppError> {
        self.shared.seats.take(learner)
    }

    /// A session that this learner may use; for any other, as for one that is
    /// not there: [`AppError::NotFound`].
    pub async fn get(&self, learner: &Learner, id: &str) -> Result<Session, AppError> {
        let session = self.shared.host.session(id).await?;
        if session.owner == learner.id || self.shared.db.granted(learner, id).await? {
            Ok(session)
        } else {
            Err(AppError::NotFound)
        }
    }

    /// The learner's last session for a lab, if it has ended.
    pub async fn past(&self, learner: &Learner, lab: &str) -> Result<Option<PastSession>, AppError> {
        Ok(self.shared.db.session_past(learner, lab).await?)
    }

    /// The learner's live session for a lab.
    pub async fn of(&self, learner: &Learner, lab: &str) -> Result<Option<Session>, AppError> {
        let sessions = self.shared.host.sessions().await?;
        Ok(sessions.into_iter().find(|session| session.owner == learner.id && session.purpose == lab))
    }

    /// Lets the learner use a session that was made elsewhere, if this is its key.
    pub async fn open_with_key(&self, learner: &Learner, id: &str, key: &str) -> Result<Session, AppError> {
        let session = self.shared.host.session(id).await?;
        if !same(session.key.as_bytes(), key.as_bytes()) {
            return Err(AppError::NotFound);
        }
        self.shared.db.grant(learner, id).await?;
        Ok(session)
    }

    /// The learner's session for a lab: the one that is there, or a new one.
    pub async fn open(&self, learner: &Learner, slug: &str) -> Result<Session, AppError> {
        let lab = self.shared.labs.get(slug).await.ok_or(AppError::NotFound)?;
        let lock = self.shared.lock_of(learner);
        let _making = lock.lock().await;
        let sessions = self.shared.host.sessions().await?;
        let mine: Vec<_> = sessions.iter().filter(|session| session.owner == learner.id).collect();
        if let Some(session) = mine.iter().find(|session| session.purpose == slug) {
            return Ok((*session).clone());
        }
        if mine.len() >= SESSIONS_PER_LEARNER {
            let names: Vec<_> = mine.iter().map(|session| session.purpose.as_str()).collect();
            return Err(AppError::Conflict(format!(
                "you have {} labs open ({}): end one of them first",
                mine.len(),
                names.join(", ")
            )));
        }
        let session = self.shared.make(learner, &lab, &sessions).await?;
        self.shared.db.session_made(learner, slug, &session.id).await?;
        self.shared.activity.touch(&session.id);
        self.refresh();
        Ok(session)
    }

    /// Gives a session more time; returns it with its new deadline.
    pub async fn extend(&self, learner: &Learner, id: &str) -> Result<Session, AppError> {
        let session = self.get(learner, id).await?;
        let seconds = seconds_left(&session) + self.extend_seconds(&session);
        let session = self.shared.host.extend(id, seconds).await?;
        self.touch(id);
        self.refresh();
        Ok(session)
    }

    /// By how many seconds Extend moves this session's end now; less than a
    /// minute is not worth a button.
    pub fn extend_seconds(&self, session: &Session) -> u64 {
        let longest = self.shared.settings.session_minutes * 60;
        let by =
            (self.shared.settings.extend_minutes * 60).min(longest.saturating_sub(seconds_left(session)));
        if by < 60 { 0 } else { by }
    }

    /// Seconds until this session ends unless somebody does something in it.
    pub fn idle_left(&self, session: &Session) -> u64 {
        let longest = Duration::from_secs(self.shared.settings.idle_minutes * 60);
        longest.saturating_sub(self.shared.activity.idle(&session.id)).as_secs()
    }

    /// Ends learners' sessions in which nobody did anything for too long; done
    /// now and then by [`Sessions::run`].
    pub async fn end_idle(&self) {
        idle::end_idle(self).await;
    }

    /// Ends a session.
    pub async fn end(&self, learner: &Learner, id: &str) -> Result<(), AppError> {
        self.get(learner, id).await?;
        self.shared.end(id, EndReason::Learner).await
    }

    /// Adds a node.
    pub async fn add_node(&self, learner: &Learner, id: &str, add: &AddNode) -> Result<Session, AppError> {
        self.get(learner, id).await?;
        let _promise = self.shared.promise(1)?;
        let session = self.shared.host.add_node(id, add).await?;
        self.changed(id);
        self.shared.prepare(&session, None).await?;
        Ok(session)
    }

    /// Removes a node.
    pub async fn remove_node(&self, learner: &Learner, id: &str, node: &str) -> Result<Session, AppError> {
        self.get(learner, id).await?;
        let session = self.shared.host.remove_node(id, node).await?;
        self.changed(id);
        Ok(session)
    }

    /// Does something to a node.
    pub async fn verb(
        &self,
        learner: &Learner,
        id: &str,
        node: &str,
        verb: Verb,
    ) -> Result<Session, AppError> {
        self.get(learner, id).await?;
        let session = self.shared.host.verb(id, node, verb).await?;
        self.changed(id);
        if verb == Verb::Reset {
            self.shared.prepare(&session, Some(node)).await?;
        }
        Ok(session)
    }

    fn changed(&self, id: &str) {
        self.touch(id);
        self.refresh();
    }

    /// Why a session is gone that was there a moment ago.
    pub async fn ended(&self, learner: &Learner, last: &Session) -> Result<EndReason, AppError> {
        if let Some(past) = self.shared.db.session_end(learner, &last.id).await? {
            return Ok(past.reason);
        }
        let reason = idle::reason(Some(last));
        self.shared.db.session_ended(&last.id, reason).await?;
        Ok(reason)
    }
}

impl Shared {
    fn lock_of(&self, learner: &Learner) -> Arc<AsyncMutex<()>> {
        let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        making.retain(|_, lock| Arc::strong_count(lock) > 1);
        making.entry(learner.id.clone()).or_default().clone()
    }

    async fn make(&self, learner: &Learner, lab: &Lab, sessions: &[Session]) -> Result<Session, AppError> {
        self.check_images(lab).await?;
        if sessions.len() as u32 >= self.settings.sessions_max {
            return Err(self.full());
        }
        let nodes = lab.front.nodes.clone();
        let _promise = self.promise(nodes.len() as u32)?;
        let create = CreateSession {
            owner: learner.id.clone(),
            purpose: lab.slug.clone(),
            nodes_max: Some(NODES_PER_SESSION.max(nodes.len() as u32)),
            nodes,
            limits: limits_of(lab, &self.settings.limits),
            features: Features { userns: lab.front.userns, netfilter: lab.front.netfilter },
            seconds: self.settings.session_minutes * 60,
        };
        let session = self.host.create(&create).await?;
        if let Err(error) = self.prepare(&session, None).await {
            // A lab without its files is no lab: better none than half of one.
            if let Err(error) = self.host.remove(&session.id).await {
                tracing::error!(session = session.id, %error, "cannot remove a session that was not prepared");
            }
            return Err(error);
        }
        Ok(session)
    }

    async fn check_images(&self, lab: &Lab) -> Result<(), AppError> {
        if lab.front.images.is_empty() {
            return Ok(());
        }
        let catalogue = self.host.instance().await?.images;
        let missing: Vec<_> = lab
            .front
            .images
            .iter()
            .filter(|image| !prepare::in_catalogue(&catalogue, image))
            .map(String::as_str)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(AppError::Conflict(format!(
            "this lab needs images that the server does not have: {}; the operator brings them in with \
             `drydock hub import FILE`",
            missing.join(", ")
        )))
    }

    fn full(&self) -> AppError {
        let soonest = self.roster.now().iter().map(seconds_left).min().unwrap_or(60);
        AppError::Full { nodes_max: self.settings.nodes_max, retry_seconds: soonest.clamp(5, 300) }
    }

    /// Sets nodes aside while they are made, so that two makers don't both get
    /// the last one.
    fn promise(&self, nodes: u32) -> Result<Promise<'_>, AppError> {
        let used = self.roster.now().iter().map(|session| session.nodes.len() as u32).sum::<u32>();
        let mut promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        if used + *promised + nodes > self.settings.nodes_max {
            drop(promised);
            return Err(self.full());
        }
        *promised += nodes;
        Ok(Promise { shared: self, nodes })
    }

    async fn end(&self, id: &str, reason: EndReason) -> Result<(), AppError> {
        // Noted first: when the session is gone, whoever watches asks why.
        self.db.session_ended(id, reason).await?;
        self.host.remove(id).await?;
        self.activity.forget(id);
        self.roster.refresh();
        Ok(())
    }
}

struct Promise<'a> {
    shared: &'a Shared,
    nodes: u32,
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        *self.shared.promised.lock().unwrap_or_else(PoisonError::into_inner) -= self.nodes;
    }
}

/// Seconds until the session's end.
pub fn seconds_left(session: &Session) -> u64 {
    session.deadline.saturating_sub(crate::db::now() as u64)
}

/// The lab's wishes, never above the server's own limits.
pub fn limits_of(lab: &Lab, most: &Limits) -> Limits {
    let wish = &lab.front.limits;
    let least = |wish: Option<u64>, most: u64| wish.map_or(most, |wish| wish.min(most));
    Limits {
        memory_mb: least(wish.memory_mb, most.memory_mb),
        disk_mb: least(wish.disk_mb, most.disk_mb),
        pids: least(wish.pids, most.pids),
        ..*most
    }
}

/// The nodes of a session that run.
pub fn running(session: &Session) -> impl Iterator<Item = &drydock_protocol::host::Node> {
    session.nodes.iter().filter(|node| node.state == NodeState::Running)
}

/// Compares without telling by its time where the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (x, y)| differs | (x ^ y)) == 0
}

/// A node of a session that runs.
pub fn find_node<'a>(session: &'a Session, name: &str) -> Result<&'a drydock_protocol::host::Node, AppError> {
    let node = session.nodes.iter().find(|node| node.name == name).ok_or(AppError::NotFound)?;
    if node.state == NodeState::Running {
        Ok(node)
    } else {
        Err(AppError::Conflict(format!("{name} is not running")))
    }
}

/// What a node is asked, within a time: one with too many processes may not
/// answer.
pub async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, AgentError>>,
) -> Result<T, AppError> {
    match tokio::time::timeout(patience, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(AppError::Busy(format!("the node did not answer within {} s", patience.as_secs()))),
    }
}
