//! Ping-pong, drain and cold start as ring messages: the client pinned to shard 0, the responder to
//! shard 1.

use std::sync::mpsc as blocking;

use common::Bench;
use futures::StreamExt;
use futures::channel::mpsc;
use futures::executor::block_on;
use spargio::{Event, JoinHandle, RemoteShard, Runtime, ShardCtx};

const PING: u16 = 1;
const ACK: u16 = 2;
const ONE_WAY: u16 = 3;
const FLUSH: u16 = 4;
const SUM: u16 = 5;
const STOP: u16 = 6;

/// The ring of a drain holds all its messages.
const DRAIN_RING_ENTRIES: u32 = 4096;

#[derive(Clone, Copy)]
pub enum Kind {
    PingPong,
    Drain,
}

/// A runtime with both sides.
struct Pair {
    runtime: Runtime,
    commands: mpsc::UnboundedSender<()>,
    results: blocking::Receiver<u64>,
    tasks: [JoinHandle<()>; 2],
}

impl Pair {
    fn start(kind: Kind, rounds: u32) -> Self {
        let builder = Runtime::builder().shards(2);
        let runtime = crate::build(match kind {
            Kind::PingPong => builder,
            Kind::Drain => builder.ring_entries(DRAIN_RING_ENTRIES),
        });
        let (commands, from_main) = mpsc::unbounded();
        let (to_main, results) = blocking::channel();
        let responder = runtime.spawn_on(1, respond()).expect("start the responder");
        let client = runtime.spawn_on(0, client(kind, rounds, from_main, to_main));
        let tasks = [client.expect("start the client"), responder];
        Self { runtime, commands, results, tasks }
    }

    fn run(&self) -> u64 {
        self.commands.unbounded_send(()).expect("the client waits for commands");
        self.results.recv().expect("the client answers")
    }

    fn stop(self) {
        drop(self.commands);
        for task in self.tasks {
            block_on(task).expect("the task ends well");
        }
        drop(self.runtime);
    }
}

pub fn steady(kind: Kind, rounds: u32, bench: &mut Bench) {
    let pair = Pair::start(kind, rounds);
    bench.measure(|| pair.run());
    pair.stop();
}

/// Start, ping-pong, stop.
pub fn once(rounds: u32) -> u64 {
    let pair = Pair::start(Kind::PingPong, rounds);
    let sum = pair.run();
    pair.stop();
    sum
}

async fn client(
    kind: Kind,
    rounds: u32,
    mut commands: mpsc::UnboundedReceiver<()>,
    results: blocking::Sender<u64>,
) {
    let peer = remote(1);
    while commands.next().await.is_some() {
        let sum = match kind {
            Kind::PingPong => ping_pong(&peer, rounds).await,
            Kind::Drain => drain(&peer, rounds).await,
        };
        results.send(sum).expect("the first thread waits for the result");
    }
    send(&peer, STOP, 0).await;
}

async fn ping_pong(peer: &RemoteShard, rounds: u32) -> u64 {
    let mut sum = 0u64;
    for i in 0..rounds {
        send(peer, PING, i).await;
        sum = sum.wrapping_add(u64::from(expect(ACK).await));
    }
    sum
}

async fn drain(peer: &RemoteShard, rounds: u32) -> u64 {
    let values = (0..rounds).map(|i| (ONE_WAY, i));
    peer.send_many_raw_nowait(values).expect("send one way");
    peer.flush().expect("flush").await.expect("flush");
    send(peer, FLUSH, 0).await;
    u64::from(expect(SUM).await)
}

async fn respond() {
    let peer = remote(0);
    let mut sum = 0u32;
    loop {
        match next().await {
            (PING, value) => send(&peer, ACK, value).await,
            (ONE_WAY, value) => sum = sum.wrapping_add(value),
            (FLUSH, _) => send(&peer, SUM, std::mem::take(&mut sum)).await,
            (STOP, _) => return,
            (tag, _) => panic!("message with tag {tag}"),
        }
    }
}

fn remote(shard: u16) -> RemoteShard {
    let context = ShardCtx::current().expect("a task runs on a shard");
    context.remote(shard).expect("there are two shards")
}

async fn send(peer: &RemoteShard, tag: u16, value: u32) {
    peer.send_raw(tag, value).expect("send").await.expect("send");
}

async fn next() -> (u16, u32) {
    // The context must not be held while waiting.
    let event = { ShardCtx::current().expect("a task runs on a shard").next_event() };
    let Event::RingMsg { tag, val, .. } = event.await;
    (tag, val)
}

async fn expect(wanted: u16) -> u32 {
    let (tag, value) = next().await;
    assert_eq!(tag, wanted, "tag of the answer");
    value
}
