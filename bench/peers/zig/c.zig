//! bench/native/common/peer.h for Zig.

pub const block = 4096;
pub const blocks = 4096;
pub const depth = 32;
pub const streams_max = 8;
pub const read_size = 65536;
const window = 32;
const frame_max = 4096;

pub const Workload = extern struct {
    name: ?[*:0]const u8 = null,
    threads: u32 = 2,
    set_up: ?*const fn () callconv(.c) void = null,
    repeat: ?*const fn () callconv(.c) u64 = null,
    tear_down: ?*const fn () callconv(.c) void = null,
    own_runtime: c_int = 0,
};

pub const Shape = extern struct {
    streams: u32,
    size: u32,
    steps: u32,
    frames_of: *const fn (u32, u32) callconv(.c) u32,
    work: ?*const fn (u32, u32) callconv(.c) u64,
    keyed: c_int,
};

pub const Frames = extern struct {
    shape: *const Shape,
    stream: u32,
    step: u32,
    frame: u32,
    left: u32,
    window: u32,
    sum: u64,
    out: [window * frame_max]u8 align(64),
    in: [window * frame_max]u8 align(64),
};

pub extern const echo: Shape;
pub extern const throughput: Shape;
pub extern const imbalanced: Shape;
pub extern const rotation: Shape;
pub extern const pipeline: Shape;
pub extern const keyed: Shape;

pub extern fn fail(what: [*:0]const u8, why: [*:0]const u8) noreturn;
pub extern fn file_open() c_int;
pub extern fn frames_begin(frames: *Frames, shape: *const Shape, stream: u32) void;
pub extern fn frames_step(frames: *Frames, step: u32) void;
pub extern fn frames_build(frames: *Frames) u32;
pub extern fn frames_take(frames: *Frames) void;
pub extern fn connect_streams(count: u32, clients: [*]c_int, servers: [*]c_int) void;
