//! monoio: one loop per thread on io_uring, no stealing. Two (fan-out: four) runtimes on threads of
//! their own; work is divided statically. Messages between loops go through unbounded `flume`
//! channels; monoio's feature `sync` makes wakers work across threads. All workloads are there.

use std::future::Future;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use common::loops::{self, Flume, Local};
use common::net::Wire;
use monoio::buf::IoBuf;
use monoio::io::{AsyncReadRent, AsyncReadRentExt, AsyncWriteRentExt};
use monoio::{IoUringDriver, RuntimeBuilder};

struct Monoio;

impl Local for Monoio {
    type Channels = Flume;
    type Wire = Stream;
    type File = monoio::fs::File;

    fn drive<F: Future<Output = ()> + 'static>(future: F) {
        let built = RuntimeBuilder::<IoUringDriver>::new().enable_timer().build();
        let mut runtime = built.unwrap_or_else(|error| common::cannot_start(error));
        runtime.block_on(future);
    }

    fn spawn<T: 'static>(
        future: impl Future<Output = T> + 'static,
    ) -> impl Future<Output = T> + 'static {
        monoio::spawn(future)
    }

    fn detach(future: impl Future<Output = ()> + 'static) {
        drop(monoio::spawn(future)); // the task goes on
    }

    async fn sleep(duration: Duration) {
        monoio::time::sleep(duration).await;
    }

    fn wire(stream: TcpStream) -> Stream {
        Stream(monoio::net::TcpStream::from_std(stream).expect("monoio takes the stream"))
    }

    async fn open(path: &Path) -> Self::File {
        monoio::fs::File::open(path).await.expect("open the file")
    }

    async fn read_block(
        file: &Self::File,
        buffer: Vec<u8>,
        offset: u64,
        look: impl FnOnce(&[u8]) -> u64,
    ) -> (u64, Vec<u8>) {
        let (length, buffer) = file.read_at(buffer, offset).await;
        (look(&buffer[..length.expect("read")]), buffer)
    }
}

struct Stream(monoio::net::TcpStream);

impl Wire for Stream {
    async fn read(&mut self, buffer: Vec<u8>) -> (usize, Vec<u8>) {
        let (length, buffer) = self.0.read(buffer).await;
        (length.expect("receive"), buffer)
    }

    async fn read_exact(&mut self, buffer: Vec<u8>) -> Vec<u8> {
        let (done, buffer) = self.0.read_exact(buffer).await;
        done.expect("receive a whole frame");
        buffer
    }

    async fn write(&mut self, buffer: Vec<u8>, length: usize) -> Vec<u8> {
        let (done, slice) = self.0.write_all(buffer.slice(..length)).await;
        done.expect("send");
        slice.into_inner()
    }
}

fn main() {
    common::main("monoio", env!("PEER_VERSION"), &[], loops::run::<Monoio>);
}
