//! The memory that a zero-copy send reads, apart from its operation: the kernel may have it for longer, for
//! as long as a peer does not read. It goes with the last who holds it: the operation, and each send of
//! it that was ended before the kernel's notification. If the ring goes before, it stays forever: the
//! connection may still send from it, and nobody says when it is done.

const std = @import("std");
const api = @import("../cpython/api.zig");
const exported = @import("exported.zig");
const gpa = @import("../../base/memory.zig").gpa;
const Op = @import("../../task/op.zig").Op;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Source = @import("../../task/source.zig").Source;
const Object = api.Object;

pub const Loan = struct {
    source: Source = .{ .cancel = null, .release = ended, .memory = &.{ .keep = keep, .let_go = letGo } },
    /// The operation may be dropped on another thread than the shard's.
    holders: std.atomic.Value(u32) = .init(1),
    held: ?*Object,
    view: ?*api.Buffer,

    /// Takes over the reference and the export.
    pub fn create(held: ?*Object, view: ?*api.Buffer) error{OutOfMemory}!*Loan {
        const self = try gpa.create(Loan);
        self.* = .{ .held = held, .view = view };
        return self;
    }

    /// A send of it begins: `op` holds it until its slot is free again.
    pub fn lend(self: *Loan, op: *Op) void {
        self.hold();
        op.source = &self.source;
    }

    fn hold(self: *Loan) void {
        _ = self.holders.fetchAdd(1, .monotonic);
    }

    /// Attached to the interpreter, or on a shard that may be.
    pub fn drop(self: *Loan) void {
        if (self.holders.fetchSub(1, .acq_rel) > 1) return;
        if (Shard.current()) |shard| shard.acquireInterpreter(); // Reached from a completion too.
        exported.letGo(&self.view);
        api.drop(&self.held);
        gpa.destroy(self);
    }

    fn of(source: *Source) *Loan {
        return @fieldParentPtr("source", source);
    }

    fn ended(source: *Source, _: *const Op, _: bool) void {
        of(source).drop();
    }

    fn keep(source: *Source) void {
        of(source).hold();
    }

    fn letGo(source: *Source) void {
        of(source).drop();
    }
};
