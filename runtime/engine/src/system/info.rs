//! `GET /info`

use std::fs;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{
    clock,
    containers::record::Status,
    engine::{Engine, ROOT, Shared, VERSION},
};

/// The kernel's release.
pub(crate) fn kernel() -> String {
    nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}

fn operating_system() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux");
    name.trim_matches('"').to_owned()
}

/// How many processors the node has: the machine's, as far as its limit goes.
pub(crate) fn cpus(engine: &Engine) -> usize {
    // SAFETY: sysconf takes a number and tells one. (What Rust's library tells
    // is bound by our own cgroup, not by the containers'.)
    let machine = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    let machine = usize::try_from(machine).unwrap_or(1);
    let limit = usize::try_from(engine.spec.limits.cpu_milli.div_ceil(1000)).unwrap_or(usize::MAX);
    machine.min(limit).max(1)
}

/// `GET /info`. The CLI reads it into fields, so their order is free.
pub(crate) async fn info(State(engine): State<Shared>) -> Json<Value> {
    let containers = &engine.containers;
    let limits = &engine.spec.limits;
    let cpus = cpus(&engine);
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let cgroups = if engine.cgroups.is_v2() { "2" } else { "1" };
    Json(json!({
        "ID": engine.id,
        "Containers": containers.count(|_| true),
        "ContainersRunning": containers.count(|status| matches!(status, Status::Running | Status::Restarting)),
        "ContainersPaused": containers.count(|status| status == Status::Paused),
        "ContainersStopped": containers.count(|status| !status.is_active()),
        "Images": engine.images.count(),
        "Driver": "overlay2",
        "DriverStatus": [
            ["Backing Filesystem", "extfs"], ["Supports d_type", "true"], ["Using metacopy", "false"],
            ["Native Overlay Diff", "false"], ["userxattr", "true"],
        ],
        "Plugins": {
            "Volume": ["local"], "Network": ["bridge", "host", "null"], "Authorization": null,
            "Log": ["json-file"],
        },
        "MemoryLimit": true, "SwapLimit": true, "CpuCfsPeriod": true, "CpuCfsQuota": true, "CPUShares": true,
        "CPUSet": false, "PidsLimit": true, "IPv4Forwarding": true, "BridgeNfIptables": true,
        "BridgeNfIp6tables": true, "Debug": false, "NFd": open, "OomKillDisable": false,
        "NGoroutines": 1,
        "SystemTime": clock::now(),
        "LoggingDriver": "json-file", "CgroupDriver": "cgroupfs", "CgroupVersion": cgroups,
        "NEventsListener": engine.events.listeners(),
        "KernelVersion": kernel(),
        "OperatingSystem": operating_system(),
        "OSVersion": "", "OSType": "linux", "Architecture": "x86_64",
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "IndexConfigs": {"docker.io": {"Mirrors": [], "Name": "docker.io", "Official": true, "Secure": true}},
            "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"], "Mirrors": null,
        },
        "NCPU": cpus,
        "MemTotal": limits.memory_mb << 20,
        "GenericResources": null,
        "DockerRootDir": ROOT,
        "HttpProxy": "", "HttpsProxy": "", "NoProxy": "",
        "Name": engine.spec.name,
        "Labels": [],
        "ExperimentalBuild": false,
        "ServerVersion": VERSION,
        "Runtimes": {"runc": {"path": "runc"}},
        "DefaultRuntime": "runc",
        "Swarm": {
            "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false, "Error": "",
            "RemoteManagers": null,
        },
        "LiveRestoreEnabled": true,
        "Isolation": "", "InitBinary": "",
        "ContainerdCommit": {"ID": ""}, "RuncCommit": {"ID": ""}, "InitCommit": {"ID": ""},
        "SecurityOptions": ["name=seccomp,profile=builtin"],
        "FirewallBackend": {"Driver": "nftables"},
        "CDISpecDirs": [],
        "Warnings": null,
    }))
}
