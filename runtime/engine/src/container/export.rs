//! A container's files as a tar on stdout, for `docker export`: the overlay is
//! mounted once more, read-only, out of everybody's sight.

use std::{
    io::{self, Write},
    path::Path,
};

use nix::mount::{MsFlags, mount};

use super::{
    StageError,
    config::{Export, FDS_FROM},
    entry, rootfs, step, tree,
};

/// Writes the tar.
pub(super) fn run(config: &Export) -> Result<u8, StageError> {
    entry::enter_cgroups(FDS_FROM, config.cgroup_tasks)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(step("making mounts private"))?;
    let upper = &config.root.upper;
    let mut lower = vec![format!("{upper}/diff")];
    lower.extend(config.root.lower.iter().rev().cloned());
    let root = rootfs::overlay_readonly(&format!("{upper}/merged"), &config.root.layers, &lower)?;
    rootfs::pivot(&root)?;
    let mut out = io::BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let mut tar = tree::Tar::new(&mut out);
    tar.add_below(Path::new("/")).map_err(step("writing the tar"))?;
    tar.finish().and_then(|()| out.flush()).map_err(step("ending the tar"))?;
    Ok(0)
}
