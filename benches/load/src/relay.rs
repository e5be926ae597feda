//! A relay before a server that can be made slow, or cut off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of connections and of what they carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Open,
    /// What the server says arrives so much later.
    Slow(Duration),
    /// Connections are closed.
    Down,
}

/// A relay, on a port of this machine. It ends with the value.
#[derive(Debug)]
pub struct Relay {
    mode: watch::Sender<Mode>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// Begins to listen before the server at `redis+unix://PATH`. Must be called within a runtime.
    ///
    /// # Errors
    /// For other addresses, and when nothing can be listened on.
    pub async fn to(url: &str) -> anyhow::Result<Self> {
        let path = url.strip_prefix("redis+unix://").context(
            "only a server that `cargo xtask bench` has started can be cut off; its address is a socket's",
        )?;
        let path: Arc<str> = path.into();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (mode, seen) = watch::channel(Mode::Open);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, Arc::clone(&path), seen.clone()));
            }
        });
        Ok(Self {
            mode,
            address,
            accepting,
        })
    }

    /// The server's address through the relay.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Sets what happens from now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Carries one connection's bytes until an end closes it, or the relay is down.
async fn carry(client: TcpStream, path: Arc<str>, mut mode: watch::Receiver<Mode>) {
    if *mode.borrow() == Mode::Down {
        return;
    }
    let Ok(server) = UnixStream::connect(&*path).await else {
        return;
    };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let there = tokio::io::copy(&mut from_client, &mut to_server);
    let now = mode.clone();
    let back = async move {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let count = from_server.read(&mut bytes).await?;
            if count == 0 {
                return Ok::<(), std::io::Error>(());
            }
            let mode = *now.borrow();
            if let Mode::Slow(by) = mode {
                // So much later, whatever comes.
                let _late = tokio::time::timeout(by, std::future::pending::<()>()).await;
            }
            to_client.write_all(&bytes[..count]).await?;
        }
    };
    // Whatever ends first ends the connection; why does not matter to those who relay.
    tokio::select! {
        _ended = there => {}
        _ended = back => {}
        _down = mode.wait_for(|mode| *mode == Mode::Down) => {}
    }
}
