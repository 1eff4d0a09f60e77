//! Which control group hierarchies this machine has, and where.

use std::path::{Path, PathBuf};

use super::CgroupError;

/// What kernels and distributions come with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Controllers on v1 hierarchies, no v2.
    V1,
    /// Controllers on v1 hierarchies, and a v2 hierarchy beside them.
    Hybrid,
    /// One v2 hierarchy with all controllers.
    V2,
}

/// A v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its controllers, such as `cpu,cpuacct`, or `name=systemd`.
    pub controllers: String,
    /// Where it is mounted.
    pub path: PathBuf,
}

impl Hierarchy {
    /// Whether it carries this controller.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.split(',').any(|name| name == controller)
    }

    /// Whether it only groups processes.
    pub fn is_named(&self) -> bool {
        self.controllers.starts_with("name=")
    }
}

/// The hierarchies of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// The v1 hierarchies.
    pub v1: Vec<Hierarchy>,
    /// Where the v2 hierarchy is mounted.
    pub v2: Option<PathBuf>,
    /// Whether a control group namespace bounds the v2 groups that a process may
    /// move others between: mount option `nsdelegate`.
    pub namespaces_delegate: bool,
}

/// Controllers of v1; other words in a mount's options are plain options.
const CONTROLLERS: [&str; 13] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "net_cls",
    "net_prio",
    "perf_event",
    "hugetlb",
    "rdma",
];

impl Layout {
    /// Reads it from `/proc/self/mountinfo`.
    pub fn detect() -> Result<Layout, CgroupError> {
        let path = Path::new("/proc/self/mountinfo");
        let text = std::fs::read_to_string(path).map_err(|source| CgroupError::File {
            what: "read",
            path: path.to_path_buf(),
            source,
        })?;
        let layout = Layout::parse(&text);
        if layout.v1.is_empty() && layout.v2.is_none() {
            return Err(CgroupError::NotMounted);
        }
        Ok(layout)
    }

    /// Finds the first whole mount of each hierarchy: proc_pid_mountinfo(5).
    fn parse(mountinfo: &str) -> Layout {
        let mut layout = Layout::default();
        for line in mountinfo.lines() {
            let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
            let mut mount = mount.split(' ').skip(3);
            let (Some(root), Some(target)) = (mount.next(), mount.next()) else { continue };
            let mut filesystem = filesystem.split(' ');
            let (kind, options) = (filesystem.next(), filesystem.nth(1).unwrap_or_default());
            if root != "/" {
                continue;
            }
            match kind {
                Some("cgroup2") if layout.v2.is_none() => {
                    layout.v2 = Some(PathBuf::from(target));
                    layout.namespaces_delegate = options.split(',').any(|option| option == "nsdelegate");
                }
                Some("cgroup") => layout.add_v1(options, target),
                _ => {}
            }
        }
        layout
    }

    fn add_v1(&mut self, options: &str, target: &str) {
        let known = |word: &&str| CONTROLLERS.contains(word) || word.starts_with("name=");
        let controllers = options.split(',').filter(known).collect::<Vec<_>>().join(",");
        let new = !controllers.is_empty() && self.v1.iter().all(|other| other.controllers != controllers);
        if new {
            self.v1.push(Hierarchy { controllers, path: PathBuf::from(target) });
        }
    }

    /// This layout but for the v1 hierarchy that has only this controller: the
    /// processes of groups below stay there where they are.
    pub fn without(&self, controller: &str) -> Layout {
        let v1 = self.v1.iter().filter(|hierarchy| hierarchy.controllers != controller);
        Layout { v1: v1.cloned().collect(), ..self.clone() }
    }

    /// Whether a group can bound how fast a block device is used.
    pub fn limits_devices(&self) -> bool {
        let file = |path: &Path| path.join("blkio.throttle.write_bps_device").exists();
        match (self.kind(), &self.v2) {
            (Kind::V2, Some(root)) => std::fs::read_to_string(root.join("cgroup.controllers"))
                .is_ok_and(|names| names.split_whitespace().any(|name| name == "io")),
            _ => self.v1.iter().any(|hierarchy| hierarchy.has("blkio") && file(&hierarchy.path)),
        }
    }

    /// Which of the three it is.
    pub fn kind(&self) -> Kind {
        let controllers = self.v1.iter().any(|hierarchy| !hierarchy.is_named());
        match (controllers, &self.v2) {
            (false, Some(_)) => Kind::V2,
            (_, Some(_)) => Kind::Hybrid,
            (_, None) => Kind::V1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
34 31 0:32 /docker/x /mnt/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn a_hybrid_machine_has_both() {
        let layout = Layout::parse(HYBRID);
        let names: Vec<_> = layout.v1.iter().map(|hierarchy| hierarchy.controllers.as_str()).collect();
        assert_eq!(names, ["cpu,cpuacct", "memory", "name=systemd"]);
        assert_eq!(layout.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(layout.kind(), Kind::Hybrid);
        assert!(layout.namespaces_delegate);
        assert!(layout.v1[0].has("cpuacct") && !layout.v1[0].has("cpuset"));
        let names: Vec<_> = layout.without("memory").v1.into_iter().map(|one| one.controllers).collect();
        assert_eq!(names, ["cpu,cpuacct", "name=systemd"]);
        assert_eq!(layout.without("cpuacct"), layout, "a hierarchy with more controllers stays");
    }

    #[test]
    fn one_unified_hierarchy_is_v2_even_beside_a_named_one() {
        let line = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(Layout::parse(line).kind(), Kind::V2);
        let named = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";
        assert_eq!(Layout::parse(&format!("{line}{named}")).kind(), Kind::V2);
    }

    #[test]
    fn without_v2_it_is_v1() {
        let line = "33 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";
        assert_eq!(Layout::parse(line).kind(), Kind::V1);
    }
}
