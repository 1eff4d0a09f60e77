//! How many sessions one address may have and begin.
//!
//! Cookies cost nothing, so what one visitor takes is bounded by where they
//! come from: a bucket of beginnings that refills, and a count of what lives.
//! Both are kept in memory, and begin anew with web.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use drydock_protocol::host::Session;

use crate::{config::AddressLimits, error::AppError};

/// Sessions that an address may begin at once after a pause.
const BURST: f64 = 20.0;

/// Addresses that are remembered.
const KNOWN_MAX: usize = 10_000;

/// A session this young may be missing from a list that was read before.
const YOUNG: Duration = Duration::from_secs(60);

type Known = Arc<Mutex<HashMap<IpAddr, Entry>>>;

/// What is known of addresses.
pub(super) struct Addresses {
    limits: AddressLimits,
    known: Known,
}

struct Entry {
    beginnings: f64,
    filled: Instant,
    making: usize,
    /// When each was made.
    sessions: BTreeMap<String, Instant>,
}

/// A session that is being made; its place is given back when dropped.
pub(super) struct Making {
    known: Known,
    address: IpAddr,
}

impl Addresses {
    pub(super) fn new(limits: AddressLimits) -> Addresses {
        Addresses { limits, known: Known::default() }
    }

    /// Lets an address begin a session, or says when it may try again. `live`
    /// are all sessions there are.
    pub(super) fn begin(&self, address: IpAddr, live: &[Session], now: Instant) -> Result<Making, AppError> {
        let address = network_of(address);
        let mut known = lock(&self.known);
        if known.len() >= KNOWN_MAX && !known.contains_key(&address) {
            known.retain(|_, entry| {
                entry.making > 0 || !entry.sessions.is_empty() || entry.refilled(now) < BURST
            });
        }
        if known.len() >= KNOWN_MAX && !known.contains_key(&address) {
            return Err(AppError::Busy("too many addresses begin sessions at once".into()));
        }
        let per_second = f64::from(self.limits.sessions_per_minute) / 60.0;
        let entry = known.entry(address).or_insert_with(|| Entry::new(now));
        entry.sessions.retain(|id, made| {
            now.duration_since(*made) < YOUNG || live.iter().any(|session| session.id == *id)
        });
        let most = self.limits.sessions_max as usize;
        let used = entry.sessions.len() + entry.making;
        if most > 0 && used >= most {
            let message =
                format!("your network's address has {used} sessions, the most one may have: end one of them");
            return Err(AppError::TooMany { message, retry_seconds: 30 });
        }
        if per_second > 0.0 && !entry.take(per_second, now) {
            let message = "too many sessions began from your network's address just now".to_owned();
            return Err(AppError::TooMany { message, retry_seconds: (1.0 / per_second).ceil() as u64 });
        }
        entry.making += 1;
        drop(known);
        Ok(Making { known: self.known.clone(), address })
    }

    /// For whoever waited for their turn: counted, but not refused.
    pub(super) fn begin_in_turn(&self, address: IpAddr, now: Instant) -> Making {
        let address = network_of(address);
        lock(&self.known).entry(address).or_insert_with(|| Entry::new(now)).making += 1;
        Making { known: self.known.clone(), address }
    }
}

impl Making {
    /// It is there.
    pub(super) fn made(self, session: &Session) {
        if let Some(entry) = lock(&self.known).get_mut(&self.address) {
            entry.sessions.insert(session.id.clone(), Instant::now());
        }
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if let Some(entry) = lock(&self.known).get_mut(&self.address) {
            entry.making -= 1;
        }
    }
}

impl Entry {
    fn new(now: Instant) -> Entry {
        Entry { beginnings: BURST, filled: now, making: 0, sessions: BTreeMap::new() }
    }

    /// What the bucket holds at least after the time that passed, at one a minute.
    fn refilled(&self, now: Instant) -> f64 {
        self.beginnings + now.duration_since(self.filled).as_secs_f64() / 60.0
    }

    fn take(&mut self, per_second: f64, now: Instant) -> bool {
        let passed = now.duration_since(self.filled).as_secs_f64();
        self.beginnings = (self.beginnings + passed * per_second).min(BURST);
        self.filled = now;
        let has = self.beginnings >= 1.0;
        if has {
            self.beginnings -= 1.0;
        }
        has
    }
}

fn lock(known: &Known) -> MutexGuard<'_, HashMap<IpAddr, Entry>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whoever has one IPv6 address has its whole /64.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn addresses(sessions_max: u32, sessions_per_minute: u32) -> Addresses {
        Addresses::new(AddressLimits { sessions_max, sessions_per_minute })
    }

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn w08_an_address_begins_so_many_at_once_and_then_so_many_a_minute() {
        let addresses = addresses(0, 60);
        let now = Instant::now();
        let begin = |from: u8, now: Instant| addresses.begin(address(from), &[], now).map(drop);
        for _ in 0..20 {
            begin(1, now).unwrap();
        }
        assert!(matches!(begin(1, now), Err(AppError::TooMany { retry_seconds: 1, .. })));
        begin(2, now).unwrap();
        begin(1, now + Duration::from_secs(1)).unwrap();
        assert!(begin(1, now + Duration::from_secs(1)).is_err());
    }

    #[test]
    fn w08_an_address_has_so_many_sessions() {
        let addresses = addresses(2, 0);
        let now = Instant::now();
        let one = addresses.begin(address(1), &[], now).unwrap();
        let _two = addresses.begin(address(1), &[], now).unwrap();
        assert!(addresses.begin(address(1), &[], now).is_err());
        drop(one);
        addresses.begin(address(1), &[], now).unwrap();
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
