//! A stream whose peer has to take what is written to it: slowly if it must, but not never.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Fails to write once the peer has taken nothing for as long as this.
const PATIENCE: Duration = Duration::from_secs(30);

/// A stream that can be had back, which those of tokio-io-timeout cannot once they are pinned.
pub(super) struct Stalling<S> {
    stream: S,
    /// Runs while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> fmt::Debug for Stalling<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stalling").field("stalled", &self.stalled.is_some()).finish_non_exhaustive()
    }
}

impl<S: AsyncWrite + Unpin> Stalling<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { stream, stalled: None }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Goes on with the output, unless the peer has taken none of it for too long.
    fn go_on<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(done) = write(Pin::new(&mut self.stream), context) {
            self.stalled = None;
            return Poll::Ready(done);
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        stalled.as_mut().poll(context).map(|()| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "its client takes nothing of what it asked for"))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.go_on(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.go_on(context, |stream, context| stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.go_on(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.go_on(context, |stream, context| stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::spawn;
    use tokio::time::Instant;

    /// More than what lies between the two ends.
    const DOWNLOAD: [u8; 1_000] = [7; 1_000];

    #[tokio::test(start_paused = true)]
    async fn who_takes_little_at_a_time_gets_all_of_it_however_long_that_takes() {
        let (near, mut far) = duplex(16);
        let start = Instant::now();
        let download = spawn(async move {
            let mut near = Stalling::new(near);
            near.write_all(&DOWNLOAD).await?;
            near.shutdown().await
        });
        let mut got = Vec::new();
        while got.len() < DOWNLOAD.len() {
            sleep(PATIENCE - Duration::from_secs(1)).await;
            let count = far.read_buf(&mut got).await.expect("an open stream");
            assert!(count > 0, "cut after {} bytes", got.len());
        }
        assert!(got == DOWNLOAD && start.elapsed() > 20 * PATIENCE);
        download.await.expect("no panic").expect("all is written");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_any_more_is_given_up() {
        let (near, mut far) = duplex(16);
        let mut near = Stalling::new(near);
        let start = Instant::now();
        let reader = spawn(async move {
            sleep(PATIENCE / 2).await;
            far.read_exact(&mut [0; 100]).await.expect("some of it");
            far
        });
        let failed = near.write_all(&DOWNLOAD).await.expect_err("nobody reads");
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
        // Since the last byte was taken, and no sooner.
        assert_eq!(start.elapsed(), PATIENCE / 2 + PATIENCE);
        drop(reader.await);
    }
}
