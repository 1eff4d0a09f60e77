//! How many WebSockets and event streams a learner has open.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::{error::AppError, learner::Learner};

/// Long-lived connections of one learner, over all their tabs.
const SEATS_MAX: u32 = 64;

/// Long-lived connections of all learners: each costs two descriptors.
const SEATS_TOTAL: u32 = 8192;

type Taken = Arc<Mutex<HashMap<String, u32>>>;

#[derive(Default)]
pub(super) struct Seats {
    taken: Taken,
    total: watch::Sender<u32>,
}

/// One connection; given back when dropped.
pub struct Seat {
    taken: Taken,
    total: watch::Sender<u32>,
    learner: String,
}

impl Seats {
    pub(super) fn take(&self, learner: &Learner) -> Result<Seat, AppError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<u32>() >= SEATS_TOTAL {
            return Err(AppError::Busy("the server has too many terminals open".into()));
        }
        let count = taken.entry(learner.id.clone()).or_default();
        if *count >= SEATS_MAX {
            return Err(AppError::Busy(format!("you have {SEATS_MAX} terminals and pages open: close some")));
        }
        *count += 1;
        self.total.send_modify(|total| *total += 1);
        Ok(Seat { taken: self.taken.clone(), total: self.total.clone(), learner: learner.id.clone() })
    }

    /// Waits until all are given back.
    pub(super) async fn all_back(&self) {
        // It ends early only with the sender, which is ours.
        drop(self.total.subscribe().wait_for(|total| *total == 0).await);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.total.send_modify(|total| *total -= 1);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.learner) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.learner);
            }
        }
    }
}
