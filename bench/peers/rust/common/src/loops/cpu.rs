//! Fan-out, tasks and timers, each loop with its fixed share.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use super::{Channels, Local, Loops, Port};
use crate::Bench;
use crate::work::{BATCH, FIB_PLAIN_BELOW, Fanout, fib_plain, mix, timer_ms};

type Sender<L, T> = <<L as Local>::Channels as Channels>::Sender<T>;
type Receiver<L, T> = <<L as Local>::Channels as Channels>::Receiver<T>;

/// Seed and iterations.
type Branch = (u64, u32);

enum Seat<L: Local> {
    /// Thread 0, with a line to and from each other thread.
    Driver(Fanout, Vec<(Sender<L, Branch>, Receiver<L, u64>)>),
    Worker(Receiver<L, Branch>, Sender<L, u64>),
}

pub fn fanout<L: Local>(fanout: Fanout, bench: &mut Bench) {
    let mut lines = Vec::new();
    let mut workers = Vec::new();
    for _ in 1..4 {
        let (branches_to, branches) = L::Channels::channel();
        let (results_to, results) = L::Channels::channel();
        lines.push((branches_to, results));
        workers.push(Seat::<L>::Worker(branches, results_to));
    }
    let mut seats = vec![Seat::<L>::Driver(fanout, lines)];
    seats.append(&mut workers);
    Loops::start::<L, _, _>(seats, fanout_session::<L>).measure(bench, &[0]);
}

async fn fanout_session<L: Local>(seat: Seat<L>, port: Port) {
    match seat {
        Seat::Driver(fanout, lines) => drive::<L>(fanout, lines, port).await,
        Seat::Worker(branches, results) => {
            let mut branches = L::Channels::bind_receiver(branches).await;
            let results = Rc::new(L::Channels::bind_sender(results).await);
            while let Some((seed, iterations)) = L::Channels::receive(&mut branches).await {
                let results = results.clone();
                L::detach(async move {
                    L::Channels::send(&*results, mix(seed, iterations)).await;
                });
            }
        }
    }
}

async fn drive<L: Local>(
    fanout: Fanout,
    lines: Vec<(Sender<L, Branch>, Receiver<L, u64>)>,
    port: Port,
) {
    let mut others = Vec::new();
    for (to, from) in lines {
        let to = L::Channels::bind_sender(to).await;
        others.push((to, L::Channels::bind_receiver(from).await));
    }
    while port.next().await {
        let mut sum = 0u64;
        for request in 0..Fanout::REQUESTS {
            let mut own = Vec::new();
            for branch in 0..Fanout::BRANCHES {
                let (seed, iterations) = fanout.branch(request, branch);
                match branch as usize % 4 {
                    0 => own.push(L::spawn(async move { mix(seed, iterations) })),
                    thread => {
                        L::Channels::send(&others[thread - 1].0, (seed, iterations)).await;
                    }
                }
            }
            for result in own {
                sum = sum.wrapping_add(result.await);
            }
            for (_, results) in &mut others {
                for _ in 0..Fanout::BRANCHES / 4 {
                    let result = L::Channels::receive(results).await.expect("the worker lives");
                    sum = sum.wrapping_add(result);
                }
            }
        }
        port.done(sum);
    }
}

/// Thread 0 gets the first half of the tasks, thread 1 the second.
pub fn spawn_join<L: Local>(tasks: u64, bench: &mut Bench) {
    let seats = vec![0..tasks / 2, tasks / 2..tasks];
    Loops::start::<L, _, _>(seats, spawn_join_session::<L>).measure(bench, &[0, 1]);
}

async fn spawn_join_session<L: Local>(tasks: std::ops::Range<u64>, port: Port) {
    let mut batch = Vec::with_capacity(BATCH as usize);
    while port.next().await {
        let mut sum = 0u64;
        for first in tasks.clone().step_by(BATCH as usize) {
            let end = tasks.end.min(first + BATCH);
            batch.extend((first..end).map(|i| L::spawn(async move { i })));
            for task in batch.drain(..) {
                sum = sum.wrapping_add(task.await);
            }
        }
        port.done(sum);
    }
}

/// fib(n) = 2 fib(n-2) + fib(n-4) + fib(n-5), the near-halves of it on two threads.
pub fn fib_divided<L: Local>(n: u32, bench: &mut Bench) {
    let seats = vec![[n - 2, n - 4], [n - 2, n - 5]];
    Loops::start::<L, _, _>(seats, fib_session::<L>).measure(bench, &[0, 1]);
}

async fn fib_session<L: Local>(parts: [u32; 2], port: Port) {
    while port.next().await {
        let mut sum = 0;
        for n in parts {
            sum += fib::<L>(n).await;
        }
        port.done(sum);
    }
}

fn fib<L: Local>(n: u32) -> Pin<Box<dyn Future<Output = u64>>> {
    Box::pin(async move {
        if n < FIB_PLAIN_BELOW {
            return fib_plain(n);
        }
        let other = L::spawn(fib::<L>(n - 1));
        let own = fib::<L>(n - 2).await;
        own + other.await
    })
}

pub fn timers<L: Local>(count: u64, bench: &mut Bench) {
    let seats = vec![(0, count), (1, count)];
    Loops::start::<L, _, _>(seats, timers_session::<L>).measure(bench, &[0, 1]);
}

async fn timers_session<L: Local>((thread, count): (u64, u64), port: Port) {
    while port.next().await {
        let start = |i| {
            L::spawn(async move {
                L::sleep(Duration::from_millis(timer_ms(i))).await;
                1
            })
        };
        let sleeps: Vec<_> = (thread..count).step_by(2).map(start).collect();
        let mut ended = 0;
        for sleep in sleeps {
            ended += sleep.await;
        }
        port.done(ended);
    }
}
