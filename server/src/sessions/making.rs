//! How many sessions are made at once: more would only make all of them slow,
//! and learners' terminals with them.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::AppError;

/// Sessions being made at once.
const AT_ONCE: usize = 4;

/// Askers who wait for that; whoever comes then is told to come again.
const WAITING_MAX: usize = 60;

/// The places in which sessions are made.
pub(super) struct Places {
    free: Semaphore,
    waiting: AtomicUsize,
}

/// A place, given back when dropped.
pub(super) struct Place<'a> {
    _permit: SemaphorePermit<'a>,
}

impl Default for Places {
    fn default() -> Places {
        Places { free: Semaphore::new(AT_ONCE), waiting: AtomicUsize::new(0) }
    }
}

/// Whoever waits, counted; its caller may go away meanwhile.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Places {
    /// Waits for a place, in the order of coming, unless too many do.
    pub(super) async fn take(&self) -> Result<Place<'_>, AppError> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(&self.waiting);
        if before >= WAITING_MAX {
            return Err(AppError::Busy("many sessions are being made right now".into()));
        }
        let permit = self.free.acquire().await.expect("the semaphore is never closed");
        Ok(Place { _permit: permit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn so_many_wait_and_the_next_is_told_to_come_again() {
        let places = Places::default();
        let mut taken = Vec::new();
        for _ in 0..AT_ONCE {
            taken.push(places.take().await.unwrap());
        }
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(places.take())).collect();
        for one in &mut waiting {
            assert!(futures_util::poll!(one).is_pending());
        }
        assert!(matches!(places.take().await, Err(AppError::Busy(_))));
        drop(taken.pop());
        assert!(waiting[0].as_mut().await.is_ok());
        drop(waiting);
        assert!(places.take().await.is_ok());
    }
}
