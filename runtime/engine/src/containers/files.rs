//! A container's `hostname`, `hosts` and `resolv.conf`.

use std::fs;

use super::{directory, record::Record};
use crate::{
    engine::Engine,
    error::{ApiError, failed},
    networks::{self, Link, Sandbox},
};

/// Writes `hostname`, `hosts` and `resolv.conf`.
pub(super) fn write_files(
    engine: &Engine,
    record: &Record,
    sandbox: Option<&Sandbox>,
    links: &[Link],
) -> Result<(), ApiError> {
    // They are the other's whose network it shares.
    if networks::joined(record.network()).is_some() {
        return Ok(());
    }
    let place = directory(&record.id);
    let write = |name: &str, text: &str| {
        fs::write(place.join(name), text).map_err(failed(format!("writing the container's {name} failed")))
    };
    write("hostname", &format!("{}\n", record.config.hostname))?;
    if record.network() == "host" {
        for name in ["hosts", "resolv.conf"] {
            let text = fs::read_to_string(format!("/etc/{name}"))
                .map_err(failed(format!("reading /etc/{name} failed")))?;
            write(name, &text)?;
        }
        return Ok(());
    }
    write("hosts", &networks::hosts(record, sandbox, links))?;
    write("resolv.conf", &networks::resolv_conf(engine, record, engine.networks.has_names(record)))
}
