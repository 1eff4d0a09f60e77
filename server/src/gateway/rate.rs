//! How many questions a node may ask: answering is the server's work.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Questions a node may ask in a second, for long.
const PER_SECOND: f64 = 200.0;

/// Questions it may ask at once after a pause.
const BURST: f64 = 400.0;

/// Addresses told apart; a session has some ten nodes. What goes beyond shares
/// one account, so that made-up addresses gain nothing.
const ADDRESSES_MAX: usize = 64;

/// The questions of one session's nodes.
#[derive(Default)]
pub(super) struct Rate {
    known: Mutex<HashMap<Option<IpAddr>, Account>>,
}

struct Account {
    left: f64,
    filled: Instant,
}

impl Rate {
    /// Whether this address may ask one more.
    pub(super) fn allows(&self, from: IpAddr, now: Instant) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Some(from);
        let key = if known.len() >= ADDRESSES_MAX && !known.contains_key(&key) { None } else { key };
        let account = known.entry(key).or_insert(Account { left: BURST, filled: now });
        let passed = now.saturating_duration_since(account.filled).as_secs_f64();
        account.left = (account.left + passed * PER_SECOND).min(BURST);
        account.filled = now;
        let may = account.left >= 1.0;
        if may {
            account.left -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn n08_a_node_asks_so_much_and_its_neighbour_as_well() {
        let (rate, now) = (Rate::default(), Instant::now());
        let allowed = |last: u8, now: Instant| {
            (0..1000).filter(|_| rate.allows([192, 168, 0, last].into(), now)).count()
        };
        assert_eq!(allowed(11, now), 400);
        assert_eq!(allowed(12, now), 400);
        assert_eq!(allowed(11, now + Duration::from_secs(1)), 200);
    }

    #[test]
    fn n08_made_up_addresses_gain_nothing() {
        let (rate, now) = (Rate::default(), Instant::now());
        let addresses = (0..=255).flat_map(|a| (0..=255).map(move |b| [10, 0, a, b]));
        let allowed = addresses.filter(|address| rate.allows((*address).into(), now)).count();
        assert_eq!(allowed, ADDRESSES_MAX + 400);
    }
}
