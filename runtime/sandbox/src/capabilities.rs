//! Capabilities: which ones a learner and a container have, and how a process
//! gives up the rest.

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};
use thiserror::Error;

/// A capability could not be set or is not known.
#[derive(Debug, Error)]
pub enum CapabilityError {
    /// The kernel refused.
    #[error("changing capabilities failed: {0}")]
    Refused(#[from] CapsError),
    /// The bounding set could not be changed.
    #[error("dropping capability {0} from the bounding set failed: {1}")]
    Bounding(u8, std::io::Error),
    /// A name that is no capability's.
    #[error("unknown capability: \"{0}\"")]
    Unknown(String),
}

/// Docker's default capabilities of a container (ring 3).
pub const DOCKER_DEFAULT: [Capability; 14] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FSETID,
    Capability::CAP_FOWNER,
    Capability::CAP_MKNOD,
    Capability::CAP_NET_RAW,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETPCAP,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_KILL,
    Capability::CAP_AUDIT_WRITE,
];

/// A learner's capabilities in a node (ring 2), and a privileged container's:
/// Docker's and those for mounts and namespaces, networks, and tracing.
pub const NODE: [Capability; 17] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FSETID,
    Capability::CAP_FOWNER,
    Capability::CAP_MKNOD,
    Capability::CAP_NET_RAW,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETPCAP,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_KILL,
    Capability::CAP_AUDIT_WRITE,
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_SYS_PTRACE,
];

/// The capability of this name, as Docker takes it: in any case, with or
/// without `CAP_`.
pub fn parse(name: &str) -> Result<Capability, CapabilityError> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    full.parse().map_err(|_| CapabilityError::Unknown(name.to_owned()))
}

/// Drops all capabilities but these from the bounding set, so that no program
/// started from here on can gain them.
pub fn drop_bounding(keep: &[Capability]) -> Result<(), CapabilityError> {
    // By number, since a kernel may know capabilities that this code doesn't.
    for number in 0..64u8 {
        if keep.iter().any(|capability| capability.index() == number) {
            continue;
        }
        // SAFETY: prctl with these options takes numbers only.
        let held = unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(number), 0, 0, 0) };
        if held != 1 {
            continue;
        }
        // SAFETY: as above.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) } != 0 {
            return Err(CapabilityError::Bounding(number, std::io::Error::last_os_error()));
        }
    }
    Ok(())
}

/// Gives the calling thread exactly these capabilities, as far as it has them:
/// permitted and effective, nothing inheritable or ambient.
pub fn set(keep: &[Capability]) -> Result<(), CapabilityError> {
    caps::clear(None, CapSet::Ambient)?;
    let permitted = caps::read(None, CapSet::Permitted)?;
    let wanted: CapsHashSet =
        keep.iter().copied().filter(|capability| permitted.contains(capability)).collect();
    caps::set(None, CapSet::Effective, &wanted)?;
    caps::set(None, CapSet::Permitted, &wanted)?;
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_dockers_and_three_more() {
        assert!(DOCKER_DEFAULT.iter().all(|capability| NODE.contains(capability)));
        assert_eq!(NODE.len(), DOCKER_DEFAULT.len() + 3);
    }

    #[test]
    fn names_are_taken_as_docker_takes_them() {
        assert_eq!(parse("net_admin").unwrap(), Capability::CAP_NET_ADMIN);
        assert_eq!(parse("CAP_SYS_PTRACE").unwrap(), Capability::CAP_SYS_PTRACE);
        assert!(parse("nosuch").is_err());
    }
}
