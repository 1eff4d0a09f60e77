//! `GET /containers/{ref}/logs`

use std::{convert::Infallible, io, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::{Path, Query, Request, State},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::Container;
use crate::{
    engine::Shared,
    error::ApiError,
    filters::{is_true, unix_time},
    hijack::{MULTIPLEXED, RAW, frame_head},
    log::{Line, Lines, Stream},
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LogsQuery {
    follow: String,
    stdout: String,
    stderr: String,
    since: String,
    until: String,
    timestamps: String,
    tail: String,
    details: String,
}

struct Wanted {
    follow: bool,
    streams: Vec<Stream>,
    since: u64,
    until: u64,
    timestamps: bool,
    tail: Option<usize>,
    details: bool,
    multiplexed: bool,
}

/// `GET /containers/{ref}/logs`
pub(crate) async fn logs(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    Query(query): Query<LogsQuery>,
    request: Request,
) -> Result<Response, ApiError> {
    let container = engine.containers.find(&reference)?;
    if container.locked().host_config.log_config.kind == "none" {
        return Err(ApiError::NotImplemented(
            "configured logging driver does not support reading".to_owned(),
        ));
    }
    let time = |text: &str, default: u64| -> Result<u64, ApiError> {
        Ok(unix_time(text)?.map_or(default, |time| u64::try_from(time).unwrap_or(0)))
    };
    let streams: Vec<Stream> = Stream::BOTH
        .into_iter()
        .filter(|stream| is_true(if *stream == Stream::Stdout { &query.stdout } else { &query.stderr }))
        .collect();
    if streams.is_empty() {
        return Err(ApiError::Invalid("Bad parameters: you must choose at least one stream".to_owned()));
    }
    let wanted = Wanted {
        follow: is_true(&query.follow),
        streams,
        since: time(&query.since, 0)?,
        until: time(&query.until, u64::MAX)?,
        timestamps: is_true(&query.timestamps),
        tail: query.tail.parse().ok(),
        details: is_true(&query.details),
        multiplexed: !container.locked().config.tty,
    };
    let newer = crate::server::version_of(&request) >= (1, 42);
    let kind = if wanted.multiplexed && newer { MULTIPLEXED } else { RAW };
    let (sender, mut receiver) = mpsc::channel::<Bytes>(4);
    tokio::spawn(async move {
        if let Err(error) = send(&container, wanted, &sender).await {
            tracing::warn!(%error, container = container.id, "reading the log failed");
        }
    });
    let stream = futures_util::stream::poll_fn(move |context| {
        receiver.poll_recv(context).map(|piece| piece.map(Ok::<_, Infallible>))
    });
    Ok(([("content-type", kind)], Body::from_stream(stream)).into_response())
}

/// Pieces are sent when they are this long.
const PIECE: usize = 32 * 1024;

async fn send(container: &Arc<Container>, wanted: Wanted, to: &mpsc::Sender<Bytes>) -> io::Result<()> {
    let mut progress = container.log.progress();
    let mut life = container.life.subscribe();
    let mut skip = lines_to_skip(container, &wanted)?;
    let mut lines = Lines::new(container.log.clone());
    let mut piece = Vec::new();
    loop {
        progress.borrow_and_update();
        let up = life.borrow_and_update().up;
        while let Some(line) = lines.next()? {
            if line.time > wanted.until {
                break;
            }
            wanted.show(&line, &mut skip, &mut piece);
            if piece.len() >= PIECE && to.send(std::mem::take(&mut piece).into()).await.is_err() {
                return Ok(());
            }
        }
        // A line without an end is one when no more is to come.
        if !wanted.follow || !up {
            while let Some(line) = lines.rest() {
                wanted.show(&line, &mut skip, &mut piece);
            }
        }
        if !piece.is_empty() && to.send(std::mem::take(&mut piece).into()).await.is_err() {
            return Ok(());
        }
        if !wanted.follow || !up {
            return Ok(());
        }
        let over = async {
            let left = wanted.until.saturating_sub(now());
            match wanted.until {
                u64::MAX => std::future::pending().await,
                _ => tokio::time::sleep(std::time::Duration::from_nanos(left)).await,
            }
        };
        tokio::select! {
            () = over => return Ok(()),
            () = to.closed() => return Ok(()),
            changed = progress.changed() => if changed.is_err() { return Ok(()) },
            _ = life.wait_for(|life| !life.up) => {}
        }
    }
}

fn now() -> u64 {
    u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0)
}

/// How many lines come before the tail that is asked for.
fn lines_to_skip(container: &Container, wanted: &Wanted) -> io::Result<usize> {
    let Some(tail) = wanted.tail else { return Ok(0) };
    let mut lines = Lines::new(container.log.clone());
    let mut count = 0usize;
    while let Some(line) = lines.next()? {
        count += usize::from(wanted.takes(&line));
    }
    while let Some(line) = lines.rest() {
        count += usize::from(wanted.takes(&line));
    }
    Ok(count.saturating_sub(tail))
}

impl Wanted {
    fn takes(&self, line: &Line) -> bool {
        self.streams.contains(&line.stream) && (self.since..=self.until).contains(&line.time)
    }

    /// Puts a line that is wanted, once enough are skipped.
    fn show(&self, line: &Line, skip: &mut usize, to: &mut Vec<u8>) {
        if !self.takes(line) {
            return;
        }
        match *skip {
            0 => self.put(line, to),
            _ => *skip -= 1,
        }
    }

    fn put(&self, line: &Line, to: &mut Vec<u8>) {
        let mut before = String::new();
        if self.timestamps {
            before = timestamp(line.time) + " ";
        }
        if self.details {
            // Attributes of the log, of which there are none.
            before.push(' ');
        }
        if self.multiplexed {
            to.extend_from_slice(&frame_head(line.stream, before.len() + line.bytes.len()));
        }
        to.extend_from_slice(before.as_bytes());
        to.extend_from_slice(&line.bytes);
    }
}

/// RFC 3339 with all nine digits, so that columns stay.
fn timestamp(nanoseconds: u64) -> String {
    let time = Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or_default();
    format!("{time:.9}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn timestamps_have_nine_digits() {
        assert_eq!(super::timestamp(1_795_493_040_499_000_000), "2026-11-24T04:04:00.499000000Z");
    }
}
