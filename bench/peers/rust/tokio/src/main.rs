//! tokio: work stealing over epoll, two (fan-out: four) worker threads. Tasks have no place: the
//! workers share them as tokio sees fit. In the message workloads the client runs in `block_on` on
//! a thread of its own, so that its messages always cross to a worker; everything else runs on the
//! workers. Files are read with `pread` on the pool for blocking calls, which is what tokio's own
//! file type does too. All workloads are there.

mod messages;
mod streams;

use std::fs::File;
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use common::Bench;
use common::work::{
    BATCH, BLOCK_BYTES, FIB_PLAIN_BELOW, Fanout, Work, fib_plain, mix, read_offset, read_value,
    timer_ms,
};
use futures::future::join_all;
use tokio::runtime::{Builder, Runtime};

fn main() {
    common::main("tokio", env!("PEER_VERSION"), &[], run);
}

fn run(work: Work, bench: &mut Bench) {
    match work {
        Work::PingPong { rounds } => messages::steady(messages::Kind::PingPong, rounds, bench),
        Work::Drain { rounds } => messages::steady(messages::Kind::Drain, rounds, bench),
        Work::ColdStart { rounds } => bench.measure(|| messages::once(rounds)),
        Work::Fanout(plan) => measure(4, bench, || fanout(plan)),
        Work::Read { reads, depth } => {
            let file = Arc::new(File::open(bench.file()).expect("open the file"));
            measure(2, bench, || read(file.clone(), reads, depth));
        }
        Work::Net(plan) => streams::run(plan, bench),
        Work::SpawnJoin { tasks } => measure(2, bench, || spawn_join(tasks)),
        Work::Fib { n } => measure(2, bench, || fib(n)),
        Work::Timers { count } => measure(2, bench, || timers(count)),
    }
}

fn runtime(workers: usize) -> Runtime {
    let built = Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    built.unwrap_or_else(|error| common::cannot_start(error))
}

fn measure<F>(workers: usize, bench: &mut Bench, repetition: impl Fn() -> F)
where
    F: Future<Output = u64> + Send + 'static,
{
    let runtime = runtime(workers);
    bench.measure(|| on_workers(&runtime, repetition()));
}

/// Runs the future as a task and blocks this thread, which is no worker, until it ends.
fn on_workers<T: Send + 'static>(
    runtime: &Runtime,
    future: impl Future<Output = T> + Send + 'static,
) -> T {
    let (sender, receiver) = mpsc::sync_channel(1);
    runtime.spawn(async move { sender.send(future.await) });
    receiver.recv().expect("the task ends")
}

async fn fanout(plan: Fanout) -> u64 {
    let mut sum = 0u64;
    for request in 0..Fanout::REQUESTS {
        let start = |branch| {
            let (seed, iterations) = plan.branch(request, branch);
            tokio::spawn(async move { mix(seed, iterations) })
        };
        let branches: Vec<_> = (0..Fanout::BRANCHES).map(start).collect();
        for branch in branches {
            sum = sum.wrapping_add(branch.await.expect("the branch ends"));
        }
    }
    sum
}

async fn read(file: Arc<File>, reads: u64, depth: u64) -> u64 {
    let mut sum = 0u64;
    for first in (0..reads).step_by(depth as usize) {
        let batch = (first..first + depth).map(|i| {
            let file = file.clone();
            tokio::task::spawn_blocking(move || {
                let mut block = [0; BLOCK_BYTES];
                let length = file.read_at(&mut block, read_offset(i)).expect("read");
                read_value(i, &block[..length])
            })
        });
        for value in join_all(batch).await {
            sum = sum.wrapping_add(value.expect("the read ends"));
        }
    }
    sum
}

async fn spawn_join(tasks: u64) -> u64 {
    let mut sum = 0u64;
    let mut batch = Vec::with_capacity(BATCH as usize);
    for first in (0..tasks).step_by(BATCH as usize) {
        let end = tasks.min(first + BATCH);
        batch.extend((first..end).map(|i| tokio::spawn(async move { i })));
        for task in batch.drain(..) {
            sum = sum.wrapping_add(task.await.expect("the task ends"));
        }
    }
    sum
}

fn fib(n: u32) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if n < FIB_PLAIN_BELOW {
            return fib_plain(n);
        }
        let other = tokio::spawn(fib(n - 1));
        let own = fib(n - 2).await;
        own + other.await.expect("the task ends")
    })
}

async fn timers(count: u64) -> u64 {
    let start = |i| {
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(timer_ms(i))).await;
            1
        })
    };
    let sleeps: Vec<_> = (0..count).map(start).collect();
    let mut ended = 0;
    for sleep in sleeps {
        ended += sleep.await.expect("the sleep ends");
    }
    ended
}
