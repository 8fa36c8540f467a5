//! All workloads for a runtime of one loop per thread without stealing: the work is divided
//! statically. A peer gives its loop as `Local` and its way to send from loop to loop as
//! `Channels`.
//!
//! Each thread runs one *session*: it sets itself up, then does one repetition for each command.

mod cpu;
mod messages;
mod streams;

use std::future::Future;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::future::join_all;

use crate::Bench;
use crate::net::Wire;
use crate::work::{BLOCK_BYTES, Work, read_offset, read_value};

/// A runtime with one loop per thread.
#[allow(async_fn_in_trait)] // nothing leaves its thread
pub trait Local: 'static {
    type Channels: Channels;
    type Wire: Wire + 'static;
    type File;

    /// Starts a loop on the calling thread and runs the future to its end there.
    fn drive<F: Future<Output = ()> + 'static>(future: F);
    /// Starts a task on the present loop at once; the future joins it.
    fn spawn<T: 'static>(
        future: impl Future<Output = T> + 'static,
    ) -> impl Future<Output = T> + 'static;
    /// Starts a task that nobody joins.
    fn detach(future: impl Future<Output = ()> + 'static);
    async fn sleep(duration: Duration);
    fn wire(stream: TcpStream) -> Self::Wire;
    async fn open(path: &Path) -> Self::File;
    /// Reads a block. Passes the bytes to `look` and returns its value and the buffer.
    async fn read_block(
        file: &Self::File,
        buffer: Vec<u8>,
        offset: u64,
        look: impl FnOnce(&[u8]) -> u64,
    ) -> (u64, Vec<u8>);
}

/// One-way channels between two loops, or from a loop to itself. The ends travel to their threads
/// and are bound there.
#[allow(async_fn_in_trait)]
pub trait Channels: 'static {
    type Sender<T: Send + 'static>: Send + 'static;
    type Receiver<T: Send + 'static>: Send + 'static;
    type Tx<T: Send + 'static>: 'static;
    type Rx<T: Send + 'static>: 'static;

    fn channel<T: Send + 'static>() -> (Self::Sender<T>, Self::Receiver<T>);
    async fn bind_sender<T: Send + 'static>(sender: Self::Sender<T>) -> Self::Tx<T>;
    async fn bind_receiver<T: Send + 'static>(receiver: Self::Receiver<T>) -> Self::Rx<T>;
    async fn send<T: Send + 'static>(sender: &Self::Tx<T>, value: T);
    /// None when the sender is gone.
    async fn receive<T: Send + 'static>(receiver: &mut Self::Rx<T>) -> Option<T>;
}

/// Channels of the `flume` crate, unbounded: for runtimes that have none of their own.
pub struct Flume;

impl Channels for Flume {
    type Sender<T: Send + 'static> = flume::Sender<T>;
    type Receiver<T: Send + 'static> = flume::Receiver<T>;
    type Tx<T: Send + 'static> = flume::Sender<T>;
    type Rx<T: Send + 'static> = flume::Receiver<T>;

    fn channel<T: Send + 'static>() -> (Self::Sender<T>, Self::Receiver<T>) {
        flume::unbounded()
    }

    async fn bind_sender<T: Send + 'static>(sender: Self::Sender<T>) -> Self::Tx<T> {
        sender
    }

    async fn bind_receiver<T: Send + 'static>(receiver: Self::Receiver<T>) -> Self::Rx<T> {
        receiver
    }

    async fn send<T: Send + 'static>(sender: &Self::Tx<T>, value: T) {
        assert!(sender.send(value).is_ok(), "the receiving loop is gone");
    }

    async fn receive<T: Send + 'static>(receiver: &mut Self::Rx<T>) -> Option<T> {
        receiver.recv_async().await.ok()
    }
}

/// A session's line to the program's first thread.
pub struct Port {
    commands: flume::Receiver<()>,
    results: mpsc::Sender<u64>,
}

impl Port {
    /// Waits for the next repetition; false when there is none any more.
    async fn next(&self) -> bool {
        self.commands.recv_async().await.is_ok()
    }

    fn done(&self, sum: u64) {
        self.results.send(sum).expect("the first thread waits for the result");
    }
}

/// The threads, seen from the program's first thread.
struct Loops {
    commands: Vec<flume::Sender<()>>,
    results: mpsc::Receiver<u64>,
    threads: Vec<JoinHandle<()>>,
}

impl Loops {
    /// One thread per seat; `session` gets the seat.
    fn start<L: Local, S, F>(seats: Vec<S>, session: fn(S, Port) -> F) -> Self
    where
        S: Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let (sender, results) = mpsc::channel();
        let mut loops = Self { commands: Vec::new(), results, threads: Vec::new() };
        for seat in seats {
            let (command, commands) = flume::unbounded();
            let port = Port { commands, results: sender.clone() };
            loops.commands.push(command);
            loops.threads.push(thread::spawn(move || {
                // An async block, so that the session itself begins on the loop.
                L::drive(async move { session(seat, port).await });
            }));
        }
        loops
    }

    /// One repetition on the given threads.
    fn run(&self, threads: &[usize]) -> u64 {
        for &thread in threads {
            self.commands[thread].send(()).expect("the session waits for commands");
        }
        let results = threads.iter().map(|_| self.results.recv().expect("the session answers"));
        results.fold(0, u64::wrapping_add)
    }

    fn stop(self) {
        drop(self.commands);
        for thread in self.threads {
            thread.join().expect("the loop's thread ends well");
        }
    }

    fn measure(self, bench: &mut Bench, threads: &[usize]) {
        bench.measure(|| self.run(threads));
        self.stop();
    }
}

/// Runs any workload.
pub fn run<L: Local>(work: Work, bench: &mut Bench) {
    match work {
        Work::PingPong { rounds } => messages::steady::<L>(messages::Kind::PingPong, rounds, bench),
        Work::Drain { rounds } => messages::steady::<L>(messages::Kind::Drain, rounds, bench),
        Work::ColdStart { rounds } => bench.measure(|| messages::once::<L>(rounds)),
        Work::Fanout(fanout) => cpu::fanout::<L>(fanout, bench),
        Work::Read { reads, depth } => {
            let seat = Reads { path: bench.file(), reads, depth };
            Loops::start::<L, _, _>(vec![None, Some(seat)], read::<L>).measure(bench, &[1]);
        }
        Work::Net(plan) => streams::run::<L>(plan, bench),
        Work::SpawnJoin { tasks } => cpu::spawn_join::<L>(tasks, bench),
        Work::Fib { n } => cpu::fib_divided::<L>(n, bench),
        Work::Timers { count } => cpu::timers::<L>(count, bench),
    }
}

struct Reads {
    path: PathBuf,
    reads: u64,
    depth: u64,
}

async fn read<L: Local>(seat: Option<Reads>, port: Port) {
    let Some(Reads { path, reads, depth }) = seat else {
        port.next().await; // this thread idles until the end
        return;
    };
    let file = L::open(&path).await;
    let mut kept = Vec::with_capacity(BLOCK_BYTES);
    while port.next().await {
        let mut sum = 0u64;
        for first in (0..reads).step_by(depth as usize) {
            if depth == 1 {
                let look = |block: &[u8]| read_value(first, block);
                let value;
                (value, kept) = L::read_block(&file, kept, read_offset(first), look).await;
                sum = sum.wrapping_add(value);
                continue;
            }
            let batch = (first..first + depth).map(|i| {
                let look = move |block: &[u8]| read_value(i, block);
                L::read_block(&file, Vec::with_capacity(BLOCK_BYTES), read_offset(i), look)
            });
            for (value, _) in join_all(batch).await {
                sum = sum.wrapping_add(value);
            }
        }
        port.done(sum);
    }
}
