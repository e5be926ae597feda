//! A TCP proxy that hurts: between a node and what it depends on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::pause;

/// What it does to what comes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing.
    Pass,
    /// It takes so much longer, either way.
    Delay(Duration),
    /// It stays in the network until the mode is another one.
    Hole,
    /// Nobody gets in; connections that are there are cut.
    Refuse,
    /// A connection is cut after so many more bytes of an answer.
    CutAfter(usize),
    /// After so many more bytes of an answer the rest stays in the network until the mode is another one.
    StopAfter(usize),
}

#[derive(Debug)]
struct Shared {
    upstream: Mutex<String>,
    mode: watch::Sender<Mode>,
    /// Counts cuts: connections of before are closed.
    cuts: watch::Sender<u64>,
    /// How often something stayed in the network.
    held: AtomicU64,
}

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    pub(crate) async fn start(upstream: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            mode: watch::Sender::new(Mode::Pass),
            cuts: watch::Sender::new(0),
            held: AtomicU64::new(0),
        });
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { port, shared }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
        if mode == Mode::Refuse {
            self.cut();
        }
    }

    /// How often something stayed in the network in [`Mode::Hole`].
    pub(crate) fn held(&self) -> u64 {
        self.shared.held.load(Ordering::SeqCst)
    }

    /// Closes every connection.
    pub(crate) fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Leads new connections elsewhere, and closes those that there are.
    pub(crate) fn redirect(&self, upstream: String) {
        *self.shared.upstream.lock().unwrap() = upstream;
        self.cut();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if *shared.mode.borrow() != Mode::Refuse {
            tokio::spawn(carry(client, Arc::clone(&shared)));
        }
    }
}

/// Carries bytes both ways until one side ends or the connection is cut.
async fn carry(client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    let upstream = shared.upstream.lock().unwrap().clone();
    let both = async {
        let Ok(server) = TcpStream::connect(&upstream).await else {
            return;
        };
        let _set = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = one_way(from_client, to_server, &shared, false) => {}
            () = one_way(from_server, to_client, &shared, true) => {}
        }
    };
    tokio::select! {
        () = both => {}
        _ = cuts.changed() => {}
    }
}

async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, answers: bool) {
    let mut mode = shared.mode.subscribe();
    let (mut buffer, mut left) = (vec![0; 16 << 10], None);
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if *mode.borrow() == Mode::Hole {
            shared.held.fetch_add(1, Ordering::SeqCst);
        }
        let Ok(now) = mode.wait_for(|now| *now != Mode::Hole).await.map(|now| *now) else {
            return;
        };
        let mut part = &buffer[..count];
        match now {
            Mode::Delay(time) => pause(time).await,
            Mode::CutAfter(bytes) if answers => {
                let budget = left.get_or_insert(bytes);
                part = &part[..count.min(*budget)];
                *budget -= part.len();
            }
            Mode::StopAfter(bytes) if answers => {
                let (first, rest) = part.split_at(count.min(left.unwrap_or(bytes)));
                if to.write_all(first).await.is_err() {
                    return;
                }
                left = Some(left.unwrap_or(bytes) - first.len());
                if !rest.is_empty() {
                    if mode.wait_for(|mode| *mode != now).await.is_err() {
                        return;
                    }
                    left = None;
                }
                part = rest;
            }
            _ => left = None,
        }
        let is_cut = matches!(now, Mode::CutAfter(_)) && left == Some(0);
        if to.write_all(part).await.is_err() || is_cut {
            return;
        }
    }
}
