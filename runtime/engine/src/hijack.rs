//! Connections that change from HTTP to a raw stream: attach and exec.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, Request, StatusCode, header},
    response::Response,
};
use futures_util::StreamExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    error::{ApiError, failed},
    log::Stream,
};

pub(crate) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";

/// What goes both ways.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The connection to the client, once the answer is out.
pub(crate) type Connection = Box<dyn Duplex>;

/// The answer that changes the protocol, and the connection that comes of it.
/// A client that asks for no change gets the same bytes as the answer's body,
/// and what it sends as its request's body is what it types.
///
/// `multiplexed`: frames of both streams follow, not bare bytes.
pub(crate) fn upgrade(
    request: &mut Request<Body>,
    multiplexed: bool,
) -> Result<(Response, impl Future<Output = Result<Connection, hyper::Error>> + use<>), ApiError> {
    let newer = crate::server::version_of(request) >= (1, 42);
    let kind = HeaderValue::from_static(if multiplexed && newer { MULTIPLEXED } else { RAW });
    let answer = Response::builder().header(header::CONTENT_TYPE, kind);
    let (answer, upgraded, ours) = if asks_for_tcp(request.headers()) {
        let answer = answer
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, HeaderValue::from_static("Upgrade"))
            .header(header::UPGRADE, HeaderValue::from_static("tcp"))
            .body(Body::empty());
        (answer, Some(hyper::upgrade::on(request)), None)
    } else {
        let (ours, theirs) = tokio::io::duplex(BODY_BUFFER);
        let (output, input) = tokio::io::split(theirs);
        tokio::spawn(pour(std::mem::take(request.body_mut()), input));
        (answer.body(body_of(output)), None, Some(ours))
    };
    let answer = answer.map_err(failed("answering failed"))?;
    let connection = async move {
        Ok(match (upgraded, ours) {
            (Some(upgraded), _) => Box::new(TokioIo::new(upgraded.await?)) as Connection,
            (None, Some(ours)) => Box::new(ours),
            (None, None) => Box::new(tokio::io::empty()),
        })
    };
    Ok((answer, connection))
}

/// Bytes on their way to a client that didn't change the protocol.
const BODY_BUFFER: usize = 64 * 1024;

/// Moves a request's body to where it is read as typed.
async fn pour(body: Body, mut to: impl AsyncWrite + Unpin) {
    let mut pieces = body.into_data_stream();
    while let Some(Ok(piece)) = pieces.next().await {
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
    // The end of the body is the end of stdin, as far as anybody reads it.
    let _ = to.shutdown().await;
}

/// What is written to the other end, as a body.
fn body_of(from: impl AsyncRead + Send + Unpin + 'static) -> Body {
    Body::from_stream(futures_util::stream::unfold(from, |mut from| async move {
        let mut buffer = vec![0; 16 * 1024];
        match from.read(&mut buffer).await {
            Ok(0) => None,
            Ok(length) => {
                buffer.truncate(length);
                Some((Ok(Bytes::from(buffer)), from))
            }
            Err(error) => Some((Err(error), from)),
        }
    }))
}

fn asks_for_tcp(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"tcp"))
}

/// A frame's head: which stream, and how many bytes follow.
pub(crate) fn frame_head(stream: Stream, length: usize) -> [u8; 8] {
    let mut head = [0; 8];
    head[0] = stream as u8;
    head[4..].copy_from_slice(&(length as u32).to_be_bytes());
    head
}

/// Writes a piece of output, as a frame or bare.
pub(crate) async fn write_piece<W: AsyncWriteExt + Unpin>(
    to: &mut W,
    stream: Stream,
    bytes: &[u8],
    multiplexed: bool,
) -> std::io::Result<()> {
    if multiplexed {
        to.write_all(&frame_head(stream, bytes.len())).await?;
    }
    to.write_all(bytes).await?;
    to.flush().await
}

/// Looks for the keys that detach a client in what it types.
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    seen: usize,
}

/// What a client typed, without the detach keys.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    Bytes(Vec<u8>),
    /// These, and then it detached.
    Detach(Vec<u8>),
}

impl DetachKeys {
    /// From `ctrl-p,ctrl-q`; that too when nothing is given.
    pub(crate) fn parse(text: &str) -> Result<DetachKeys, ApiError> {
        let text = if text.is_empty() { "ctrl-p,ctrl-q" } else { text };
        let key = |name: &str| -> Option<u8> {
            match (name.strip_prefix("ctrl-"), name.as_bytes()) {
                (None, [one]) => Some(*one),
                (Some(rest), _) => match rest.as_bytes() {
                    [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
                    [b'@'] => Some(0),
                    [other @ (b'[' | b'\\' | b']' | b'^' | b'_')] => Some(other - b'@'),
                    _ => None,
                },
                _ => None,
            }
        };
        let keys = text
            .split(',')
            .map(|name| {
                key(name).ok_or_else(|| ApiError::Invalid(format!("Invalid detach keys ({text}) provided")))
            })
            .collect::<Result<_, _>>()?;
        Ok(DetachKeys { keys, seen: 0 })
    }

    /// Takes bytes typed. Keys that may begin the sequence are held back until
    /// it is clear.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Typed {
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if *byte == self.keys[self.seen] {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    return Typed::Detach(out);
                }
                continue;
            }
            out.extend_from_slice(&self.keys[..self.seen]);
            self.seen = usize::from(*byte == self.keys[0]);
            if self.seen == 0 {
                out.push(*byte);
            }
        }
        Typed::Bytes(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_found_over_several_reads() {
        let mut keys = DetachKeys::parse("").unwrap();
        assert_eq!(keys.take(b"ab\x10"), Typed::Bytes(b"ab".to_vec()));
        assert_eq!(keys.take(b"x\x10"), Typed::Bytes(b"\x10x".to_vec()));
        assert_eq!(keys.take(b"\x11rest"), Typed::Detach(Vec::new()));
        assert!(DetachKeys::parse("ctrl-1").is_err());
        assert_eq!(DetachKeys::parse("q").unwrap().take(b"aq"), Typed::Detach(b"a".to_vec()));
    }

    #[test]
    fn frames_have_docker_s_head() {
        assert_eq!(frame_head(Stream::Stderr, 258), [2, 0, 0, 0, 0, 0, 1, 2]);
    }

    proptest::proptest! {
        #[test]
        fn what_is_typed_comes_through_but_for_the_keys(
            pieces in proptest::collection::vec(proptest::collection::vec(14u8..20, 0..9), 0..9)
        ) {
            let mut keys = DetachKeys::parse("").unwrap();
            let typed: Vec<u8> = pieces.concat();
            let mut got = Vec::new();
            let mut detached = false;
            for piece in &pieces {
                match keys.take(piece) {
                    Typed::Bytes(bytes) => got.extend(bytes),
                    Typed::Detach(bytes) => {
                        got.extend(bytes);
                        detached = true;
                        break;
                    }
                }
            }
            let end = typed.windows(2).position(|pair| pair == [16, 17]);
            proptest::prop_assert_eq!(detached, end.is_some());
            let expected = match end {
                Some(end) => &typed[..end],
                // A first key is held back until the next one comes.
                None => typed.strip_suffix(&[16]).unwrap_or(&typed),
            };
            proptest::prop_assert_eq!(got, expected);
        }
    }
}
