//! What the node's programs use of CPU and processes, told while somebody
//! watches: control group `inner` in the kernel's own files.

use std::{os::fd::OwnedFd, rc::Rc, time::Duration};

use drydock_protocol::event::What;
use rustix::fs::{CWD, Mode, OFlags};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    init::Node,
    memory::{keyed, read},
};

/// How often it is told.
const EVERY: Duration = Duration::from_secs(1);

/// The groups, held since before any learner's program ran.
#[derive(Debug)]
pub(crate) struct Usage {
    cpu: Option<OwnedFd>,
    pids: Option<OwnedFd>,
    unified: bool,
}

impl Usage {
    /// Finds the groups; what is not found is not told.
    pub(crate) fn open() -> Usage {
        let open = |path| {
            let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()
        };
        match (open("/sys/fs/cgroup/cpuacct/inner"), open("/sys/fs/cgroup/pids/inner")) {
            (None, None) => {
                Usage { cpu: open("/sys/fs/cgroup/inner"), pids: open("/sys/fs/cgroup/inner"), unified: true }
            }
            (cpu, pids) => Usage { cpu, pids, unified: false },
        }
    }

    /// CPU time in microseconds.
    fn cpu_us(&self) -> Option<u64> {
        let group = self.cpu.as_ref()?;
        if self.unified {
            return keyed(&read(group, "cpu.stat")?, "usage_usec");
        }
        Some(read(group, "cpuacct.usage")?.trim().parse::<u64>().ok()? / 1000)
    }

    fn tasks(&self) -> Option<u64> {
        read(self.pids.as_ref()?, "pids.current")?.trim().parse().ok()
    }
}

/// Tells it once a second for as long as somebody watches.
pub(crate) async fn tell(node: Rc<Node>) {
    let mut watchers = node.events.watchers();
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The sender lives in `node`.
    while watchers.wait_for(|count| *count > 0).await.is_ok() {
        tick.tick().await;
        node.events.push(What::Usage {
            memory: node.memory.used(),
            memory_limit: node.memory.limit,
            cpu_us: node.usage.cpu_us(),
            tasks: node.usage.tasks(),
        });
    }
}
