//! Learners' sessions: made, found, extended, and ended when nobody types.
//!
//! What lives is host's to say; here is who may use it. No transport in here.

mod addresses;
pub mod health;
mod idle;
mod line;
mod making;
mod prepare;
pub mod room;
mod roster;
mod seats;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
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

pub use line::{News, Place};
pub use prepare::{copy_files, furnish};
pub use seats::Seat;

/// The owner of sessions made at the command line.
pub const OWNER_CLI: &str = "cli";

/// Seconds that Extend gives while others wait.
const EXTEND_WHILE_OTHERS_WAIT: u64 = 600;

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
    addresses: addresses::Addresses,
    line: line::Line,
    places: making::Places,
    activity: idle::Activity,
    seats: seats::Seats,
}

impl Sessions {
    /// The sessions of `host`.
    pub fn new(settings: Arc<Settings>, host: HostClient, db: Db, labs: Labs) -> Sessions {
        let roster = roster::Roster::new(host.clone());
        let shared = Shared {
            addresses: addresses::Addresses::new(settings.address_limits),
            line: line::Line::new(settings.line_max),
            places: making::Places::default(),
            settings,
            host,
            db,
            labs,
            roster,
            making: Mutex::default(),
            activity: idle::Activity::default(),
            seats: seats::Seats::default(),
        };
        Sessions { shared: Arc::new(shared) }
    }

    /// Keeps the list of sessions fresh and ends idle ones; runs for ever.
    pub async fn run(&self) {
        tokio::join!(self.shared.roster.run(), idle::run(self), line::run(self));
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
        self.shared.settings.nodes_max.saturating_sub(used)
    }

    /// Notes that the learner did something in a session, so that it is not idle.
    pub fn touch(&self, id: &str) {
        self.shared.activity.touch(id);
    }

    /// A long-lived connection of this learner; they have only so many.
    pub fn take_seat(&self, learner: &Learner) -> Result<Seat, AppError> {
        self.shared.seats.take(learner)
    }

    /// Waits until no long-lived connection is left.
    pub async fn all_seats_back(&self) {
        self.shared.seats.all_back().await;
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

    /// As [`Sessions::get`], and of a session of theirs that has ended: why.
    pub async fn get_or_end(&self, learner: &Learner, id: &str) -> Result<Session, AppError> {
        match self.get(learner, id).await {
            Err(AppError::NotFound) => match self.end_of(learner, id).await? {
                Some(past) => Err(AppError::Ended { reason: past.reason, time: past.ended }),
                None => Err(AppError::NotFound),
            },
            found => found,
        }
    }

    /// How a session of theirs ended. One that ended while web did not run is
    /// noted by the first who asks, a page that waited for us say.
    async fn end_of(&self, learner: &Learner, id: &str) -> Result<Option<PastSession>, AppError> {
        let noted = self.shared.db.session_end(learner, id).await?;
        if noted.is_some() || !self.shared.host.session(id).await.is_err_and(|error| error.is_not_found()) {
            return Ok(noted);
        }
        let open = self.shared.db.sessions_open().await?;
        let Some((_, created)) = open.iter().find(|(open, _)| open == id) else { return Ok(None) };
        let live = self.shared.roster.now();
        let last = live.iter().find(|session| session.id == id);
        self.shared.db.session_ended(id, idle::reason(last, *created)).await?;
        Ok(self.shared.db.session_end(learner, id).await?)
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

    /// The learner's session for a lab: the one that is there, or a new one
    /// unless others wait for theirs.
    pub async fn open(&self, learner: &Learner, address: IpAddr, slug: &str) -> Result<Session, AppError> {
        let lab = self.shared.labs.get(slug).await.ok_or(AppError::NotFound)?;
        let lock = self.shared.lock_of(learner);
        let _making = lock.lock().await;
        let sessions = self.shared.host.sessions().await?;
        if let Some(session) = self.shared.mine(learner, slug, &sessions)? {
            return Ok(session);
        }
        if let Some(full) = self.shared.line.before(learner) {
            return Err(AppError::Full { full, retry_seconds: 30 });
        }
        let making = self.shared.addresses.begin(address, &sessions, Instant::now())?;
        let session = self.shared.make(learner, &lab).await?;
        making.made(&session);
        self.made(learner, slug, &session).await?;
        Ok(session)
    }

    /// As [`Sessions::open`], for the first in line.
    async fn open_in_turn(&self, learner: &Learner, address: IpAddr, slug: &str) -> Result<(), AppError> {
        let lab = self.shared.labs.get(slug).await.ok_or(AppError::NotFound)?;
        let lock = self.shared.lock_of(learner);
        let _making = lock.lock().await;
        let sessions = self.shared.host.sessions().await?;
        if self.shared.mine(learner, slug, &sessions)?.is_some() {
            return Ok(());
        }
        let making = self.shared.addresses.begin_in_turn(address, Instant::now());
        let session = self.shared.make(learner, &lab).await?;
        making.made(&session);
        self.made(learner, slug, &session).await
    }

    async fn made(&self, learner: &Learner, slug: &str, session: &Session) -> Result<(), AppError> {
        self.shared.db.session_made(learner, slug, &session.id).await?;
        self.shared.activity.touch(&session.id);
        self.refresh();
        Ok(())
    }

    /// A place in line for a lab's session; it falls when nobody listens.
    pub async fn wait_in_line(
        &self,
        learner: &Learner,
        address: IpAddr,
        slug: &str,
    ) -> Result<watch::Receiver<News>, AppError> {
        let lab = self.shared.labs.get(slug).await.ok_or(AppError::NotFound)?;
        self.shared.line.join(learner, address, slug, lab.front.nodes.len() as u64)
    }

    /// Whether learners are in line.
    pub fn others_wait(&self) -> bool {
        *self.shared.line.others().borrow()
    }

    /// Tells when that changes.
    pub fn watch_others_wait(&self) -> watch::Receiver<bool> {
        self.shared.line.others()
    }

    /// When sessions end that nobody extends.
    fn leaving(&self) -> Vec<room::Leaving> {
        let sessions = self.shared.roster.now();
        sessions.iter().map(|session| room::Leaving::of(session, self.idle_left(session))).collect()
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
        let left = seconds_left(session);
        let by = (self.shared.settings.extend_minutes * 60).min(longest.saturating_sub(left));
        let by = match self.others_wait() {
            // Each time a little: whoever wants to stay must come back for it.
            true if left >= EXTEND_WHILE_OTHERS_WAIT => 0,
            true => by.min(EXTEND_WHILE_OTHERS_WAIT),
            false => by,
        };
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
        if let Some(full) = self.shared.line.before(learner) {
            return Err(AppError::Full { full, retry_seconds: 30 });
        }
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
        let reason = idle::reason(Some(last), last.created as i64);
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

    /// The learner's session for a lab, if there is one; an error when they
    /// have too many others.
    fn mine(&self, learner: &Learner, slug: &str, sessions: &[Session]) -> Result<Option<Session>, AppError> {
        let mine: Vec<_> = sessions.iter().filter(|session| session.owner == learner.id).collect();
        if let Some(session) = mine.iter().find(|session| session.purpose == slug) {
            return Ok(Some((*session).clone()));
        }
        if mine.len() < self.settings.learner_sessions_max as usize {
            return Ok(None);
        }
        let names: Vec<_> = mine.iter().map(|session| session.purpose.as_str()).collect();
        Err(AppError::Conflict(format!(
            "you have {} labs open ({}): end one of them first",
            mine.len(),
            names.join(", ")
        )))
    }

    async fn make(&self, learner: &Learner, lab: &Lab) -> Result<Session, AppError> {
        let _place = self.places.take().await?;
        self.check_images(lab).await?;
        let nodes = lab.front.nodes.clone();
        let create = CreateSession {
            owner: learner.id.clone(),
            purpose: lab.slug.clone(),
            nodes_max: Some(NODES_PER_SESSION.max(nodes.len() as u32)),
            nodes,
            limits: limits_of(lab, &self.settings.limits),
            features: features_of(lab, &self.settings),
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

    async fn end(&self, id: &str, reason: EndReason) -> Result<(), AppError> {
        // Noted first: when the session is gone, whoever watches asks why.
        self.db.session_ended(id, reason).await?;
        self.host.remove(id).await?;
        self.activity.forget(id);
        self.roster.refresh();
        Ok(())
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

/// What the lab asks of its nodes, as far as the operator allows it.
pub fn features_of(lab: &Lab, settings: &Settings) -> Features {
    Features {
        userns: lab.front.userns,
        netfilter: lab.front.netfilter,
        egress: lab.front.egress && !settings.egress_allow.is_empty(),
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
    } else if node.state == NodeState::Foreign {
        Err(AppError::Conflict(format!("{name} was started by an older version that can't be spoken to")))
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
