//! What a hostile learner would try, one attempt a word, and the kernel's answer.
//!
//! - `probe newuser`: a user namespace by `unshare`, `clone` and `clone3`
//! - `probe sys NAME…`: system calls that reach the whole machine
//! - `probe sock`: sockets of every address family and netlink protocol
//! - `probe scan HOST…`: the open TCP ports of IPv4 hosts, all of them tried
//! - `probe forge LINK VICTIM PEER`: frames in another host's name
//!
//! Each line of output is `NAME=RESULT`, where the result is `ok` or the name
//! of an errno.

mod forge;
mod newuser;
mod scan;
mod sock;
mod sys;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first() {
        Some((what, [])) if what == "newuser" => newuser::try_all(),
        Some((what, [])) if what == "sock" => sock::try_all(),
        Some((what, names)) if what == "sys" && !names.is_empty() => sys::try_each(names),
        Some((what, hosts)) if what == "scan" && !hosts.is_empty() => {
            for host in hosts {
                match host.parse() {
                    Ok(address) => scan::all_ports(address),
                    Err(_) => fail(&format!("{host} is not an IPv4 address")),
                }
            }
        }
        Some((what, [link, victim, peer])) if what == "forge" => match (victim.parse(), peer.parse()) {
            (Ok(victim), Ok(peer)) => forge::send_all(link, victim, peer),
            _ => fail("victim and peer are IPv4 addresses"),
        },
        _ => fail(
            "usage: probe newuser | probe sys NAME… | probe sock | probe scan HOST… | \
             probe forge LINK VICTIM PEER",
        ),
    }
}

/// `ok`, or the name of the errno.
fn result(answer: std::io::Result<()>) -> String {
    let Err(error) = answer else { return "ok".to_owned() };
    let name = match error.raw_os_error() {
        Some(libc::EPERM) => "EPERM",
        Some(libc::ENOSYS) => "ENOSYS",
        Some(libc::EAFNOSUPPORT) => "EAFNOSUPPORT",
        Some(libc::EINVAL) => "EINVAL",
        Some(libc::EFAULT) => "EFAULT",
        _ => return error.to_string(),
    };
    name.to_owned()
}

fn fail(why: &str) -> ! {
    eprintln!("probe: {why}");
    std::process::exit(2);
}
