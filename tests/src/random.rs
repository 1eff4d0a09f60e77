//! Random choices that can be made again: a test prints its seed.

use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64.
pub struct Random(u64);

impl Random {
    /// With the seed that `DRYDOCK_SEED` names, or a new one, which is printed.
    pub fn new() -> Random {
        let seed = match std::env::var("DRYDOCK_SEED") {
            Ok(seed) => seed.parse().expect("DRYDOCK_SEED is a number"),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64),
        };
        eprintln!("the same choices again: DRYDOCK_SEED={seed}");
        Random(seed)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// One of these.
    pub fn choose<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

impl Default for Random {
    fn default() -> Random {
        Random::new()
    }
}

/// How often something is done: `usual` in `./dev test`, `long` in the long
/// suite, or as often as `DRYDOCK_CYCLES` says.
pub fn cycles(usual: u64, long: u64) -> u64 {
    match std::env::var("DRYDOCK_CYCLES") {
        Ok(cycles) => cycles.parse().expect("DRYDOCK_CYCLES is a number"),
        Err(_) if is_long() => long,
        Err(_) => usual,
    }
}

/// Whether this is the long suite.
pub fn is_long() -> bool {
    std::env::var_os("DRYDOCK_LONG").is_some()
}
