//! What Drydock's processes say to each other: plain types and their versions.
//!
//! | module | between | carried by |
//! | --- | --- | --- |
//! | [`host`] | web or CLI → host | HTTP and JSON on a unix socket |
//! | [`gateway`] | host ↔ web | JSON lines with descriptors on a unix socket |
//! | [`agent`] | web, CLI or host → a node's PID 1 | frames on the node's agent socket |
//! | [`terminal`] | PID 1 → web → page | the same frames; one binary WebSocket message each |
//! | [`keeper`] | engine ↔ PID 1 | JSON with descriptors on a socket pair |
//! | [`cgroup`] | engine → PID 1 → host | frames on an agent connection, with descriptors back |
//! | [`event`] | node → whoever watches | JSON |
//!
//! Nothing here does I/O, so the crate also compiles for the page.

pub mod agent;
pub mod cgroup;
pub mod event;
pub mod frame;
pub mod gateway;
pub mod host;
pub mod keeper;
pub mod node;
pub mod terminal;

use serde::{Deserialize, Serialize};

/// The protocol version this build speaks.
pub const VERSION: u32 = 1;

/// The lowest version this build still understands.
pub const LOWEST: u32 = 1;

/// The first message on every connection, in both directions.
///
/// A running node keeps the binary it was started from, so the two ends may
/// come from different releases. Each says what it speaks and the oldest it
/// understands; they go on with the smaller `version` if both can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version the sender speaks.
    pub version: u32,
    /// The lowest version the sender understands.
    pub lowest: u32,
}

impl Hello {
    /// This build's hello.
    pub const OURS: Hello = Hello { version: VERSION, lowest: LOWEST };

    /// The version both ends speak, or `None` when they have none in common.
    pub fn agree(self, theirs: Hello) -> Option<u32> {
        let version = self.version.min(theirs.version);
        (version >= self.lowest && version >= theirs.lowest).then_some(version)
    }
}

#[cfg(test)]
mod tests {
    use super::Hello;

    #[test]
    fn ends_agree_on_the_smaller_version_both_understand() {
        let old = Hello { version: 1, lowest: 1 };
        let new = Hello { version: 3, lowest: 1 };
        let strict = Hello { version: 3, lowest: 2 };
        assert_eq!(old.agree(new), Some(1));
        assert_eq!(new.agree(strict), Some(3));
        assert_eq!(old.agree(strict), None);
    }
}
