//! `GET /info`

use std::fs;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{
    clock,
    containers::record::Status,
    engine::{ROOT, Shared, VERSION},
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

/// `GET /info`. The CLI reads it into fields, so their order is free.
pub(crate) async fn info(State(engine): State<Shared>) -> Json<Value> {
    let containers = &engine.containers;
    let limits = &engine.spec.limits;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let cpus = cpus.min(usize::try_from(limits.cpu_milli.div_ceil(1000)).unwrap_or(usize::MAX)).max(1);
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let cgroups = if engine.cgroups.is_v2() { "2" } else { "1" };
    Json(json!({
        "ID": engine.id,
        "Containers": containers.count(|_| true),
        "ContainersRunning": containers.count(|status| status == Status::Running),
        "ContainersPaused": containers.count(|status| status == Status::Paused),
        "ContainersStopped": containers.count(|status| !status.is_up()),
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
