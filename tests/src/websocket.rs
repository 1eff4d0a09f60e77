//! A WebSocket on a plain socket: a test sends exactly the frames it makes,
//! also those that no browser would.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::instance::guard;

/// A text or binary message.
pub const BINARY: u8 = 2;
/// The end, with a code.
pub const CLOSE: u8 = 8;

/// An open WebSocket.
pub struct WebSocket {
    /// The connection, for what is not a frame.
    pub stream: TcpStream,
    /// The head of the server's answer.
    pub head: String,
}

impl WebSocket {
    /// Opens one for a learner's page.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn open(port: u16, path: &str, cookie: &str) -> WebSocket {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        stream.set_read_timeout(Some(guard())).expect("a timeout can be set");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n\
             Cookie: {cookie}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("the server takes the request");
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).expect("the server answers");
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        assert!(head.starts_with("HTTP/1.1 101"), "no WebSocket: {head}");
        WebSocket { stream, head }
    }

    /// Sends a frame: its first byte as given, masked with zeros.
    pub fn send(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = head(first, payload.len() as u64);
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame)
    }

    /// Sends a whole binary message.
    pub fn say(&mut self, payload: &[u8]) -> io::Result<()> {
        self.send(0x80 | BINARY, payload)
    }

    /// The next frame: its kind and payload.
    pub fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut two = [0; 2];
        self.stream.read_exact(&mut two)?;
        let length = match two[1] & 0x7f {
            126 => {
                let mut bytes = [0; 2];
                self.stream.read_exact(&mut bytes)?;
                u64::from(u16::from_be_bytes(bytes))
            }
            127 => {
                let mut bytes = [0; 8];
                self.stream.read_exact(&mut bytes)?;
                u64::from_be_bytes(bytes)
            }
            small => u64::from(small),
        };
        let mut payload = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.stream.read_exact(&mut payload)?;
        Ok((two[0] & 0x0f, payload))
    }

    /// Reads until the end: the close code and reason, or `None` when it just
    /// broke off.
    ///
    /// # Panics
    /// When it goes on without an end.
    pub fn end(&mut self) -> Option<(u16, String)> {
        loop {
            match self.frame() {
                Ok((CLOSE, payload)) if payload.len() >= 2 => {
                    let code = u16::from_be_bytes([payload[0], payload[1]]);
                    return Some((code, String::from_utf8_lossy(&payload[2..]).into_owned()));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("it is still open"),
                Err(_) => return None,
            }
        }
    }
}

/// A frame's head, masked with zeros, for a payload of this length.
pub fn head(first: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first];
    match length {
        0..126 => head.push(0x80 | length as u8),
        126..=0xffff => {
            head.push(0x80 | 126);
            head.extend((length as u16).to_be_bytes());
        }
        _ => {
            head.push(0x80 | 127);
            head.extend(length.to_be_bytes());
        }
    }
    head.extend([0; 4]);
    head
}
