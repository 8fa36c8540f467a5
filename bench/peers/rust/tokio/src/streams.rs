//! The `net_` workloads: all clients and servers are tasks on the two workers.

use common::Bench;
use common::net::{NoOwners, Owners, Wire, client, connections, echo, echo_thread};
use common::work::Plan;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::on_workers;

pub fn run(plan: Plan, bench: &mut Bench) {
    let runtime = crate::runtime(2);
    let mut wires = Vec::new();
    for (near, far) in connections(plan.streams) {
        let _context = runtime.enter();
        wires.push(Stream::new(near));
        match bench.server_threads() {
            true => echo_thread(far),
            false => drop(runtime.spawn(echo(Stream::new(far)))),
        }
    }
    bench.measure(|| {
        let (back, sum) = on_workers(&runtime, repetition(plan, std::mem::take(&mut wires)));
        wires = back;
        sum
    });
}

async fn repetition(plan: Plan, wires: Vec<Stream>) -> (Vec<Stream>, u64) {
    if !plan.keyed() {
        let start = |(stream, wire)| tokio::spawn(client(wire, plan, stream, NoOwners));
        return join(wires.into_iter().enumerate().map(start).collect()).await;
    }
    let (owners, counts): (Vec<_>, Vec<_>) = (0..2).map(|_| owner()).unzip();
    let start = |(stream, wire)| tokio::spawn(client(wire, plan, stream, Senders(owners.clone())));
    let clients = wires.into_iter().enumerate().map(start).collect();
    drop(owners);
    let (wires, mut sum) = join(clients).await;
    for count in counts {
        sum = sum.wrapping_add(count.await.expect("the owner ends"));
    }
    (wires, sum)
}

async fn join(clients: Vec<JoinHandle<(Stream, u64)>>) -> (Vec<Stream>, u64) {
    let mut wires = Vec::with_capacity(clients.len());
    let mut sum = 0u64;
    for client in clients {
        let (wire, part) = client.await.expect("the client ends");
        wires.push(wire);
        sum = sum.wrapping_add(part);
    }
    (wires, sum)
}

/// Adds up its messages until all senders are gone.
fn owner() -> (UnboundedSender<u32>, JoinHandle<u64>) {
    let (sender, mut receiver) = unbounded_channel::<u32>();
    let count = tokio::spawn(async move {
        let mut sum = 0u64;
        while let Some(value) = receiver.recv().await {
            sum = sum.wrapping_add(u64::from(value));
        }
        sum
    });
    (sender, count)
}

struct Senders(Vec<UnboundedSender<u32>>);

impl Owners for Senders {
    async fn dispatch(&mut self, owner: usize, messages: usize) {
        for _ in 0..messages {
            self.0[owner].send(1).expect("the owner lives");
        }
    }

    async fn finish(&mut self) {
        self.0.clear();
    }
}

struct Stream(TcpStream);

impl Stream {
    fn new(stream: std::net::TcpStream) -> Self {
        stream.set_nonblocking(true).expect("a non-blocking stream");
        Self(TcpStream::from_std(stream).expect("tokio takes the stream"))
    }
}

impl Wire for Stream {
    async fn read(&mut self, mut buffer: Vec<u8>) -> (usize, Vec<u8>) {
        let length = self.0.read(&mut buffer).await.expect("receive");
        (length, buffer)
    }

    async fn read_exact(&mut self, mut buffer: Vec<u8>) -> Vec<u8> {
        self.0.read_exact(&mut buffer).await.expect("receive a whole frame");
        buffer
    }

    async fn write(&mut self, buffer: Vec<u8>, length: usize) -> Vec<u8> {
        self.0.write_all(&buffer[..length]).await.expect("send");
        buffer
    }
}
