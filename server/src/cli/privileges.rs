//! Giving up root, once and for all.

use std::{io, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::{
        prctl,
        signal::Signal,
        stat::{Mode, umask},
    },
    unistd::{Gid, Uid, User, chown, getppid, setgroups, setresgid, setresuid},
};

/// The user that web runs as.
pub(super) fn user(name: &str) -> Result<User> {
    match User::from_name(name).with_context(|| format!("cannot look up user {name}"))? {
        Some(user) if user.uid.is_root() => bail!("web must not run as root: set web_user to another user"),
        Some(user) => Ok(user),
        None => bail!(
            "there is no user {name} for the web server; make it with `useradd --system --user-group {name}`, \
             or name another one with --web-user"
        ),
    }
}

/// Makes a directory that belongs to the user.
pub(super) fn make_dir(dir: &Path, user: &User) -> Result<()> {
    let made = match std::fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    made.and_then(|()| std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o750)))
        .and_then(|()| Ok(chown(dir, Some(user.uid), Some(user.gid))?))
        .with_context(|| format!("cannot make {}", dir.display()))
}

/// Becomes the user, with no way back. The process must be single-threaded:
/// credentials belong to threads.
pub(super) fn drop_to(user: &User) -> Result<()> {
    let become_user = || -> nix::Result<()> {
        setgroups(&[user.gid])?;
        setresgid(user.gid, user.gid, user.gid)?;
        setresuid(user.uid, user.uid, user.uid)?;
        prctl::set_no_new_privs()
    };
    become_user().with_context(|| format!("cannot become user {}", user.name))?;
    umask(Mode::from_bits_truncate(0o027));
    if setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok()
        || setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0)).is_ok()
    {
        bail!("user {} can become root again", user.name);
    }
    Ok(())
}

/// Gets SIGTERM when the parent dies. A change of user forgets it.
pub(super) fn end_with_parent(parent: i32) -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    // It may have died before we asked.
    if getppid().as_raw() != parent {
        bail!("the process that started this one has ended");
    }
    Ok(())
}
