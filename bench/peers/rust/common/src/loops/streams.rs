//! The `net_` workloads: client s on thread s mod 2, its server on the other one.

use std::net::TcpStream;
use std::rc::Rc;

use futures::future::join;

use super::{Channels, Local, Loops, Port};
use crate::Bench;
use crate::net::{NoOwners, Owners, client, connections, echo, echo_thread};
use crate::work::Plan;

type Sender<L> = <<L as Local>::Channels as Channels>::Sender<u32>;
type Receiver<L> = <<L as Local>::Channels as Channels>::Receiver<u32>;
type Tx<L> = <<L as Local>::Channels as Channels>::Tx<u32>;
type Rx<L> = <<L as Local>::Channels as Channels>::Rx<u32>;

/// To an owner: this value is a message to count.
const COUNT: u32 = 1;
/// To an owner: one stream sends no more.
const STOP: u32 = 0;

struct Seat<L: Local> {
    plan: Plan,
    clients: Vec<(usize, TcpStream)>,
    servers: Vec<TcpStream>,
    /// To the owner on thread 0 and to the one on thread 1.
    to_owners: Vec<Sender<L>>,
    /// From the streams on thread 0 and from those on thread 1.
    to_own: Vec<Receiver<L>>,
}

pub fn run<L: Local>(plan: Plan, bench: &mut Bench) {
    let seat = || Seat::<L> {
        plan,
        clients: Vec::new(),
        servers: Vec::new(),
        to_owners: Vec::new(),
        to_own: Vec::new(),
    };
    let mut seats = vec![seat(), seat()];
    for (stream, (client, server)) in connections(plan.streams).into_iter().enumerate() {
        seats[stream % 2].clients.push((stream, client));
        match bench.server_threads() {
            true => echo_thread(server),
            false => seats[(stream + 1) % 2].servers.push(server),
        }
    }
    for from in 0..if plan.keyed() { 2 } else { 0 } {
        for to in 0..2 {
            let (sender, receiver) = L::Channels::channel();
            seats[from].to_owners.push(sender);
            seats[to].to_own.push(receiver);
        }
    }
    let active: &[usize] = if plan.streams == 1 { &[0] } else { &[0, 1] };
    Loops::start::<L, _, _>(seats, session::<L>).measure(bench, active);
}

async fn session<L: Local>(seat: Seat<L>, port: Port) {
    for server in seat.servers {
        L::detach(echo(L::wire(server)));
    }
    let mut wires: Vec<_> = seat.clients.into_iter().map(|(s, end)| (s, L::wire(end))).collect();
    let (senders, mut receivers) = bind::<L>(seat.to_owners, seat.to_own).await;
    while port.next().await {
        if !seat.plan.keyed() {
            port.done(repetition::<L, _>(seat.plan, &mut wires, || NoOwners).await);
            continue;
        }
        let streams = seat.plan.streams / 2; // per thread, so per receiver
        let owner = L::spawn(async move {
            let mut second = receivers.pop().expect("two receivers");
            let mut first = receivers.pop().expect("two receivers");
            let counts = join(own::<L>(&mut first, streams), own::<L>(&mut second, streams)).await;
            (vec![first, second], counts.0 + counts.1)
        });
        let sum = repetition::<L, _>(seat.plan, &mut wires, || Linked::<L>(senders.clone())).await;
        let owned;
        (receivers, owned) = owner.await;
        port.done(sum.wrapping_add(owned));
    }
}

/// Both sides of a link must bind at the same time, so none of them is awaited alone.
async fn bind<L: Local>(
    senders: Vec<Sender<L>>,
    receivers: Vec<Receiver<L>>,
) -> (Rc<Vec<Tx<L>>>, Vec<Rx<L>>) {
    let senders = futures::future::join_all(senders.into_iter().map(L::Channels::bind_sender));
    let receivers = receivers.into_iter().map(L::Channels::bind_receiver);
    let (senders, receivers) = join(senders, futures::future::join_all(receivers)).await;
    (Rc::new(senders), receivers)
}

async fn repetition<L: Local, O: Owners + 'static>(
    plan: Plan,
    wires: &mut Vec<(usize, L::Wire)>,
    owners: impl Fn() -> O,
) -> u64 {
    let start = |(stream, wire)| (stream, L::spawn(client(wire, plan, stream, owners())));
    let tasks: Vec<_> = wires.drain(..).map(start).collect();
    let mut sum = 0u64;
    for (stream, task) in tasks {
        let (wire, part) = task.await;
        wires.push((stream, wire));
        sum = sum.wrapping_add(part);
    }
    sum
}

struct Linked<L: Local>(Rc<Vec<Tx<L>>>);

impl<L: Local> Owners for Linked<L> {
    async fn dispatch(&mut self, owner: usize, messages: usize) {
        for _ in 0..messages {
            L::Channels::send(&self.0[owner], COUNT).await;
        }
    }

    async fn finish(&mut self) {
        for owner in self.0.iter() {
            L::Channels::send(owner, STOP).await;
        }
    }
}

/// Adds up the messages of one link until its streams have stopped.
async fn own<L: Local>(receiver: &mut Rx<L>, mut streams: usize) -> u64 {
    let mut sum = 0u64;
    while streams > 0 {
        match L::Channels::receive(receiver).await.expect("the streams' thread lives") {
            STOP => streams -= 1,
            value => sum = sum.wrapping_add(u64::from(value)),
        }
    }
    sum
}
