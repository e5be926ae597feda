//! A connection that is given up when its client does not take what is sent to it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A stream whose writes fail when nothing could be written for so long. Without it, a client that asks and never reads keeps its
/// connection, and what waits to be sent, for good.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    patience: Duration,
    /// When patience ends; only while a write waits.
    ends: Option<Pin<Box<Sleep>>>,
    /// Whether it does, for whoever has to know.
    is_writing: Arc<AtomicBool>,
}

impl<S> Patient<S> {
    /// `is_writing` will say whether something waits to be sent.
    pub(super) fn new(stream: S, patience: Duration, is_writing: Arc<AtomicBool>) -> Self {
        Self {
            stream,
            patience,
            ends: None,
            is_writing,
        }
    }

    /// What became of a write: an error when it has waited for too long.
    fn bounded<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.ends.take().is_some() {
                self.is_writing.store(false, Ordering::Relaxed);
            }
            return written;
        }
        self.is_writing.store(true, Ordering::Relaxed);
        let patience = self.patience;
        let ends = self
            .ends
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        match ends.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.bounded(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.bounded(shut, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.bounded(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);
    const ALMOST: Duration = Duration::from_secs(29);

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_given_up() {
        let (ours, _theirs) = tokio::io::duplex(4);
        let (began, is_writing) = (tokio::time::Instant::now(), Arc::default());
        let mut patient = Patient::new(ours, PATIENCE, Arc::clone(&is_writing));
        let written = patient.write_all(b"more than four").await;
        assert!(is_writing.load(Ordering::Relaxed));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), PATIENCE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_slowly_is_waited_for() {
        let (ours, mut theirs) = tokio::io::duplex(1);
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            for _ in 0..5 {
                tokio::time::advance(ALMOST).await;
                all.push(theirs.read_u8().await.unwrap());
            }
            all
        });
        let is_writing = Arc::default();
        let mut patient = Patient::new(ours, PATIENCE, Arc::clone(&is_writing));
        patient.write_all(b"slow!").await.unwrap();
        assert!(!is_writing.load(Ordering::Relaxed));
        assert_eq!(reading.await.unwrap(), b"slow!");
    }
}
