//! What the tests of the whole product share: an instance that is started for
//! one test, a session in it, and a small HTTP client that sends just what it
//! is told to.
//!
//! They run in the rig (`tests/rig`), as root, after `./dev` has built
//! everything; it passes the paths in the environment variables that
//! [`setting`] asks for.

pub mod agree;
pub mod attack;
pub mod fault;
pub mod fuse;
pub mod http;
pub mod instance;
pub mod random;
pub mod viewer;
pub mod websocket;
pub mod world;

use std::path::PathBuf;

/// A path that `./dev test` passes in the environment.
///
/// # Panics
/// When it is missing: these tests never skip.
pub fn setting(name: &str) -> PathBuf {
    match std::env::var_os(name) {
        Some(value) => value.into(),
        None => panic!("{name} is not set: run these tests with ./dev test product"),
    }
}
