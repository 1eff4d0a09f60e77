//! The world: what a learner must not reach, answering to whoever does.

use std::io::{BufRead, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};

/// Addresses the world owns besides its end of the link: cloud metadata, a
/// neighbour on the LAN, a stand-in for the internet.
const ADDRESSES: [&str; 5] =
    ["169.254.169.254/32", "100.100.100.200/32", "10.99.0.3/32", "198.51.100.7/32", "fd00:ec2::254/128"];

/// Runs until stdin ends. Answers one byte when it is up, and one when its
/// link is configured.
pub(crate) fn run(record: &Path) -> Result<()> {
    let mut output = std::io::stdout();
    output.write_all(b"1").and_then(|()| output.flush())?;
    let mut lines = std::io::stdin().lock().lines();
    lines.next().context("the rig is gone")??;
    configure()?;
    crate::record::start("world0", record)?;
    serve_http()?;
    serve_dns()?;
    output.write_all(b"1").and_then(|()| output.flush())?;
    for line in lines {
        line?;
    }
    Ok(())
}

fn configure() -> Result<()> {
    crate::ip(&["link", "set", "lo", "up"])?;
    crate::ip(&["addr", "add", crate::WORLD, "dev", "world0"])?;
    crate::ip(&["addr", "add", "fd00:99::1/64", "dev", "world0", "nodad"])?;
    for address in ADDRESSES {
        crate::ip(&["addr", "add", address, "dev", "lo"])?;
    }
    crate::ip(&["link", "set", "world0", "up"])
}

/// Answers any request on port 80 of any address.
fn serve_http() -> Result<()> {
    let listener = TcpListener::bind("[::]:80").context("the world cannot listen on port 80")?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 1024];
            // A caller that goes away early is no concern of the world.
            let _ = stream.read(&mut request);
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nworld");
        }
    });
    Ok(())
}

/// Answers any DNS question with the internet's stand-in.
fn serve_dns() -> Result<()> {
    let socket = UdpSocket::bind("[::]:53").context("the world cannot listen on port 53")?;
    thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut packet) {
            if len < 12 {
                continue;
            }
            let mut answer = packet[..len].to_vec();
            answer[2] = 0x81;
            answer[3] = 0x80;
            answer[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
            // A pointer to the question's name, type A, class IN, 60 s, 4 bytes.
            answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 51, 100, 7]);
            let _ = socket.send_to(&answer, from);
        }
    });
    Ok(())
}
