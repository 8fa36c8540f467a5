//! glommio: one executor per thread on io_uring, no stealing. Two (fan-out: four) executors, not
//! pinned to CPUs; work is divided statically. Messages between executors go through its shared
//! channels, which are bounded (here: 4,096 messages). Files are `BufferedFile`s, as the workloads
//! read from the page cache. All workloads are there.

use std::future::Future;
use std::net::TcpStream;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::path::Path;
use std::time::Duration;

use common::loops::{self, Channels, Local};
use common::net::Wire;
use common::work::BLOCK_BYTES;
use futures::{AsyncReadExt, AsyncWriteExt};
use glommio::channels::shared_channel::{
    self, ConnectedReceiver, ConnectedSender, SharedReceiver, SharedSender,
};
use glommio::io::BufferedFile;
use glommio::{LocalExecutorBuilder, Placement};

const CHANNEL_CAPACITY: usize = 4096;

struct Glommio;

impl Local for Glommio {
    type Channels = Shared;
    type Wire = Stream;
    type File = BufferedFile;

    fn drive<F: Future<Output = ()> + 'static>(future: F) {
        let made = LocalExecutorBuilder::new(Placement::Unbound).make();
        made.unwrap_or_else(|error| common::cannot_start(error)).run(future);
    }

    fn spawn<T: 'static>(
        future: impl Future<Output = T> + 'static,
    ) -> impl Future<Output = T> + 'static {
        glommio::spawn_local(future)
    }

    fn detach(future: impl Future<Output = ()> + 'static) {
        glommio::spawn_local(future).detach();
    }

    async fn sleep(duration: Duration) {
        glommio::timer::sleep(duration).await;
    }

    fn wire(stream: TcpStream) -> Stream {
        // SAFETY: the descriptor is an open TCP stream, and its only owner gives it away.
        Stream(unsafe { glommio::net::TcpStream::from_raw_fd(stream.into_raw_fd()) })
    }

    async fn open(path: &Path) -> BufferedFile {
        BufferedFile::open(path).await.expect("open the file")
    }

    async fn read_block(
        file: &BufferedFile,
        buffer: Vec<u8>,
        offset: u64,
        look: impl FnOnce(&[u8]) -> u64,
    ) -> (u64, Vec<u8>) {
        // glommio brings the buffer itself.
        let block = file.read_at(offset, BLOCK_BYTES).await.expect("read");
        (look(&block), buffer)
    }
}

/// glommio's own channels from executor to executor.
struct Shared;

impl Channels for Shared {
    type Sender<T: Send + 'static> = SharedSender<T>;
    type Receiver<T: Send + 'static> = SharedReceiver<T>;
    type Tx<T: Send + 'static> = ConnectedSender<T>;
    type Rx<T: Send + 'static> = ConnectedReceiver<T>;

    fn channel<T: Send + 'static>() -> (SharedSender<T>, SharedReceiver<T>) {
        shared_channel::new_bounded(CHANNEL_CAPACITY)
    }

    async fn bind_sender<T: Send + 'static>(sender: SharedSender<T>) -> ConnectedSender<T> {
        sender.connect().await
    }

    async fn bind_receiver<T: Send + 'static>(receiver: SharedReceiver<T>) -> ConnectedReceiver<T> {
        receiver.connect().await
    }

    async fn send<T: Send + 'static>(sender: &ConnectedSender<T>, value: T) {
        assert!(sender.send(value).await.is_ok(), "the receiving executor is gone");
    }

    async fn receive<T: Send + 'static>(receiver: &mut ConnectedReceiver<T>) -> Option<T> {
        receiver.recv().await
    }
}

struct Stream(glommio::net::TcpStream);

impl Wire for Stream {
    async fn read(&mut self, mut buffer: Vec<u8>) -> (usize, Vec<u8>) {
        let length = self.0.read(&mut buffer).await.expect("receive");
        (length, buffer)
    }

    async fn read_exact(&mut self, mut buffer: Vec<u8>) -> Vec<u8> {
        self.0.read_exact(&mut buffer).await.expect("receive a whole frame");
        buffer
    }

    async fn write(&mut self, buffer: Vec<u8>, length: usize) -> Vec<u8> {
        self.0.write_all(&buffer[..length]).await.expect("send");
        buffer
    }
}

fn main() {
    common::main("glommio", env!("PEER_VERSION"), &[], loops::run::<Glommio>);
}
