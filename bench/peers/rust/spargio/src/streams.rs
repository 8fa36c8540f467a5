//! The `net_` workloads. Stream s belongs to shard s mod 2, its server's end to the other one.
//! Servers and the clients of the rotating workloads stay on their stream's shard; the other
//! clients may be stolen.

use std::sync::Arc;

use common::Bench;
use common::net::{NoOwners, Owners, Window, Wire, client, connections, echo, echo_thread};
use common::work::{Plan, Shape};
use futures::executor::block_on;
use futures::future::{Either, select};
use spargio::net::{StreamSessionPolicy, TcpStream};
use spargio::{
    Event, JoinHandle, RemoteShard, Runtime, RuntimeError, RuntimeHandle, SendError, ShardCtx,
};

const DISPATCH: u16 = 1;
const STOP: u16 = 2;
/// Messages that are handed over at once.
const DISPATCH_BATCH: usize = 64;

pub fn run(plan: Plan, bench: &mut Bench) {
    let builder = Runtime::builder().shards(2).hot_msg_tags([DISPATCH, STOP]);
    let runtime = crate::build_for_io(builder.coalesced_hot_msg_tag(DISPATCH));
    let handle = runtime.handle();
    let mut clients = Vec::new();
    for (s, (near, far)) in connections(plan.streams).into_iter().enumerate() {
        clients.push(Stream::new(&handle, near, s % 2));
        if bench.server_threads() {
            echo_thread(far);
        } else {
            let far = Stream::new(&handle, far, (s + 1) % 2);
            let stream = far.stream.clone();
            drop(stream.spawn_on_session(&handle, echo(far)).expect("start a server"));
        }
    }
    bench.measure(|| {
        let repetition = repetition(handle.clone(), plan, clients.clone());
        let task = handle.spawn_pinned(0, repetition).expect("start the repetition");
        block_on(task).expect("the repetition ends")
    });
}

async fn repetition(handle: RuntimeHandle, plan: Plan, clients: Vec<Stream>) -> u64 {
    if !plan.keyed() {
        let start = |(s, end): (usize, Stream)| {
            let stream = end.stream.clone();
            start(&handle, plan, &stream, client(end, plan, s, NoOwners))
        };
        return join(clients.into_iter().enumerate().map(start).collect()).await;
    }
    let streams = clients.len();
    let owner = |shard| handle.spawn_pinned(shard, own(streams)).expect("start an owner");
    let owners: Vec<_> = [0, 1].map(owner).into();
    let remotes: Arc<Vec<_>> =
        Arc::new([0, 1].map(|shard| handle.remote(shard).expect("there are two shards")).into());
    let start = |(s, end): (usize, Stream)| {
        let stream = end.stream.clone();
        start(&handle, plan, &stream, client(end, plan, s, Remotes(remotes.clone())))
    };
    let mut sum = join(clients.into_iter().enumerate().map(start).collect()).await;
    for owner in owners {
        sum = sum.wrapping_add(owner.await.expect("the owner ends"));
    }
    sum
}

fn start<F>(handle: &RuntimeHandle, plan: Plan, stream: &TcpStream, future: F) -> Client
where
    F: Future<Output = (Stream, u64)> + Send + 'static,
{
    let started: Result<_, RuntimeError> = match plan.shape {
        Shape::Single { .. } | Shape::Imbalanced => {
            stream.spawn_stealable_on_session(handle, future)
        }
        Shape::Rotation { .. } | Shape::Pipeline => stream.spawn_on_session(handle, future),
    };
    started.expect("start a client")
}

type Client = JoinHandle<(Stream, u64)>;

async fn join(clients: Vec<Client>) -> u64 {
    let mut sum = 0u64;
    for client in clients {
        sum = sum.wrapping_add(client.await.expect("the client ends").1);
    }
    sum
}

/// Counts what comes to this shard until all streams have stopped.
async fn own(streams: usize) -> u64 {
    let mut sum = 0u64;
    let mut stopped = 0;
    while stopped < streams {
        // The context must not be held while waiting.
        let (count, event) = {
            let context = ShardCtx::current().expect("an owner runs on a shard");
            (context.next_hot_count(DISPATCH), context.next_hot_event())
        };
        match select(Box::pin(count), Box::pin(event)).await {
            Either::Left((count, _)) => sum = sum.wrapping_add(count),
            Either::Right((Event::RingMsg { tag: STOP, .. }, _)) => stopped += 1,
            Either::Right((Event::RingMsg { val, .. }, _)) => {
                sum = sum.wrapping_add(u64::from(val));
            }
        }
    }
    let context = ShardCtx::current().expect("an owner runs on a shard");
    while let Some(count) = context.try_take_hot_count(DISPATCH) {
        sum = sum.wrapping_add(count);
    }
    sum
}

struct Remotes(Arc<Vec<RemoteShard>>);

impl Owners for Remotes {
    async fn dispatch(&mut self, owner: usize, mut messages: usize) {
        let remote = &self.0[owner];
        while messages > 0 {
            let batch = messages.min(DISPATCH_BATCH);
            match remote.send_many_raw_nowait(std::iter::repeat_n((DISPATCH, 1), batch)) {
                Ok(()) => messages -= batch,
                Err(SendError::Backpressure) => {
                    remote.send_raw(DISPATCH, 1).expect("send").await.expect("send");
                    messages -= 1;
                }
                Err(SendError::Closed) => panic!("the owner's shard is gone"),
            }
        }
    }

    async fn finish(&mut self) {
        for remote in self.0.iter() {
            remote.send_raw(STOP, 0).expect("send").await.expect("send");
        }
    }
}

#[derive(Clone)]
struct Stream {
    stream: TcpStream,
    /// False when the kernel said that it has no multishot receive.
    multishot: bool,
}

impl Stream {
    fn new(handle: &RuntimeHandle, stream: std::net::TcpStream, shard: usize) -> Self {
        let policy = StreamSessionPolicy::Fixed(shard as u16);
        let stream = TcpStream::from_std_with_session_policy(handle.clone(), stream, policy);
        Self { stream: stream.expect("spargio takes the stream"), multishot: true }
    }

    async fn receive_multishot(&mut self, window: Window) -> u64 {
        let payload = window.plan.payload;
        let mut frames = Frames { window, next: window.first, partial: Vec::new(), sum: 0 };
        let total = window.count * payload;
        let buffers = (window.count * 2).max(4) as u16;
        match self.stream.recv_multishot_segments(payload, buffers, total).await {
            Ok(received) => {
                for segment in received.segments {
                    frames.take(&received.buffer[segment.offset..][..segment.len]);
                }
            }
            Err(error) => {
                let missing = [libc::EINVAL, libc::ENOSYS, libc::EOPNOTSUPP];
                let known = error.raw_os_error().is_some_and(|errno| missing.contains(&errno));
                assert!(known, "multishot receive: {error}");
                self.multishot = false;
            }
        }
        while frames.next < window.frames().end {
            let left = payload - frames.partial.len();
            let (length, bytes) = self.stream.recv_owned(vec![0; left]).await.expect("receive");
            assert!(length > 0, "the echo ended");
            frames.take(&bytes[..length]);
        }
        frames.sum
    }
}

/// Cuts what arrives in pieces of any size into the frames of a window.
struct Frames {
    window: Window,
    next: usize,
    partial: Vec<u8>,
    sum: u64,
}

impl Frames {
    fn take(&mut self, mut bytes: &[u8]) {
        let payload = self.window.plan.payload;
        while !bytes.is_empty() {
            if self.partial.is_empty() && bytes.len() >= payload {
                let (frame, rest) = bytes.split_at(payload);
                self.frame(frame);
                bytes = rest;
                continue;
            }
            let (some, rest) = bytes.split_at(bytes.len().min(payload - self.partial.len()));
            self.partial.extend_from_slice(some);
            bytes = rest;
            if self.partial.len() == payload {
                let frame = std::mem::take(&mut self.partial);
                self.frame(&frame);
            }
        }
    }

    fn frame(&mut self, frame: &[u8]) {
        let part = self.window.plan.receive(frame, self.window.stream, self.next);
        self.sum = self.sum.wrapping_add(part);
        self.next += 1;
    }
}

impl Wire for Stream {
    async fn read(&mut self, buffer: Vec<u8>) -> (usize, Vec<u8>) {
        self.stream.recv_owned(buffer).await.expect("receive")
    }

    async fn read_exact(&mut self, buffer: Vec<u8>) -> Vec<u8> {
        self.stream.read_exact_owned(buffer).await.expect("receive a whole frame")
    }

    async fn write(&mut self, mut buffer: Vec<u8>, length: usize) -> Vec<u8> {
        let whole = buffer.len();
        buffer.truncate(length);
        let mut buffer = self.stream.write_all_owned(buffer).await.expect("send");
        assert!(whole <= buffer.capacity(), "the same buffer comes back");
        // SAFETY: the bytes up to `whole` were initialised when they were cut off, and the buffer
        // is the same. Filling them again would cost more than a small echo.
        unsafe { buffer.set_len(whole) };
        buffer
    }

    async fn send_window(&mut self, window: Window, pool: &mut Vec<Vec<u8>>) {
        let Window { plan, stream, count, .. } = window;
        if count == 1 || matches!(plan.shape, Shape::Pipeline) {
            let mut buffer = pool.pop().unwrap_or_else(|| vec![0; plan.payload]);
            for frame in window.frames() {
                plan.fill(&mut buffer, stream, frame);
                buffer = self.stream.write_all_owned(buffer).await.expect("send");
            }
            pool.push(buffer);
            return;
        }
        let mut batch = Vec::with_capacity(count);
        for frame in window.frames() {
            let mut buffer = pool.pop().unwrap_or_else(|| vec![0; plan.payload]);
            plan.fill(&mut buffer, stream, frame);
            batch.push(buffer);
        }
        let (_, mut back) = self.stream.send_all_batch(batch, count).await.expect("send");
        pool.append(&mut back);
    }

    async fn receive_window(&mut self, window: Window, pool: &mut Vec<Vec<u8>>) -> u64 {
        let much = matches!(window.plan.shape, Shape::Single { .. } | Shape::Imbalanced);
        if much && window.count > 1 && self.multishot {
            return self.receive_multishot(window).await;
        }
        let mut buffer = pool.pop().unwrap_or_else(|| vec![0; window.plan.payload]);
        let mut sum = 0u64;
        for frame in window.frames() {
            buffer = self.stream.read_exact_owned(buffer).await.expect("receive a whole frame");
            sum = sum.wrapping_add(window.plan.receive(&buffer, window.stream, frame));
        }
        pool.push(buffer);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_put_together_from_pieces_of_any_size() {
        let plan = Plan { payload: 16, window: 4, streams: 8, shape: Shape::Imbalanced };
        let window = Window { plan, stream: 2, first: 7, count: 4 };
        let mut bytes = vec![0; 4 * plan.payload];
        for (buffer, frame) in bytes.chunks_mut(plan.payload).zip(window.frames()) {
            plan.fill(buffer, window.stream, frame);
        }
        let expected = window.frames().map(|frame| 2 << 32 | frame as u64).sum::<u64>();
        for size in 1..=bytes.len() {
            let mut frames = Frames { window, next: window.first, partial: Vec::new(), sum: 0 };
            bytes.chunks(size).for_each(|piece| frames.take(piece));
            assert_eq!((frames.next, frames.sum), (window.frames().end, expected), "{size} bytes");
        }
    }
}
