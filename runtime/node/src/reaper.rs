//! The one place where children are reaped, PID 1's adopted ones included.

use std::{cell::RefCell, collections::HashMap, io};

use nix::{
    errno::Errno,
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// Who waits for which child.
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    waiting: RefCell<HashMap<i32, oneshot::Sender<i32>>>,
}

impl Reaper {
    /// The exit status to come (128 + signal when killed) of a child that was
    /// just started. Nothing else may have run since, or it could be reaped
    /// already.
    pub(crate) fn watch(&self, pid: i32) -> oneshot::Receiver<i32> {
        let (tell, told) = oneshot::channel();
        self.waiting.borrow_mut().insert(pid, tell);
        told
    }

    /// Whether this watched child has not been reaped, so that its PID is
    /// still its own.
    pub(crate) fn has(&self, pid: i32) -> bool {
        self.waiting.borrow().contains_key(&pid)
    }

    /// Reaps for as long as it is polled.
    pub(crate) async fn run(&self) -> io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        loop {
            self.reap();
            children.recv().await;
        }
    }

    /// Reaps all that have ended; says whether any children are left.
    pub(crate) fn reap(&self) -> bool {
        loop {
            let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) => (pid, status),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Ok(WaitStatus::StillAlive) => return true,
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(_) => return false,
            };
            if let Some(tell) = self.waiting.borrow_mut().remove(&pid.as_raw()) {
                // Whoever waited may have lost interest.
                let _ = tell.send(status);
            }
        }
    }
}
