//! A container's limits.

use drydock_protocol::cgroup::Limits;

use super::{config::HostConfig, record::Record};
use crate::{engine::Engine, error::ApiError};

const MEMORY_MIN: i64 = 6 << 20;

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

/// Refuses limits that make no sense, and fills in what follows from others.
pub(super) fn normalise(engine: &Engine, host: &mut HostConfig) -> Result<(), ApiError> {
    let refuse = |text: &str| Err(ApiError::Invalid(text.to_owned()));
    host.memory_swappiness.take_if(|value| *value == -1);
    host.pids_limit.take_if(|value| *value <= 0);
    if host.memory != 0 && host.memory < MEMORY_MIN {
        return refuse("Minimum memory limit allowed is 6MB");
    }
    if host.memory_swap > 0 && host.memory == 0 {
        return refuse("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if host.memory_swap > 0 && host.memory_swap < host.memory {
        return refuse("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if host.memory > 0 && host.memory_swap == 0 {
        host.memory_swap = host.memory.saturating_mul(2);
    }
    let cpus = crate::system::info::cpus(engine) as i64;
    if host.nano_cpus < 0 || host.nano_cpus > cpus * 1_000_000_000 {
        return Err(ApiError::Invalid(format!(
            "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )));
    }
    Ok(())
}
