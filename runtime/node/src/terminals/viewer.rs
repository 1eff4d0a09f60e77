//! A viewer's connection to a terminal.

use std::{cell::Cell, rc::Rc, time::Duration};

use drydock_agent::{
    AgentError,
    frames::{FrameReader, FrameWriter},
};
use drydock_protocol::terminal::{FromViewer, Size, ToViewer};
use tokio::{
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
    time::timeout,
};

use super::{
    Terminals,
    terminal::{Ask, Frame},
};

/// How long one frame may take to be written. A viewer that acknowledges takes
/// its frames; this is for one that neither reads nor acknowledges.
const WRITE: Duration = Duration::from_secs(20);

/// Serves a viewer until it goes, the terminal ends, or it is dropped.
pub(crate) async fn serve(
    terminals: &Rc<Terminals>,
    (name, size, view_only): (&str, Size, bool),
    mut reader: FrameReader<OwnedReadHalf>,
    mut writer: FrameWriter<OwnedWriteHalf>,
) -> Result<(), AgentError> {
    let (attachment, asks) = match terminals.attach(name, size, view_only).await {
        Ok(attached) => attached,
        Err(error) => return refuse(&mut writer, error.to_string()).await,
    };
    let (id, mut frames, dropped) = (attachment.id, attachment.frames, attachment.dropped);
    let whole = Cell::new(true);
    let result = tokio::select! {
        // In this order, since frames end when the viewer is dropped.
        biased;
        Ok(why) = dropped => match whole.get() {
            true => refuse(&mut writer, why).await,
            // In the middle of a frame there is no place for another.
            false => Ok(()),
        },
        result = send(&mut frames, &mut writer, &whole) => result,
        result = receive(id, &mut reader, &asks) => result,
    };
    // If the terminal's task is gone, it needs no word of this.
    let _ = asks.send(Ask::Gone(id)).await;
    result
}

/// Sends all there is; `whole` is false while a frame is only half written.
async fn send(
    frames: &mut mpsc::Receiver<Frame>,
    writer: &mut FrameWriter<OwnedWriteHalf>,
    whole: &Cell<bool>,
) -> Result<(), AgentError> {
    while let Some(frame) = frames.recv().await {
        whole.set(false);
        timeout(WRITE, writer.send(frame.kind, &frame.payload)).await.map_err(|_| AgentError::Closed)??;
        whole.set(true);
    }
    Ok(())
}

async fn receive(
    id: u64,
    reader: &mut FrameReader<OwnedReadHalf>,
    asks: &mpsc::Sender<Ask>,
) -> Result<(), AgentError> {
    while let Some((kind, payload)) = reader.next().await? {
        let frame = FromViewer::decode(kind, &payload)?;
        // When the terminal has ended, what is still to be sent has its time,
        // and what comes from the viewer no meaning.
        let _ = asks.send(Ask::From(id, frame)).await;
    }
    Ok(())
}

/// The last frame.
async fn refuse(writer: &mut FrameWriter<OwnedWriteHalf>, why: String) -> Result<(), AgentError> {
    let (kind, payload) = ToViewer::Refused(why).encode();
    timeout(WRITE, writer.send(kind, &payload)).await.map_err(|_| AgentError::Closed)??;
    Ok(())
}
