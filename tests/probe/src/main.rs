//! What a hostile learner would try, one attempt a word, and the kernel's answer.
//!
//! - `probe newuser`: a user namespace by `unshare`, `clone` and `clone3`
//! - `probe scan HOST…`: the open TCP ports of IPv4 hosts, all of them tried
//!
//! Each line of output is `NAME=RESULT`, where the result is `ok` or the name
//! of an errno.

mod newuser;
mod scan;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first() {
        Some((what, [])) if what == "newuser" => newuser::try_all(),
        Some((what, hosts)) if what == "scan" && !hosts.is_empty() => {
            for host in hosts {
                match host.parse() {
                    Ok(address) => scan::all_ports(address),
                    Err(_) => fail(&format!("{host} is not an IPv4 address")),
                }
            }
        }
        _ => fail("usage: probe newuser | probe scan HOST…"),
    }
}

fn fail(why: &str) -> ! {
    eprintln!("probe: {why}");
    std::process::exit(2);
}
