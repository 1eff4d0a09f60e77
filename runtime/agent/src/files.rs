//! Writing and reading files in a node.

use drydock_protocol::agent::{FromClient, NO_SUCH_FILE, Request};

use crate::{Agent, AgentError};

impl Agent {
    /// Writes a file, put in place whole.
    pub async fn put(mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<(), AgentError> {
        self.request(&Request::Put { path: path.into(), mode }).await?;
        let (mut sender, mut receiver) = self.running().split();
        let feed = async move {
            sender.send(FromClient::Stdin(bytes.to_vec())).await?;
            sender.send(FromClient::StdinEnd).await?;
            Ok::<_, AgentError>(sender)
        };
        // The node's own words say why it took no more, not the broken pipe.
        let (_sender, output) = tokio::join!(feed, receiver.drain(0));
        output.map(|_| ())
    }

    /// Reads a file of at most `limit` bytes.
    pub async fn get(mut self, path: &str, limit: u64) -> Result<Vec<u8>, AgentError> {
        self.request(&Request::Get { path: path.into(), limit }).await?;
        let (_sender, mut receiver) = self.running().split();
        let drained = receiver.drain(usize::try_from(limit).unwrap_or(usize::MAX)).await;
        let output = drained.map_err(|error| match error {
            AgentError::Refused(words) if words.ends_with(NO_SUCH_FILE) => AgentError::NoSuchFile,
            other => other,
        })?;
        if output.truncated { Err(AgentError::TooLong { limit }) } else { Ok(output.stdout) }
    }
}
