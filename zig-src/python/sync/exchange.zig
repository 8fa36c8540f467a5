//! Things that tasks and threads bring and take, and the futures that wait for them: units (the
//! permits of a lock or semaphore), values (of a channel), the value published last (a broadcast),
//! or only a wake-up. Each function is one step: it makes, calls and releases no Python object
//! while it holds the lock. So neither a finalizer nor a signal handler finds the lock held by its
//! own thread, and none sees a half step. Any thread.

const std = @import("std");
const assert = std.debug.assert;
const api = @import("../cpython/api.zig");
const gpa = @import("../../base/memory.zig").gpa;
const callbacks = @import("../cpython/callbacks.zig");
const trashcan = @import("../cpython/trashcan.zig");
const sync = @import("../../base/sync.zig");
const ChainType = @import("../../queue/chain.zig").ChainType;
const Future = @import("future.zig").Future;
const Object = api.Object;

const Waiting = ChainType(Future);

/// What there is to take if there is no value: none now, or none ever.
fn nothing(ever: bool) *Object {
    return if (ever) callbacks.table.CLOSED else callbacks.table.NOTHING;
}

pub const Side = enum(u1) { putters = 0, takers = 1 };

pub const Exchange = struct {
    lock: sync.Lock,
    /// Units, or values in `ring` from `head` on; at most `most`.
    count: u64,
    most: u64,
    /// Of values; `ring.len` is 0 if there are units.
    ring: []*Object,
    head: usize,
    /// Values published ever.
    published: u64,
    has_values: bool,
    /// Nobody puts any more, nobody takes any more.
    closed: bool,
    broken: bool,
    takers: Waiting,
    putters: Waiting,

    /// Futures that left their chain in a step, and what else it let go of: released after the lock.
    const Step = struct {
        exchange: *Exchange,
        left: ?*Future = null,
        dropped: ?*Object = null,

        fn begin(exchange: *Exchange) Step {
            exchange.lock.lock();
            return .{ .exchange = exchange };
        }

        fn end(self: *Step) void {
            self.exchange.lock.unlock();
            trashcan.drop(&self.dropped);
            while (self.left) |future| {
                self.left = future.left_before;
                future.left_before = null;
                future.release();
            }
        }

        /// It is in no chain any more, and nobody else will release it.
        fn letGo(self: *Step, future: *Future) void {
            future.left_before = self.left;
            self.left = future;
        }

        /// The first of the chain has this value now.
        fn serve(self: *Step, chain: *Waiting, value: *Object) void {
            const future = chain.popFront().?;
            self.letGo(future);
            future.settle(value);
        }

        fn serveAll(self: *Step, chain: *Waiting, value: *Object) void {
            while (chain.head != null) self.serve(chain, value);
        }
    };

    // ---- units ----

    /// False if no more than `most` would fit.
    pub fn putUnits(self: *Exchange, weight: u64) bool {
        var step: Step = .begin(self);
        defer step.end();
        if (self.count + weight > self.most) return false;
        self.count += weight;
        self.grant(&step);
        return true;
    }

    /// First come, first served: a newcomer does not overtake a waiter.
    pub fn takeUnits(self: *Exchange, weight: u64) bool {
        self.lock.lock();
        defer self.lock.unlock();
        if (self.takers.head != null or self.count < weight) return false;
        self.count -= weight;
        return true;
    }

    /// `future` gets None when it has its units.
    pub fn joinForUnits(self: *Exchange, future: *Future, weight: u64) void {
        var step: Step = .begin(self);
        defer step.end();
        future.weight = weight;
        self.takers.pushBack(future.retained());
        self.grant(&step);
    }

    fn grant(self: *Exchange, step: *Step) void {
        while (self.takers.head) |first| {
            if (self.count < first.weight) return;
            self.count -= first.weight;
            step.serve(&self.takers, api.py._Py_NoneStruct);
        }
    }

    // ---- values ----

    pub const Put = enum { done, full, closed };

    /// Keeps a reference of its own if it is `done`.
    pub fn put(self: *Exchange, value: *Object) error{OutOfMemory}!Put {
        var step: Step = .begin(self);
        defer step.end();
        return self.putNow(&step, value);
    }

    fn putNow(self: *Exchange, step: *Step, value: *Object) error{OutOfMemory}!Put {
        if (self.closed or self.broken) return .closed;
        if (self.takers.head != null) {
            step.serve(&self.takers, value);
            return .done;
        }
        if (self.count >= self.most) return .full;
        try self.append(value);
        return .done;
    }

    /// `future` gets None when the value is in, or CLOSED when it never will be.
    pub fn joinToPut(self: *Exchange, future: *Future, value: *Object) error{OutOfMemory}!void {
        var step: Step = .begin(self);
        defer step.end();
        switch (try self.putNow(&step, value)) {
            .done => future.settle(api.py._Py_NoneStruct),
            .closed => future.settle(callbacks.table.CLOSED),
            .full => {
                future.item = api.ref(value);
                self.putters.pushBack(future.retained());
            },
        }
    }

    /// A new reference; NOTHING if there is none now, CLOSED if none will come.
    pub fn take(self: *Exchange) *Object {
        var step: Step = .begin(self);
        defer step.end();
        return self.takeNow(&step);
    }

    fn takeNow(self: *Exchange, step: *Step) *Object {
        if (self.count == 0) return api.ref(nothing(self.closed or self.broken));
        const value = self.ring[self.head];
        self.head = (self.head + 1) % self.ring.len;
        self.count -= 1;
        if (self.count < self.most) if (self.putters.head) |first| {
            self.appendOwned(first.item.?); // In the room that was made just now.
            first.item = null;
            step.serve(&self.putters, api.py._Py_NoneStruct);
        };
        return value;
    }

    /// `future` gets the value, or CLOSED.
    pub fn joinToTake(self: *Exchange, future: *Future) void {
        var step: Step = .begin(self);
        defer step.end();
        const value = self.takeNow(&step);
        if (value == callbacks.table.NOTHING) self.takers.pushBack(future.retained()) else future.settle(value);
        step.dropped = value; // The future has its own reference.
    }

    /// The receiver cannot take it: it goes to the next one, or to the front again, beyond `most`
    /// if need be.
    pub fn putBack(self: *Exchange, value: *Object) error{OutOfMemory}!void {
        var step: Step = .begin(self);
        defer step.end();
        if (self.takers.head != null) return step.serve(&self.takers, value);
        if (self.broken) return;
        try self.reserve();
        self.head = (self.head + self.ring.len - 1) % self.ring.len;
        self.ring[self.head] = api.ref(value);
        self.count += 1;
    }

    /// Room for one more.
    fn reserve(self: *Exchange) error{OutOfMemory}!void {
        if (self.count < self.ring.len) return;
        const larger = try gpa.alloc(*Object, @max(4, 2 * self.ring.len));
        for (larger[0..self.count], 0..) |*place, i| place.* = self.ring[(self.head + i) % self.ring.len];
        gpa.free(self.ring);
        self.ring = larger;
        self.head = 0;
    }

    fn append(self: *Exchange, value: *Object) error{OutOfMemory}!void {
        try self.reserve();
        self.appendOwned(api.ref(value));
    }

    fn appendOwned(self: *Exchange, value: *Object) void {
        assert(self.count < self.ring.len);
        self.ring[(self.head + self.count) % self.ring.len] = value;
        self.count += 1;
    }

    // ---- what was published: the last `most` values, for each reader ----

    pub fn publish(self: *Exchange, value: *Object) error{OutOfMemory}!Put {
        var step: Step = .begin(self);
        defer step.end();
        if (self.closed) return .closed;
        if (self.count == self.most) {
            step.dropped = self.ring[self.head];
            self.head = (self.head + 1) % self.ring.len;
            self.count -= 1;
        }
        try self.append(value);
        self.published += 1;
        step.serveAll(&self.takers, api.py._Py_NoneStruct);
        return .done;
    }

    pub const Read = struct { value: *Object, position: u64 };

    /// The value of `wanted`, or the oldest that is left, as a new reference; or NOTHING, or CLOSED.
    pub fn read(self: *Exchange, wanted: u64) Read {
        self.lock.lock();
        defer self.lock.unlock();
        if (wanted >= self.published)
            return .{ .value = api.ref(nothing(self.closed)), .position = wanted };
        const position = @max(wanted, self.published - self.count);
        const place = self.head + @as(usize, @intCast(position - (self.published - self.count)));
        return .{ .value = api.ref(self.ring[place % self.ring.len]), .position = position };
    }

    /// `future` gets None when there is something to read at `wanted`, if that is an end.
    pub fn joinToRead(self: *Exchange, future: *Future, wanted: u64) void {
        self.lock.lock();
        defer self.lock.unlock();
        if (wanted < self.published or self.closed) return future.settle(api.py._Py_NoneStruct);
        self.takers.pushBack(future.retained());
    }

    // ---- wake-ups ----

    /// No units will do.
    const wake_up = std.math.maxInt(u64);

    pub fn join(self: *Exchange, future: *Future) void {
        self.lock.lock();
        defer self.lock.unlock();
        future.weight = wake_up;
        self.takers.pushBack(future.retained());
    }

    /// The first `count` that wait get `value`; returns how many there were.
    pub fn serve(self: *Exchange, count: u64, value: *Object) u64 {
        var step: Step = .begin(self);
        defer step.end();
        var served: u64 = 0;
        while (served < count and self.takers.head != null) : (served += 1) step.serve(&self.takers, value);
        return served;
    }

    /// The last of so many that come serves all of them; each future has its place as `weight`.
    pub fn meet(self: *Exchange, future: *Future, parties: u64) void {
        var step: Step = .begin(self);
        defer step.end();
        future.weight = wake_up;
        self.takers.pushBack(future.retained());
        if (self.takers.len < parties) return;
        var place: u64 = 0;
        while (self.takers.head) |first| : (place += 1) {
            first.weight = place;
            step.serve(&self.takers, api.py._Py_NoneStruct);
        }
    }

    // ---- ends ----

    /// Out of its queue, if it is in one: it was not served, and will not be.
    pub fn leave(self: *Exchange, future: *Future, side: Side) bool {
        var step: Step = .begin(self);
        defer step.end();
        if (!future.link.linked) return false;
        const chain = if (side == .takers) &self.takers else &self.putters;
        chain.remove(future);
        step.letGo(future);
        step.dropped = future.item;
        future.item = null;
        if (!self.has_values) self.grant(&step); // Those behind it may go on without it.
        return true;
    }

    pub const Left = struct { ring: []*Object = &.{}, head: usize = 0, count: usize = 0 };

    /// No more is put; what is there can be taken.
    pub fn close(self: *Exchange) void {
        var step: Step = .begin(self);
        defer step.end();
        self.closed = true;
        step.serveAll(&self.takers, callbacks.table.CLOSED);
    }

    /// No more is taken either; returns the values that nobody will have.
    pub fn breakOff(self: *Exchange) Left {
        var step: Step = .begin(self);
        defer step.end();
        self.broken = true;
        step.serveAll(&self.putters, callbacks.table.CLOSED);
        step.serveAll(&self.takers, callbacks.table.CLOSED);
        return self.emptied();
    }

    fn emptied(self: *Exchange) Left {
        if (!self.has_values) return .{};
        const left: Left = .{ .ring = self.ring, .head = self.head, .count = @intCast(self.count) };
        self.ring = &.{};
        self.head = 0;
        self.count = 0;
        return left;
    }

    /// Of garbage: what it holds; nobody waits for that any more.
    pub fn clear(self: *Exchange) Left {
        var step: Step = .begin(self);
        defer step.end();
        for ([_]*Waiting{ &self.takers, &self.putters }) |chain|
            while (chain.popFront()) |future| step.letGo(future);
        return self.emptied();
    }
};
