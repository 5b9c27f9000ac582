//! SHELL. What the control socket answers.

mod inventory;
mod status;

use std::io;

use super::Shared;

/// Starts serving.
pub fn start(
    world: Shared,
    control: std::os::unix::net::UnixListener,
) -> io::Result<impl Future<Output = io::Result<()>>> {
    Ok(async move {
        let listener = tokio::net::UnixListener::from_std(control)?;
        loop {
            let (client, _) = listener.accept().await?;
            let limits = vec![];
            let clients = crate::protocol::service::Clients {
                connected: 1,
                limit: 1,
                limit_per_uid: 1,
                served: 1,
            };
            let text = serde_json::to_string(&status::status(
                &world.borrow(),
                status::Serving { clients, limits },
            ))?;
            let more = serde_json::to_string(&inventory::interfaces(&world.borrow()))?;
            client.writable().await?;
            client.try_write(text.as_bytes())?;
            client.try_write(more.as_bytes())?;
        }
    })
}
