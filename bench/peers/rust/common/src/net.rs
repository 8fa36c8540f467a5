//! The echo workloads' two sides over any runtime's stream: connections, the client, the server.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::work::Plan;

const ECHO_BYTES: usize = 64 * 1024;

/// A connected stream of a runtime. Buffers travel by value, as completion-based runtimes want
/// them.
#[allow(async_fn_in_trait)] // each peer uses it with its one type; nothing is boxed
pub trait Wire {
    /// Reads what is there, at most the buffer's capacity; 0 at the end of the stream.
    async fn read(&mut self, buffer: Vec<u8>) -> (usize, Vec<u8>);
    /// Fills the buffer's whole length.
    async fn read_exact(&mut self, buffer: Vec<u8>) -> Vec<u8>;
    /// Writes all of the first `length` bytes.
    async fn write(&mut self, buffer: Vec<u8>, length: usize) -> Vec<u8>;

    /// Sends the frames of a window. A runtime with a batched send overrides it.
    async fn send_window(&mut self, window: Window, pool: &mut Vec<Vec<u8>>) {
        let mut buffer = pool.pop().unwrap_or_else(|| vec![0; window.plan.payload]);
        for frame in window.frames() {
            window.plan.fill(&mut buffer, window.stream, frame);
            buffer = self.write(buffer, window.plan.payload).await;
        }
        pool.push(buffer);
    }

    /// Receives the frames of a window and returns their part of the checksum.
    async fn receive_window(&mut self, window: Window, pool: &mut Vec<Vec<u8>>) -> u64 {
        let mut buffer = pool.pop().unwrap_or_else(|| vec![0; window.plan.payload]);
        let mut sum = 0u64;
        for frame in window.frames() {
            buffer = self.read_exact(buffer).await;
            sum = sum.wrapping_add(window.plan.receive(&buffer, window.stream, frame));
        }
        pool.push(buffer);
        sum
    }
}

/// Where a keyed workload sends its messages.
#[allow(async_fn_in_trait)]
pub trait Owners {
    async fn dispatch(&mut self, owner: usize, messages: usize);
    /// This stream sends no more.
    async fn finish(&mut self);
}

/// The owners of a workload that has none.
pub struct NoOwners;

impl Owners for NoOwners {
    async fn dispatch(&mut self, _owner: usize, _messages: usize) {}
    async fn finish(&mut self) {}
}

/// `count` frames of one stream, starting with frame `first`.
#[derive(Clone, Copy)]
pub struct Window {
    pub plan: Plan,
    pub stream: usize,
    pub first: usize,
    pub count: usize,
}

impl Window {
    pub fn frames(self) -> std::ops::Range<usize> {
        self.first..self.first + self.count
    }
}

/// One repetition of one stream. Returns the stream for the next one, and the checksum.
pub async fn client<W: Wire, O: Owners>(
    mut wire: W,
    plan: Plan,
    stream: usize,
    mut owners: O,
) -> (W, u64) {
    let mut pool = Vec::with_capacity(plan.window + 1);
    let mut sum = 0u64;
    let mut first = 0;
    for step in 0..plan.steps() {
        let frames = plan.count(stream, step);
        let end = first + frames;
        while first < end {
            let count = plan.window.min(end - first);
            let window = Window { plan, stream, first, count };
            wire.send_window(window, &mut pool).await;
            sum = sum.wrapping_add(wire.receive_window(window, &mut pool).await);
            first += count;
        }
        owners.dispatch(step % 2, frames * crate::work::DISPATCHES_PER_FRAME).await;
    }
    owners.finish().await;
    (wire, sum)
}

/// Echoes until the end of the stream.
pub async fn echo<W: Wire>(mut wire: W) {
    let mut buffer = vec![0; ECHO_BYTES];
    loop {
        let (length, filled) = wire.read(buffer).await;
        if length == 0 {
            return;
        }
        buffer = wire.write(filled, length).await;
    }
}

/// Connected pairs over loopback, without delay on both ends; client first.
pub fn connections(count: usize) -> Vec<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a loopback port");
    let address = listener.local_addr().expect("address of the listener");
    let pair = |_| {
        let client = TcpStream::connect(address).expect("connect over loopback");
        let (server, _) = listener.accept().expect("accept the connection");
        client.set_nodelay(true).expect("TCP_NODELAY on the client");
        server.set_nodelay(true).expect("TCP_NODELAY on the server");
        (client, server)
    };
    (0..count).map(pair).collect()
}

/// A plain blocking echo server for one connection, outside of any runtime.
pub fn echo_thread(mut server: TcpStream) {
    thread::spawn(move || {
        let mut buffer = vec![0; ECHO_BYTES];
        while let Ok(length) = server.read(&mut buffer) {
            if length == 0 || server.write_all(&buffer[..length]).is_err() {
                return;
            }
        }
    });
}
