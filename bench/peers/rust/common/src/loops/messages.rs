//! Ping-pong, drain and cold start: the client's loop on thread 0, the responder's on thread 1.

use super::{Channels, Local, Loops, Port};
use crate::Bench;

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

type Sender<L, T> = <<L as Local>::Channels as Channels>::Sender<T>;
type Receiver<L, T> = <<L as Local>::Channels as Channels>::Receiver<T>;
type Tx<L, T> = <<L as Local>::Channels as Channels>::Tx<T>;
type Rx<L, T> = <<L as Local>::Channels as Channels>::Rx<T>;

enum Seat<L: Local> {
    Client(Kind, u32, Sender<L, ToResponder>, Receiver<L, u32>),
    Responder(Receiver<L, ToResponder>, Sender<L, u32>),
}

pub fn steady<L: Local>(kind: Kind, rounds: u32, bench: &mut Bench) {
    start::<L>(kind, rounds).measure(bench, &[0]);
}

/// Start, ping-pong, stop.
pub fn once<L: Local>(rounds: u32) -> u64 {
    let loops = start::<L>(Kind::PingPong, rounds);
    let sum = loops.run(&[0]);
    loops.stop();
    sum
}

fn start<L: Local>(kind: Kind, rounds: u32) -> Loops {
    let (to, from_client) = L::Channels::channel();
    let (to_client, from) = L::Channels::channel();
    let client = Seat::<L>::Client(kind, rounds, to, from);
    let responder = Seat::<L>::Responder(from_client, to_client);
    Loops::start::<L, _, _>(vec![client, responder], session::<L>)
}

async fn session<L: Local>(seat: Seat<L>, port: Port) {
    match seat {
        Seat::Client(kind, rounds, to, from) => {
            let to = L::Channels::bind_sender(to).await;
            let mut from = L::Channels::bind_receiver(from).await;
            while port.next().await {
                port.done(match kind {
                    Kind::PingPong => ping_pong::<L>(rounds, &to, &mut from).await,
                    Kind::Drain => drain::<L>(rounds, &to, &mut from).await,
                });
            }
        }
        Seat::Responder(from, to) => {
            let from = L::Channels::bind_receiver(from).await;
            respond::<L>(from, L::Channels::bind_sender(to).await).await;
        }
    }
}

async fn ping_pong<L: Local>(rounds: u32, to: &Tx<L, ToResponder>, from: &mut Rx<L, u32>) -> u64 {
    let mut sum = 0u64;
    for i in 0..rounds {
        L::Channels::send(to, ToResponder::Ping(i)).await;
        let value = L::Channels::receive(from).await.expect("the responder lives");
        sum = sum.wrapping_add(u64::from(value));
    }
    sum
}

async fn drain<L: Local>(rounds: u32, to: &Tx<L, ToResponder>, from: &mut Rx<L, u32>) -> u64 {
    for i in 0..rounds {
        L::Channels::send(to, ToResponder::OneWay(i)).await;
    }
    L::Channels::send(to, ToResponder::Flush).await;
    u64::from(L::Channels::receive(from).await.expect("the responder lives"))
}

async fn respond<L: Local>(mut from: Rx<L, ToResponder>, to: Tx<L, u32>) {
    let mut sum = 0u32;
    while let Some(message) = L::Channels::receive(&mut from).await {
        match message {
            ToResponder::Ping(value) => L::Channels::send(&to, value).await,
            ToResponder::OneWay(value) => sum = sum.wrapping_add(value),
            ToResponder::Flush => {
                L::Channels::send(&to, sum).await;
                sum = 0;
            }
        }
    }
}
