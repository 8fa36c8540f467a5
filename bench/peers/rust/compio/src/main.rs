//! compio: one loop per thread on io_uring, no stealing. Two (fan-out: four) runtimes on threads of
//! their own; work is divided statically. Messages between loops go through unbounded `flume`
//! channels, as compio has no channels of its own (its dispatcher hands whole closures to threads).
//! All workloads are there.

use std::future::Future;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use common::loops::{self, Flume, Local};
use common::net::Wire;
use compio::BufResult;
use compio::buf::{IntoInner, IoBuf};
use compio::io::{AsyncRead, AsyncReadAt, AsyncReadExt, AsyncWriteExt};
use compio::runtime::Runtime;

struct Compio;

impl Local for Compio {
    type Channels = Flume;
    type Wire = Stream;
    type File = compio::fs::File;

    fn drive<F: Future<Output = ()> + 'static>(future: F) {
        let runtime = Runtime::new().unwrap_or_else(|error| common::cannot_start(error));
        runtime.block_on(future);
    }

    fn spawn<T: 'static>(
        future: impl Future<Output = T> + 'static,
    ) -> impl Future<Output = T> + 'static {
        let task = compio::runtime::spawn(future);
        async move { task.await.expect("the task ends") }
    }

    fn detach(future: impl Future<Output = ()> + 'static) {
        compio::runtime::spawn(future).detach();
    }

    async fn sleep(duration: Duration) {
        compio::time::sleep(duration).await;
    }

    fn wire(stream: TcpStream) -> Stream {
        Stream(compio::net::TcpStream::from_std(stream).expect("compio takes the stream"))
    }

    async fn open(path: &Path) -> Self::File {
        compio::fs::File::open(path).await.expect("open the file")
    }

    async fn read_block(
        file: &Self::File,
        buffer: Vec<u8>,
        offset: u64,
        look: impl FnOnce(&[u8]) -> u64,
    ) -> (u64, Vec<u8>) {
        let BufResult(length, buffer) = file.read_at(buffer, offset).await;
        (look(&buffer[..length.expect("read")]), buffer)
    }
}

struct Stream(compio::net::TcpStream);

impl Wire for Stream {
    async fn read(&mut self, buffer: Vec<u8>) -> (usize, Vec<u8>) {
        let BufResult(length, buffer) = self.0.read(buffer).await;
        (length.expect("receive"), buffer)
    }

    async fn read_exact(&mut self, buffer: Vec<u8>) -> Vec<u8> {
        let BufResult(done, buffer) = self.0.read_exact(buffer).await;
        done.expect("receive a whole frame");
        buffer
    }

    async fn write(&mut self, buffer: Vec<u8>, length: usize) -> Vec<u8> {
        let BufResult(done, slice) = self.0.write_all(buffer.slice(..length)).await;
        done.expect("send");
        slice.into_inner()
    }
}

fn main() {
    common::main("compio", env!("PEER_VERSION"), &[], loops::run::<Compio>);
}
