//! The processes of the node for the live pictures: polled from `/proc` each
//! second while somebody watches, told when they changed.

use std::time::Duration;

use drydock_protocol::event::What;

use crate::{keeper::Keeper, proc};

const EVERY: Duration = Duration::from_secs(1);

/// Watches for as long as the engine lives.
pub(crate) async fn processes(keeper: Keeper) {
    let mut watched = keeper.watched();
    loop {
        if watched.wait_for(|watched| *watched).await.is_err() {
            return;
        }
        let mut last = Vec::new();
        while *watched.borrow_and_update() {
            match proc::processes() {
                Ok(now) if now != last => {
                    keeper.event(What::Processes { processes: now.clone() });
                    last = now;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "reading /proc failed"),
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                changed = watched.changed() => if changed.is_err() { return },
            }
        }
    }
}
