//! System call filters: what a learner (ring 2) and a program in a container
//! (ring 3) may ask of the kernel.
//!
//! Ring 3 is Docker's default list. Ring 2 is that list and what the labs
//! teach: mounts and namespaces. What is kernel-wide (modules, kexec, bpf,
//! perf, swap, clocks, keyrings, io_uring) is in neither, whatever
//! capabilities a container is given. Filters stack: the strictest wins.

mod program;
mod table;

use caps::Capability;
use program::{Check, Verdict, Verdicts};
use thiserror::Error;

pub use program::BpfProgram;

/// A filter could not be installed.
#[derive(Debug, Error)]
#[error("installing a seccomp filter of {length} instructions failed: {source}")]
pub struct SeccompError {
    length: usize,
    source: std::io::Error,
}

const FAMILIES: &[u32] =
    &[libc::AF_UNIX as u32, libc::AF_INET as u32, libc::AF_INET6 as u32, libc::AF_PACKET as u32];

/// ROUTE, SOCK_DIAG (for `ss`), KOBJECT_UEVENT and GENERIC.
const NETLINK: &[u32] = &[
    libc::NETLINK_ROUTE as u32,
    libc::NETLINK_SOCK_DIAG as u32,
    libc::NETLINK_KOBJECT_UEVENT as u32,
    libc::NETLINK_GENERIC as u32,
];

const NETLINK_AND_NETFILTER: &[u32] = &[
    libc::NETLINK_ROUTE as u32,
    libc::NETLINK_SOCK_DIAG as u32,
    libc::NETLINK_KOBJECT_UEVENT as u32,
    libc::NETLINK_GENERIC as u32,
    libc::NETLINK_NETFILTER as u32,
];

/// Personalities that only name a kernel: PER_LINUX, PER_LINUX32, both with
/// UNAME26, and the question for the present one.
const PERSONALITIES: &[u32] = &[0, 8, 0x20000, 0x20008, u32::MAX];

/// Requests that type into a terminal in somebody else's name.
const TYPING_IOCTLS: &[u32] = &[libc::TIOCSTI as u32, libc::TIOCLINUX as u32];

/// The old interfaces of netfilter, which need no netlink socket: options of
/// any raw IP socket, from `IPT_BASE_CTL`, `ARPT_BASE_CTL`, `EBT_BASE_CTL` and
/// `IP6T_BASE_CTL` on. Those of IPv6 are not in one piece.
const NETFILTER_OPTIONS: &[(u32, u32)] = {
    const IP: u32 = libc::IPPROTO_IP as u32;
    const IPV6: u32 = libc::IPPROTO_IPV6 as u32;
    &[
        (IP, 64),
        (IP, 65),
        (IP, 66),
        (IP, 67),
        (IP, 96),
        (IP, 97),
        (IP, 98),
        (IP, 99),
        (IP, 128),
        (IP, 129),
        (IP, 130),
        (IP, 131),
        (IPV6, 64),
        (IPV6, 65),
        (IPV6, 68),
        (IPV6, 69),
    ]
};

/// The flags of `clone` that make a namespace of any kind.
const NAMESPACES: u32 = 0x7E02_0000;
const NEWUSER: u32 = libc::CLONE_NEWUSER as u32;
/// Only `unshare` and `clone3` know it; in `clone` the bit is part of the
/// exit signal.
const NEWTIME: u32 = 0x80;

const SOCKET_OPTIONS: &[libc::c_long] = &[libc::SYS_getsockopt, libc::SYS_setsockopt];

/// Ring 2: for what a learner runs in a node.
///
/// `userns` and `netfilter` are the node's features of these names.
pub fn node(userns: bool, netfilter: bool) -> BpfProgram {
    let mut verdicts = learner(if netfilter { NETLINK_AND_NETFILTER } else { NETLINK });
    if netfilter {
        verdicts.allow(SOCKET_OPTIONS);
    }
    admin(&mut verdicts, userns);
    verdicts.allow(&[libc::SYS_chroot, libc::SYS_pivot_root]);
    verdicts.allow(table::TRACE);
    verdicts.compile()
}

/// For PID 1, the engine and the stages before they become a learner's
/// program: ring 2 and what our own code needs.
pub fn pid1() -> BpfProgram {
    let mut verdicts = learner(NETLINK_AND_NETFILTER);
    verdicts.allow(SOCKET_OPTIONS);
    admin(&mut verdicts, true);
    verdicts.allow(&[libc::SYS_chroot, libc::SYS_pivot_root, libc::SYS_clone3, libc::SYS_ioctl]);
    verdicts.allow(table::TRACE);
    verdicts.allow(table::MOUNT_FDS);
    verdicts.compile()
}

/// Ring 3: for a container with these capabilities.
pub fn docker_default(capabilities: &[Capability]) -> BpfProgram {
    let mut verdicts = learner(NETLINK);
    if capabilities.contains(&Capability::CAP_SYS_ADMIN) {
        admin(&mut verdicts, false);
    }
    if capabilities.contains(&Capability::CAP_SYS_CHROOT) {
        verdicts.allow(&[libc::SYS_chroot]);
    }
    if capabilities.contains(&Capability::CAP_SYS_PTRACE) {
        verdicts.allow(table::TRACE);
    }
    verdicts.compile()
}

/// What all rings have in common: Docker's list without any capability.
fn learner(netlink: &'static [u32]) -> Verdicts {
    let mut verdicts = Verdicts::new(table::LAST);
    verdicts.allow(table::ALWAYS);
    let sockets = Verdict::Check(Check::Socket { families: FAMILIES, netlink });
    verdicts.set(libc::SYS_socket, sockets.clone());
    verdicts.set(libc::SYS_socketpair, sockets);
    for call in SOCKET_OPTIONS {
        verdicts.set(*call, Verdict::Check(Check::NoOptions { options: NETFILTER_OPTIONS }));
    }
    verdicts.set(libc::SYS_personality, Verdict::Check(Check::OneOf { arg: 0, values: PERSONALITIES }));
    verdicts.set(libc::SYS_ioctl, Verdict::Check(Check::NoneOf { arg: 1, values: TYPING_IOCTLS }));
    verdicts.set(libc::SYS_clone, Verdict::Check(Check::NoBits { arg: 0, bits: NAMESPACES }));
    // Its flags lie behind a pointer, where no filter can look.
    verdicts.set(libc::SYS_clone3, Verdict::Errno(libc::ENOSYS));
    for call in table::MOUNT_FDS {
        verdicts.set(*call, Verdict::Errno(libc::ENOSYS));
    }
    verdicts
}

fn admin(verdicts: &mut Verdicts, userns: bool) {
    verdicts.allow(table::ADMIN);
    let user = if userns { 0 } else { NEWUSER };
    verdicts.set(
        libc::SYS_clone,
        if userns { Verdict::Allow } else { Verdict::Check(Check::NoBits { arg: 0, bits: user }) },
    );
    verdicts.set(libc::SYS_unshare, Verdict::Check(Check::NoBits { arg: 0, bits: user | NEWTIME }));
}

/// Installs the filter for the calling thread and all that comes from it.
///
/// Not through `no_new_privs`, since `su` and `sudo` must go on working: the
/// caller needs CAP_SYS_ADMIN in its user namespace.
pub fn apply(program: &BpfProgram) -> Result<(), SeccompError> {
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions from `filter`, which points
    // into `program`, alive for the whole call, and writes nothing.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) };
    if result == 0 {
        return Ok(());
    }
    Err(SeccompError { length: program.len(), source: std::io::Error::last_os_error() })
}

#[cfg(test)]
mod tests {
    use super::{program::tests::run, *};

    const ARCH: u32 = 0xC000_003E;
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    fn errno(number: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | number as u32
    }

    fn ask(program: &BpfProgram, call: libc::c_long, args: [u64; 6]) -> u32 {
        run(program, ARCH, call as u32, args)
    }

    #[test]
    fn what_is_kernel_wide_is_refused_in_every_ring() {
        let privileged = docker_default(&crate::capabilities::NODE);
        for program in [node(true, true), docker_default(&[]), privileged, pid1()] {
            for call in [
                libc::SYS_kexec_load,
                libc::SYS_finit_module,
                libc::SYS_bpf,
                libc::SYS_perf_event_open,
                libc::SYS_userfaultfd,
                libc::SYS_io_uring_setup,
                libc::SYS_keyctl,
                libc::SYS_add_key,
                libc::SYS_open_by_handle_at,
                libc::SYS_swapon,
                libc::SYS_reboot,
                libc::SYS_settimeofday,
                libc::SYS_acct,
            ] {
                assert_eq!(ask(&program, call, [0; 6]), errno(libc::EPERM), "call {call}");
            }
        }
    }

    #[test]
    fn sockets_of_other_families_look_unsupported() {
        for (program, netfilter) in
            [(node(false, false), false), (node(false, true), true), (docker_default(&[]), false)]
        {
            for family in 0..47u64 {
                let allowed = [1, 2, 10, 16, 17].contains(&family);
                let expected = if allowed { ALLOW } else { errno(libc::EAFNOSUPPORT) };
                assert_eq!(
                    ask(&program, libc::SYS_socket, [family, 0, 0, 0, 0, 0]),
                    expected,
                    "family {family}"
                );
            }
            for protocol in 0..32u64 {
                let allowed = [0, 4, 15, 16].contains(&protocol) || (netfilter && protocol == 12);
                let expected = if allowed { ALLOW } else { errno(libc::EAFNOSUPPORT) };
                let args = [libc::AF_NETLINK as u64, 3, protocol, 0, 0, 0];
                assert_eq!(ask(&program, libc::SYS_socket, args), expected, "netlink {protocol}");
            }
        }
    }

    #[test]
    fn a_learner_makes_all_namespaces_but_users_and_times() {
        let plain = node(false, false);
        let with_users = node(true, false);
        let container = docker_default(&crate::capabilities::DOCKER_DEFAULT);
        let flags = |bits: i32| [bits as u64, 0, 0, 0, 0, 0];
        let (pid, user) = (flags(libc::CLONE_NEWPID), flags(libc::CLONE_NEWUSER));
        assert_eq!(ask(&plain, libc::SYS_unshare, pid), ALLOW);
        assert_eq!(ask(&plain, libc::SYS_unshare, user), errno(libc::EPERM));
        assert_eq!(ask(&plain, libc::SYS_clone, user), errno(libc::EPERM));
        assert_eq!(ask(&plain, libc::SYS_clone3, [0; 6]), errno(libc::ENOSYS));
        assert_eq!(ask(&with_users, libc::SYS_unshare, user), ALLOW);
        assert_eq!(ask(&with_users, libc::SYS_clone, user), ALLOW);
        assert_eq!(ask(&with_users, libc::SYS_unshare, flags(0x80)), errno(libc::EPERM));
        assert_eq!(ask(&container, libc::SYS_unshare, pid), errno(libc::EPERM));
        assert_eq!(ask(&container, libc::SYS_clone, pid), errno(libc::EPERM));
        assert_eq!(ask(&container, libc::SYS_clone, flags(libc::SIGCHLD)), ALLOW);
    }

    #[test]
    fn nobody_types_into_another_terminal() {
        for program in [node(true, true), docker_default(&[])] {
            let args = |request: u64| [0, request, 0, 0, 0, 0];
            assert_eq!(ask(&program, libc::SYS_ioctl, args(libc::TIOCSTI)), errno(libc::EPERM));
            assert_eq!(ask(&program, libc::SYS_ioctl, args(libc::TIOCGWINSZ)), ALLOW);
        }
    }

    #[test]
    fn the_old_netfilter_interface_is_where_netfilter_is() {
        let option = |level: i32, option: u64| [3, level as u64, option, 0, 0, 0];
        let refused = errno(libc::ENOPROTOOPT);
        for call in SOCKET_OPTIONS {
            for program in [node(true, false), docker_default(&crate::capabilities::NODE)] {
                assert_eq!(ask(&program, *call, option(libc::IPPROTO_IP, 64)), refused);
                assert_eq!(ask(&program, *call, option(libc::IPPROTO_IPV6, 65)), refused);
                assert_eq!(ask(&program, *call, option(libc::IPPROTO_IP, 131)), refused);
                // IPV6_RECVTCLASS and IPV6_TCLASS, and SO_ATTACH_FILTER and the like.
                assert_eq!(ask(&program, *call, option(libc::IPPROTO_IPV6, 66)), ALLOW);
                assert_eq!(ask(&program, *call, option(libc::IPPROTO_IPV6, 67)), ALLOW);
                assert_eq!(ask(&program, *call, option(libc::SOL_SOCKET, 64)), ALLOW);
            }
            for program in [node(false, true), pid1()] {
                assert_eq!(ask(&program, *call, option(libc::IPPROTO_IP, 64)), ALLOW);
            }
        }
    }

    #[test]
    fn filters_are_small() {
        let longest = node(true, true).len().max(pid1().len());
        assert!(longest < 1000, "{longest} instructions");
    }
}
