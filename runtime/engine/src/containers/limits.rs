//! A container's limits.

use drydock_protocol::cgroup::Limits;

use super::record::Record;

/// The container's limits, in the form of host's requests.
pub(super) fn limits(record: &Record) -> Limits {
    let host = &record.host_config;
    let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let cpu_milli = match (positive(host.nano_cpus), positive(host.cpu_quota)) {
        (Some(nano), _) => Some((nano / 1_000_000).max(1)),
        (None, Some(quota)) => Some((quota * 1000 / positive(host.cpu_period).unwrap_or(100_000)).max(1)),
        (None, None) => None,
    };
    Limits {
        memory: positive(host.memory),
        memory_swap: positive(host.memory_swap),
        pids: host.pids_limit.and_then(positive),
        cpu_milli,
        cpu_shares: positive(host.cpu_shares),
    }
}
