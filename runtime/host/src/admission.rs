//! Whether there is room for one more node: what all nodes may use at most,
//! against what this machine has.
//!
//! Limits are promises, and most nodes idle: memory, disk and CPU are promised
//! several times over, by a factor. Process ids are not, since a fork bomb in
//! each node at once must leave some for everybody else. What is really free
//! has a floor as well.

use std::{fs, io, path::Path};

use drydock_protocol::host::{Full, Limits, Resource};

use crate::node;

/// Process ids that are left to everything that is no node.
pub const PIDS_RESERVE: u64 = 4096;

/// What an idle node with a shell really takes, in KiB: its processes' share of
/// memory, and what the kernel keeps for it. Set from BENCH.md.
pub const IDLE_NODE_KIB: u64 = 5 * 1024;

/// How often over what the machine has may be promised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Memory, beyond the reserve.
    pub memory_factor: f64,
    /// Disk space, beyond the reserve.
    pub disk_factor: f64,
    /// CPU time.
    pub cpu_factor: f64,
    /// Memory in MiB that nodes leave to the machine; by default an eighth of
    /// it, 1 GiB at most.
    pub memory_reserve_mb: Option<u64>,
    /// Disk space in MiB that nodes leave; by default a twentieth, 2 GiB at
    /// most.
    pub disk_reserve_mb: Option<u64>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            memory_factor: 20.0,
            disk_factor: 20.0,
            cpu_factor: 500.0,
            memory_reserve_mb: None,
            disk_reserve_mb: None,
        }
    }
}

/// What this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Memory, in MiB.
    pub memory_mb: u64,
    /// Memory that could be had without swapping, in MiB.
    pub memory_available_mb: u64,
    /// The filesystem of the state directory, in MiB.
    pub disk_mb: u64,
    /// What is free of it for everybody.
    pub disk_free_mb: u64,
    /// What nodes' disks hold of it.
    pub disk_held_mb: u64,
    /// The most processes the kernel lets live at once.
    pub pids: u64,
    /// CPU time, in thousandths of a core.
    pub cpu_milli: u64,
}

impl Machine {
    /// Looks at this machine. `state_dir` need not exist yet.
    pub fn look(state_dir: &Path) -> io::Result<Machine> {
        let text = fs::read_to_string("/proc/meminfo")?;
        let memory = |key| meminfo(&text, key).ok_or_else(|| missing("/proc/meminfo", key));
        let number = |path: &str| {
            let text = fs::read_to_string(path)?;
            text.trim().parse::<u64>().map_err(|_| missing(path, "number"))
        };
        let there = state_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let disk = nix::sys::statvfs::statvfs(there)?;
        let mib = |blocks: u64| blocks.saturating_mul(disk.fragment_size()) >> 20;
        let cores = std::thread::available_parallelism()?.get() as u64;
        Ok(Machine {
            memory_mb: memory("MemTotal")?,
            memory_available_mb: memory("MemAvailable")?,
            disk_mb: mib(disk.blocks()),
            disk_free_mb: mib(disk.blocks_available()),
            disk_held_mb: held(&state_dir.join("disks"))?,
            pids: number("/proc/sys/kernel/pid_max")?.min(number("/proc/sys/kernel/threads-max")?),
            cpu_milli: cores * 1000,
        })
    }

    /// Memory that nodes leave, in MiB.
    pub fn memory_reserve_mb(&self, policy: &Policy) -> u64 {
        policy.memory_reserve_mb.unwrap_or((self.memory_mb / 8).min(1024))
    }

    /// Disk space that nodes leave, in MiB.
    pub fn disk_reserve_mb(&self, policy: &Policy) -> u64 {
        policy.disk_reserve_mb.unwrap_or((self.disk_mb / 20).min(2048))
    }

    /// What may be promised to all nodes together.
    pub fn room(&self, policy: &Policy) -> Load {
        let times = |what: u64, factor: f64| (what as f64 * factor) as u64;
        let memory = self.memory_mb.saturating_sub(self.memory_reserve_mb(policy));
        let disk = (self.disk_free_mb + self.disk_held_mb).saturating_sub(self.disk_reserve_mb(policy));
        Load {
            memory_mb: times(memory, policy.memory_factor),
            disk_mb: times(disk, policy.disk_factor),
            // Under it, not up to it.
            pids: self.pids.saturating_sub(PIDS_RESERVE + 1),
            cpu_milli: times(self.cpu_milli, policy.cpu_factor),
        }
    }

    /// Whether `asked` fits beside `taken`; if not, the first resource that
    /// does not suffice.
    pub fn admit(&self, policy: &Policy, taken: Load, asked: Load) -> Result<(), Full> {
        let room = self.room(policy);
        let full = |resource, most, used, asked| Full { resource, most, used, asked, soonest_deadline: None };
        for (resource, of) in RESOURCES {
            let (most, used, asked) = (of(&room), of(&taken), of(&asked));
            if used.saturating_add(asked) > most {
                return Err(full(resource, most, used, asked));
            }
        }
        let spare = self.memory_available_mb.saturating_sub(self.memory_reserve_mb(policy));
        if spare == 0 {
            return Err(full(Resource::Memory, 0, 0, asked.memory_mb));
        }
        if self.disk_free_mb <= self.disk_reserve_mb(policy) {
            return Err(full(Resource::Disk, 0, 0, asked.disk_mb));
        }
        Ok(())
    }

    /// How many nodes of this size each resource has room for.
    pub fn fits(&self, policy: &Policy, one: Load) -> Vec<(Resource, u64)> {
        let room = self.room(policy);
        RESOURCES.iter().map(|(resource, of)| (*resource, of(&room) / of(&one).max(1))).collect()
    }

    /// How many idle nodes really fit into memory.
    pub fn idle_nodes(&self, policy: &Policy) -> u64 {
        self.memory_mb.saturating_sub(self.memory_reserve_mb(policy)) * 1024 / IDLE_NODE_KIB
    }
}

/// What nodes may use at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Memory, in MiB.
    pub memory_mb: u64,
    /// Disk space, in MiB.
    pub disk_mb: u64,
    /// Processes.
    pub pids: u64,
    /// CPU time, in thousandths of a core.
    pub cpu_milli: u64,
}

type Of = fn(&Load) -> u64;

const RESOURCES: [(Resource, Of); 4] = [
    (Resource::Memory, |load| load.memory_mb),
    (Resource::Disk, |load| load.disk_mb),
    (Resource::Processes, |load| load.pids),
    (Resource::Cpu, |load| load.cpu_milli),
];

impl Load {
    /// One node with these limits, and what its first process and engine may
    /// use beside them.
    pub fn of_node(limits: &Limits) -> Load {
        let reserve = &node::RESERVE;
        Load {
            memory_mb: limits.memory_mb + reserve.memory.unwrap_or(0).div_ceil(1 << 20),
            disk_mb: limits.disk_mb,
            pids: limits.pids + reserve.pids.unwrap_or(0),
            cpu_milli: limits.cpu_milli + reserve.cpu_milli.unwrap_or(0),
        }
    }

    /// So many times.
    pub fn times(self, count: usize) -> Load {
        let count = count as u64;
        Load {
            memory_mb: self.memory_mb.saturating_mul(count),
            disk_mb: self.disk_mb.saturating_mul(count),
            pids: self.pids.saturating_mul(count),
            cpu_milli: self.cpu_milli.saturating_mul(count),
        }
    }

    /// Both.
    pub fn and(self, other: Load) -> Load {
        Load {
            memory_mb: self.memory_mb.saturating_add(other.memory_mb),
            disk_mb: self.disk_mb.saturating_add(other.disk_mb),
            pids: self.pids.saturating_add(other.pids),
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
        }
    }
}

/// What to say to whoever asked in vain.
pub(crate) fn words(full: &Full) -> String {
    let Full { most, used, asked, .. } = full;
    let promised = |what: &str, unit: &str| {
        format!(
            "this server's {what} in use: {used} of {most} {unit} are promised, and {asked} were asked for"
        )
    };
    match full.resource {
        Resource::Sessions => format!("all {most} sessions of this server are in use"),
        Resource::Nodes if *used >= *most => format!("all {most} nodes of this server are in use"),
        Resource::Nodes => {
            format!("{used} of the {most} nodes of this server are in use, and {asked} were asked for")
        }
        Resource::Memory if *most == 0 => "this server has hardly any memory left".into(),
        Resource::Disk if *most == 0 => "this server's disk is nearly full".into(),
        Resource::Memory => promised("memory is", "MiB"),
        Resource::Disk => promised("disk is", "MiB"),
        Resource::Processes => promised("process ids are", "ids"),
        Resource::Cpu => promised("CPU time is", "thousandths of a core"),
        Resource::Ids => "all user id ranges of this server are in use".into(),
    }
}

/// A value of `/proc/meminfo`, in MiB: proc_meminfo(5).
fn meminfo(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

/// What the files of a directory take on the disk, in MiB: they are sparse.
fn held(directory: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut blocks = 0;
    for entry in entries {
        blocks += match entry?.metadata() {
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            metadata => metadata?.blocks(),
        };
    }
    Ok((blocks * 512) >> 20)
}

fn missing(path: &str, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{path} has no {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine {
        memory_mb: 24_000,
        memory_available_mb: 20_000,
        disk_mb: 200_000,
        disk_free_mb: 50_000,
        disk_held_mb: 2048,
        pids: 4_194_304,
        cpu_milli: 2000,
    };

    fn one() -> Load {
        Load::of_node(&Limits::default())
    }

    #[test]
    fn three_hundred_nodes_fit_by_default_and_a_thousand_by_one_setting() {
        let policy = Policy::default();
        MACHINE.admit(&policy, one().times(299), one()).unwrap();
        let more = Policy { memory_factor: 60.0, cpu_factor: 2000.0, disk_factor: 60.0, ..policy };
        MACHINE.admit(&more, one().times(999), one()).unwrap();
        assert!(MACHINE.idle_nodes(&policy) > 1000);
    }

    #[test]
    fn r02_process_ids_are_never_promised_twice() {
        let small = Machine { pids: 32_768, ..MACHINE };
        let policy = Policy { memory_factor: 1e6, disk_factor: 1e6, cpu_factor: 1e6, ..Policy::default() };
        let mut taken = Load::default();
        let full = loop {
            match small.admit(&policy, taken, one()) {
                Ok(()) => taken = taken.and(one()),
                Err(full) => break full,
            }
        };
        assert_eq!(full.resource, Resource::Processes);
        assert!(taken.pids < 32_768 - PIDS_RESERVE, "{taken:?}");
        assert!(taken.pids + one().pids >= 32_768 - PIDS_RESERVE, "{taken:?}");
    }

    #[test]
    fn what_is_really_free_has_a_floor() {
        let policy = Policy::default();
        let refused = |machine: Machine| machine.admit(&policy, Load::default(), one()).unwrap_err();
        let full = refused(Machine { memory_available_mb: 1024, ..MACHINE });
        assert_eq!(
            (full.resource, words(&full).as_str()),
            (Resource::Memory, "this server has hardly any memory left")
        );
        let full = refused(Machine { disk_free_mb: 2048, disk_held_mb: 100_000, ..MACHINE });
        assert_eq!(
            (full.resource, words(&full).as_str()),
            (Resource::Disk, "this server's disk is nearly full")
        );
    }

    #[test]
    fn each_resource_is_refused_by_its_name() {
        let policy = Policy::default();
        let nodes = |factor: fn(&mut Policy)| {
            let mut policy = policy;
            factor(&mut policy);
            MACHINE.admit(&policy, Load::default(), one()).unwrap_err().resource
        };
        assert_eq!(nodes(|policy| policy.memory_factor = 0.01), Resource::Memory);
        assert_eq!(nodes(|policy| policy.disk_factor = 0.01), Resource::Disk);
        assert_eq!(nodes(|policy| policy.cpu_factor = 0.5), Resource::Cpu);
        let fits = Machine { pids: 32_768, ..MACHINE }.fits(&policy, one());
        let (resource, count) = fits.iter().min_by_key(|(_, count)| *count).unwrap();
        assert_eq!((*resource, *count), (Resource::Processes, 28_671 / one().pids));
    }

    #[test]
    fn a_small_machine_keeps_a_small_reserve() {
        let small = Machine { memory_mb: 1024, disk_mb: 4096, ..MACHINE };
        let policy = Policy::default();
        assert_eq!((small.memory_reserve_mb(&policy), small.disk_reserve_mb(&policy)), (128, 204));
        assert_eq!((MACHINE.memory_reserve_mb(&policy), MACHINE.disk_reserve_mb(&policy)), (1024, 2048));
    }

    #[test]
    fn meminfo_is_read_as_the_kernel_writes_it() {
        let text = "MemTotal:       24576000 kB\nMemFree:  1 kB\nMemAvailable:   20480000 kB\n";
        assert_eq!(meminfo(text, "MemTotal"), Some(24_000));
        assert_eq!(meminfo(text, "MemAvailable"), Some(20_000));
        assert_eq!(meminfo(text, "Mem"), None);
        assert!(Machine::look(Path::new("/nonexistent/state")).unwrap().memory_mb > 0);
    }
}
