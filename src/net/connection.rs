//! Reading from and writing to a watched socket, as the async traits want it.

use std::io;
use std::io::IoSlice;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use rustix::net::RecvFlags;
use rustix::net::SendFlags;
use rustix::net::Shutdown;
use smol::io::AsyncRead;
use smol::io::AsyncWrite;

use crate::net::ready::Watched;

impl<T: AsFd + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let size = room.len();
        let read = self.poll_input(context, |socket| {
            rustix::net::recv(socket, &mut *room, RecvFlags::empty())
        });
        read.map(|read| {
            let (count, _) = read?;
            if count < size {
                // More of it, or the end, is an event of its own.
                self.on_drained();
            }
            Ok(count)
        })
    }
}

impl<T: AsFd + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = self.poll_output(context, |socket| {
            rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)
        });
        sent.map_err(io::Error::from)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // The signal for a broken connection is ignored by every Rust program.
        let sent = self.poll_output(context, |socket| rustix::io::writev(socket, parts));
        sent.map_err(io::Error::from)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = rustix::net::shutdown(self.get_ref(), Shutdown::Write);
        Poll::Ready(ended.map_err(io::Error::from))
    }
}

#[cfg(test)]
mod tests {
    use crate::net::ready::{Watched, block_on};
    use smol::future;
    use smol::io::{AsyncReadExt, AsyncWriteExt};
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        (near, far)
    }

    #[test]
    fn what_comes_before_between_and_after_is_read_and_so_is_the_end() {
        let (near, mut far) = pair();
        block_on(async {
            far.write_all(b"one").unwrap();
            let mut near = Watched::new(near).unwrap();
            let mut room = [0; 8];
            assert_eq!(near.read(&mut room).await.unwrap(), 3);
            let other = std::thread::spawn(move || {
                far.write_all(b"twotwotwotwo").unwrap();
                far
            });
            let mut got = 0;
            while got < 12 {
                got += near.read(&mut room).await.unwrap();
            }
            let mut far = other.join().unwrap();
            far.write_all(b"end").unwrap();
            far.shutdown(Shutdown::Both).unwrap();
            assert_eq!(near.read(&mut room).await.unwrap(), 3);
            assert_eq!(near.read(&mut room).await.unwrap(), 0);
            assert_eq!(near.read(&mut room).await.unwrap(), 0);
        })
        .unwrap();
    }

    #[test]
    fn writing_waits_for_room_while_reading_goes_on() {
        const BYTES: usize = 4 << 20;
        let (near, mut far) = pair();
        let mut back = far.try_clone().unwrap();
        let answers = std::thread::spawn(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).unwrap();
            all.len()
        });
        block_on(async {
            let mut near = Watched::new(near).unwrap();
            let block = vec![7; 1 << 16];
            let mut sent = 0;
            while sent < BYTES {
                let part = &block[..block.len().min(BYTES - sent)];
                sent += near.write(part).await.unwrap();
            }
            near.close().await.unwrap();
            let mut room = [0; 4];
            assert!(future::poll_once(near.read(&mut room)).await.is_none());
            back.write_all(b"all").unwrap();
            assert_eq!(near.read(&mut room).await.unwrap(), 3);
        })
        .unwrap();
        assert_eq!(answers.join().unwrap(), BYTES);
    }

    #[test]
    fn what_the_peer_does_not_take_any_more_is_an_error() {
        let (near, far) = pair();
        drop(far);
        block_on(async {
            let mut near = Watched::new(near).unwrap();
            assert!(near.write_all(b"hello").await.is_err());
            assert_eq!(near.read(&mut [0; 4]).await.unwrap(), 0);
        })
        .unwrap();
    }
}
