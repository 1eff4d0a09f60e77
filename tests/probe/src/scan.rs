//! All TCP ports of a host, many at a time.

use std::mem::size_of;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// How many connections are open at once.
const BATCH: usize = 900;
/// How long a batch may take: an address that drops packets answers nothing.
const PATIENCE: Duration = Duration::from_millis(400);

/// Prints `HOST:PORT=open` for each port that accepts, then `HOST=scanned`.
pub(crate) fn all_ports(host: Ipv4Addr) {
    let ports: Vec<u16> = (1..=u16::MAX).collect();
    for batch in ports.chunks(BATCH) {
        let waiting: Vec<(u16, i32)> = batch.iter().filter_map(|port| connect(host, *port)).collect();
        report(host, waiting);
    }
    println!("{host}=scanned");
}

/// Begins a connection; `None` when it was refused at once.
fn connect(host: Ipv4Addr, port: u16) -> Option<(u16, i32)> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: plain arguments.
    let fd = unsafe { libc::socket(libc::AF_INET, kind, 0) };
    if fd < 0 {
        crate::fail(&format!("cannot open a socket: {}", std::io::Error::last_os_error()));
    }
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(host).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: address is a sockaddr_in of the length given.
    let result =
        unsafe { libc::connect(fd, (&raw const address).cast(), size_of::<libc::sockaddr_in>() as u32) };
    let errno = std::io::Error::last_os_error().raw_os_error();
    if result == 0 || errno == Some(libc::EINPROGRESS) {
        return Some((port, fd));
    }
    // SAFETY: fd was opened above and is not used again.
    unsafe { libc::close(fd) };
    None
}

fn report(host: Ipv4Addr, mut waiting: Vec<(u16, i32)>) {
    let end = Instant::now() + PATIENCE;
    while !waiting.is_empty() && Instant::now() < end {
        let mut polls: Vec<libc::pollfd> = waiting
            .iter()
            .map(|(_, fd)| libc::pollfd { fd: *fd, events: libc::POLLOUT, revents: 0 })
            .collect();
        let left = end.saturating_duration_since(Instant::now()).as_millis() as i32;
        // SAFETY: polls is a valid array of the length given.
        unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as u64, left.max(1)) };
        let mut rest = Vec::new();
        for (poll, (port, fd)) in polls.iter().zip(waiting) {
            if poll.revents == 0 {
                rest.push((port, fd));
                continue;
            }
            if poll.revents & (libc::POLLERR | libc::POLLHUP) == 0 {
                println!("{host}:{port}=open");
            }
            // SAFETY: fd is ours and is not used again.
            unsafe { libc::close(fd) };
        }
        waiting = rest;
    }
    for (_, fd) in waiting {
        // SAFETY: fd is ours and is not used again.
        unsafe { libc::close(fd) };
    }
}
