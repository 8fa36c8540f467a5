//! Ping-pong, drain and cold start: the client in `block_on`, the responder on a worker.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use common::Bench;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

#[derive(Clone, Copy)]
pub enum Kind {
    PingPong,
    Drain,
}

enum ToResponder {
    Ping(u32),
    OneWay(u32),
    Flush,
}

/// The runtime with both sides; the runtime ends with the client.
struct Pair {
    commands: UnboundedSender<()>,
    results: mpsc::Receiver<u64>,
    thread: JoinHandle<()>,
}

impl Pair {
    fn start(kind: Kind, rounds: u32) -> Self {
        let (commands, from_main) = unbounded_channel();
        let (to_main, results) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = crate::runtime(2);
            runtime.block_on(client(kind, rounds, from_main, to_main));
        });
        Self { commands, results, thread }
    }

    fn run(&self) -> u64 {
        self.commands.send(()).expect("the client waits for commands");
        self.results.recv().expect("the client answers")
    }

    fn stop(self) {
        drop(self.commands);
        self.thread.join().expect("the runtime's thread ends well");
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
    mut commands: UnboundedReceiver<()>,
    results: mpsc::Sender<u64>,
) {
    let (to, from_client) = unbounded_channel();
    let (to_client, mut from) = unbounded_channel();
    let responder = tokio::spawn(respond(from_client, to_client));
    while commands.recv().await.is_some() {
        let sum = match kind {
            Kind::PingPong => ping_pong(rounds, &to, &mut from).await,
            Kind::Drain => drain(rounds, &to, &mut from).await,
        };
        results.send(sum).expect("the first thread waits for the result");
    }
    drop(to);
    responder.await.expect("the responder ends");
}

async fn ping_pong(
    rounds: u32,
    to: &UnboundedSender<ToResponder>,
    from: &mut UnboundedReceiver<u32>,
) -> u64 {
    let mut sum = 0u64;
    for i in 0..rounds {
        assert!(to.send(ToResponder::Ping(i)).is_ok(), "the responder lives");
        let value = from.recv().await.expect("the responder lives");
        sum = sum.wrapping_add(u64::from(value));
    }
    sum
}

async fn drain(
    rounds: u32,
    to: &UnboundedSender<ToResponder>,
    from: &mut UnboundedReceiver<u32>,
) -> u64 {
    for i in 0..rounds {
        assert!(to.send(ToResponder::OneWay(i)).is_ok(), "the responder lives");
    }
    assert!(to.send(ToResponder::Flush).is_ok(), "the responder lives");
    u64::from(from.recv().await.expect("the responder lives"))
}

async fn respond(mut from: UnboundedReceiver<ToResponder>, to: UnboundedSender<u32>) {
    let mut sum = 0u32;
    while let Some(message) = from.recv().await {
        let answer = match message {
            ToResponder::Ping(value) => value,
            ToResponder::OneWay(value) => {
                sum = sum.wrapping_add(value);
                continue;
            }
            ToResponder::Flush => std::mem::take(&mut sum),
        };
        to.send(answer).expect("the client lives");
    }
}
