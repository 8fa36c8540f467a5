//! The Rust runtime spargio: work stealing over io_uring and MSG_RING, two (fan-out: four) shards.
//! It is used as its own benchmarks use it: ring messages between pinned tasks, stealable tasks for
//! CPU work, streams bound to a session shard, batched sends, multishot receives where a stream has
//! much to receive, hot and merged message tags for the keyed workload. All workloads are there.

mod messages;
mod streams;

use std::fs::File;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use common::Bench;
use common::work::{
    BATCH, BLOCK_BYTES, FIB_PLAIN_BELOW, Fanout, Work, fib_plain, mix, read_offset, read_value,
    timer_ms,
};
use futures::executor::block_on;
use futures::future::join_all;
use spargio::{Runtime, RuntimeBuilder, RuntimeError, RuntimeHandle, TaskPlacement};

/// Enough for all tasks that a workload starts before it waits; the default of 4,096 is not.
const QUEUE_CAPACITY: usize = 16 * 1024;
/// A ring whose completion queue (twice as long) holds the end of every sleep. With the default of
/// 256, `timers_10k` often never ends: each sleep is a timeout in the ring, and ends get lost when
/// it is full.
const TIMER_RING_ENTRIES: u32 = 8 * 1024;

fn main() {
    common::main("spargio", env!("PEER_VERSION"), &[], run);
}

fn run(work: Work, bench: &mut Bench) {
    match work {
        Work::PingPong { rounds } => messages::steady(messages::Kind::PingPong, rounds, bench),
        Work::Drain { rounds } => messages::steady(messages::Kind::Drain, rounds, bench),
        Work::ColdStart { rounds } => bench.measure(|| messages::once(rounds)),
        Work::Fanout(plan) => {
            let runtime = build(Runtime::builder().shards(4));
            measure(&runtime, 0, bench, |handle| fanout(handle, plan));
        }
        Work::Read { reads, depth } => {
            let runtime = build_for_io(Runtime::builder().shards(2));
            let file = File::open(bench.file()).expect("open the file");
            let file = spargio::fs::File::from_std(runtime.handle(), file).expect("a file");
            measure(&runtime, 1, bench, |_| read(file.clone(), reads, depth));
        }
        Work::Net(plan) => streams::run(plan, bench),
        Work::SpawnJoin { tasks } => {
            let runtime = build(Runtime::builder().shards(2));
            measure(&runtime, 0, bench, |handle| spawn_join(handle, tasks));
        }
        Work::Fib { n } => {
            let runtime = build(Runtime::builder().shards(2));
            measure(&runtime, 0, bench, |handle| fib(handle, n));
        }
        Work::Timers { count } => {
            let builder = Runtime::builder().shards(2).ring_entries(TIMER_RING_ENTRIES);
            let runtime = build(builder.stealable_queue_capacity(QUEUE_CAPACITY));
            measure(&runtime, 0, bench, |handle| timers(handle, count));
        }
    }
}

fn build(builder: RuntimeBuilder) -> Runtime {
    builder.build().unwrap_or_else(|error| common::cannot_start(format!("{error:?}")))
}

/// With the options that its benchmarks use for files and streams, where the kernel has them.
fn build_for_io(builder: RuntimeBuilder) -> Runtime {
    match builder.clone().io_uring_throughput_mode(None).build() {
        Err(RuntimeError::IoUringInit(_)) => build(builder),
        built => built.unwrap_or_else(|error| common::cannot_start(format!("{error:?}"))),
    }
}

fn measure<F>(
    runtime: &Runtime,
    shard: u16,
    bench: &mut Bench,
    repetition: impl Fn(RuntimeHandle) -> F,
) where
    F: Future<Output = u64> + Send + 'static,
{
    let handle = runtime.handle();
    bench.measure(|| {
        let place = TaskPlacement::StealablePreferred(shard);
        let task = handle.spawn_with_placement(place, repetition(handle.clone()));
        block_on(task.expect("start the repetition")).expect("the repetition ends")
    });
}

async fn fanout(handle: RuntimeHandle, plan: Fanout) -> u64 {
    let mut sum = 0u64;
    for request in 0..Fanout::REQUESTS {
        let start = |branch| {
            let (seed, iterations) = plan.branch(request, branch);
            handle.spawn_stealable(async move { mix(seed, iterations) }).expect("start a branch")
        };
        let branches: Vec<_> = (0..Fanout::BRANCHES).map(start).collect();
        for branch in branches {
            sum = sum.wrapping_add(branch.await.expect("the branch ends"));
        }
    }
    sum
}

async fn read(file: spargio::fs::File, reads: u64, depth: u64) -> u64 {
    let mut sum = 0u64;
    let mut kept = vec![0; BLOCK_BYTES];
    for first in (0..reads).step_by(depth as usize) {
        if depth == 1 {
            let (length, buffer) = file.read_at_into(read_offset(first), kept).await.expect("read");
            sum = sum.wrapping_add(read_value(first, &buffer[..length]));
            kept = buffer;
            continue;
        }
        let batch =
            (first..first + depth).map(|i| {
                let file = &file;
                async move {
                    read_value(i, &file.read_at(read_offset(i), BLOCK_BYTES).await.expect("read"))
                }
            });
        for value in join_all(batch).await {
            sum = sum.wrapping_add(value);
        }
    }
    sum
}

async fn spawn_join(handle: RuntimeHandle, tasks: u64) -> u64 {
    let mut sum = 0u64;
    let mut batch = Vec::with_capacity(BATCH as usize);
    for first in (0..tasks).step_by(BATCH as usize) {
        let start = |i| handle.spawn_stealable(async move { i }).expect("start a task");
        batch.extend((first..tasks.min(first + BATCH)).map(start));
        for task in batch.drain(..) {
            sum = sum.wrapping_add(task.await.expect("the task ends"));
        }
    }
    sum
}

fn fib(handle: RuntimeHandle, n: u32) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if n < FIB_PLAIN_BELOW {
            return fib_plain(n);
        }
        let other = handle.spawn_stealable(fib(handle.clone(), n - 1)).expect("start a task");
        let own = fib(handle, n - 2).await;
        own + other.await.expect("the task ends")
    })
}

async fn timers(handle: RuntimeHandle, count: u64) -> u64 {
    let start = |i| {
        let task = async move {
            spargio::sleep(Duration::from_millis(timer_ms(i))).await;
            1
        };
        handle.spawn_stealable(task).expect("start a sleep")
    };
    let sleeps: Vec<_> = (0..count).map(start).collect();
    let mut ended = 0;
    for sleep in sleeps {
        ended += sleep.await.expect("the sleep ends");
    }
    ended
}
