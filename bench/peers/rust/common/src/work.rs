//! What the workloads are: names, sizes, and the pure functions that give each result. Nothing here
//! knows a runtime. The rules are those of bench/peers/PROTOCOL.md.

use std::hint::black_box;

/// Below this, `fib` is plain recursion without tasks.
pub const FIB_PLAIN_BELOW: u32 = 12;
pub const BATCH: u64 = 64;
pub const BLOCK_BYTES: usize = 4096;
pub const FILE_BLOCKS: u64 = 4096;
pub const DISPATCHES_PER_FRAME: usize = 16;

#[derive(Clone, Copy, Debug)]
pub enum Work {
    PingPong { rounds: u32 },
    Drain { rounds: u32 },
    ColdStart { rounds: u32 },
    Fanout(Fanout),
    Read { reads: u64, depth: u64 },
    Net(Plan),
    SpawnJoin { tasks: u64 },
    Fib { n: u32 },
    Timers { count: u64 },
}

impl Work {
    pub fn threads(self) -> usize {
        if matches!(self, Work::Fanout(_)) { 4 } else { 2 }
    }
}

/// Every workload with its name, in the order of the protocol.
pub fn all() -> Vec<(&'static str, Work)> {
    let fanout = |light, heavy| Work::Fanout(Fanout { light, heavy });
    let net = |payload, window, shape| {
        let streams = if matches!(shape, Shape::Single { .. }) { 1 } else { 8 };
        Work::Net(Plan { payload, window, streams, shape })
    };
    vec![
        ("steady_ping_pong_rtt", Work::PingPong { rounds: 256 }),
        ("steady_one_way_send_drain", Work::Drain { rounds: 2048 }),
        ("cold_start_ping_pong", Work::ColdStart { rounds: 64 }),
        ("fanout_fanin_balanced", fanout(2_000, 2_000)),
        ("fanout_fanin_skewed", fanout(500, 20_000)),
        ("fs_read_rtt_4k", Work::Read { reads: 256, depth: 1 }),
        ("fs_read_throughput_4k_qd32", Work::Read { reads: 4096, depth: 32 }),
        ("net_echo_rtt_256b", net(256, 1, Shape::Single { frames: 512 })),
        ("net_stream_throughput_4k_window32", net(4096, 32, Shape::Single { frames: 2048 })),
        ("net_stream_imbalanced_4k_hot1_light7", net(4096, 32, Shape::Imbalanced)),
        ("net_stream_hotspot_rotation_4k", net(4096, 32, Shape::Rotation { keyed: false })),
        ("net_pipeline_hotspot_rotation_4k_window32", net(4096, 32, Shape::Pipeline)),
        ("net_keyed_hotspot_rotation_4k", net(4096, 32, Shape::Rotation { keyed: true })),
        ("spawn_join", Work::SpawnJoin { tasks: 100_000 }),
        ("fib27_fork_join", Work::Fib { n: 27 }),
        ("timers_10k", Work::Timers { count: 10_000 }),
    ]
}

pub fn mix(seed: u64, iterations: u32) -> u64 {
    let mut x = black_box(seed);
    for i in 0..iterations {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x = x.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(u64::from(i));
    }
    black_box(x)
}

#[derive(Clone, Copy, Debug)]
pub struct Fanout {
    pub light: u32,
    pub heavy: u32,
}

impl Fanout {
    pub const REQUESTS: u64 = 64;
    pub const BRANCHES: u64 = 16;

    /// Seed and iterations of one branch.
    pub fn branch(self, request: u64, branch: u64) -> (u64, u32) {
        let heavy = branch == request % Self::BRANCHES;
        (request * 31 + branch + 1, if heavy { self.heavy } else { self.light })
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Single { frames: usize },
    Imbalanced,
    Rotation { keyed: bool },
    Pipeline,
}

/// One `net_` workload: what each stream sends, and what is expected back.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub payload: usize,
    pub window: usize,
    pub streams: usize,
    pub shape: Shape,
}

impl Plan {
    pub fn keyed(self) -> bool {
        matches!(self.shape, Shape::Rotation { keyed: true })
    }

    pub fn steps(self) -> usize {
        if matches!(self.shape, Shape::Rotation { .. }) { 64 } else { 1 }
    }

    /// How many frames stream `stream` echoes in step `step`.
    pub fn count(self, stream: usize, step: usize) -> usize {
        match self.shape {
            Shape::Single { frames } => frames,
            Shape::Imbalanced => {
                if stream == 0 {
                    2048
                } else {
                    128
                }
            }
            Shape::Rotation { .. } => {
                if stream == step % self.streams {
                    32
                } else {
                    2
                }
            }
            Shape::Pipeline => 1024,
        }
    }

    pub fn fill(self, buffer: &mut [u8], stream: usize, frame: usize) {
        assert_eq!(buffer.len(), self.payload, "a frame has the size of the payload");
        buffer.fill((stream * 17 + frame) as u8);
        buffer[..8].copy_from_slice(&header(stream, frame).to_le_bytes());
    }

    /// Checks a frame that came back, does its CPU work if it has any, and returns its part of the
    /// checksum.
    pub fn receive(self, buffer: &[u8], stream: usize, frame: usize) -> u64 {
        assert_eq!(buffer.len(), self.payload, "a frame has the size of the payload");
        let got = u64::from_le_bytes(buffer[..8].try_into().expect("eight bytes"));
        let expected = header(stream, frame);
        assert_eq!(got, expected, "header of frame {frame} of stream {stream}");
        match self.shape {
            Shape::Pipeline => got.wrapping_add(self.compute(stream, frame)),
            _ => got,
        }
    }

    fn compute(self, stream: usize, frame: usize) -> u64 {
        let hot = (frame / 64) % self.streams == stream;
        mix((stream * 31 + frame + 1) as u64, if hot { 4_000 } else { 150 })
    }
}

fn header(stream: usize, frame: usize) -> u64 {
    (stream as u64) << 32 | frame as u64
}

/// Where read `i` of the `fs_` workloads begins.
pub fn read_offset(i: u64) -> u64 {
    i.wrapping_mul(2_654_435_761) % FILE_BLOCKS * BLOCK_BYTES as u64
}

/// What read `i` adds to the checksum.
pub fn read_value(i: u64, block: &[u8]) -> u64 {
    assert_eq!(block.len(), BLOCK_BYTES, "read {i} was short");
    u64::from_le_bytes(block[..8].try_into().expect("eight bytes")) ^ i
}

pub fn timer_ms(i: u64) -> u64 {
    1 + i % 50
}

#[inline(never)]
pub fn fib_plain(n: u32) -> u64 {
    if n < 2 { u64::from(n) } else { fib_plain(black_box(n) - 1) + fib_plain(n - 2) }
}
