//! What the core needs of the machine beneath it: atomics, threads, time, futexes, memory and a few
//! system calls. A program whose root says so (the simulation, `root_simulation.zig`) puts its own
//! machine here, which may switch threads at every atomic operation. In all other programs these
//! are the names of the standard library, at no cost.

const std = @import("std");
const root = @import("root");

pub const simulated = @hasDecl(root, "spargio_machine");

/// Only if `simulated`.
pub const machine = root.spargio_machine;

pub const Atomic = if (simulated) machine.AtomicType else std.atomic.Value;
pub const Thread = if (simulated) machine.Thread else std.Thread;
pub const system = if (simulated) machine.system else std.os.linux;
pub const gpa = if (simulated) machine.gpa else std.heap.c_allocator;
