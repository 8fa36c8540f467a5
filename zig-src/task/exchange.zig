//! Things that tasks and threads bring and take, and their waiters: units (the permits of a lock or
//! semaphore) or values (of a channel), what was published last (a broadcast), or nothing but a wake-up.
//! Values and waiters are those of a language (`Values`, `Party`). Each function is one step: nothing
//! of a language is made, called or let go of while the lock is held. So neither a finalizer nor a
//! signal handler finds it held by its own thread, and none sees a half step. Any thread.

const std = @import("std");
const assert = std.debug.assert;
const gpa = @import("../base/memory.zig").gpa;
const sync = @import("../base/sync.zig");
const ChainType = @import("../queue/chain.zig").ChainType;

pub const Side = enum(u1) { putters = 0, takers = 1 };

pub const Put = enum { done, full, closed };

/// `Values` has the type `Value`; `done`, `closed` and `nothing` return what is given in place of a value,
/// `isNothing` knows the last of these, `ref` returns one to keep, `drop` lets go of one. `Party` waits: it
/// has `link`, `left_before`, `item` (what it brings) and `weight` (the units that it wants), which change
/// under the lock; `settle` gives it a value under the lock; `retained` and `release` keep its memory.
pub fn ExchangeType(comptime Party: type, comptime Values: type) type {
    return struct {
        const Exchange = @This();
        const Value = Values.Value;
        const Waiting = ChainType(Party);

        /// What there is to take if there is no value: none now, or none ever.
        fn nothing(ever: bool) Value {
            return if (ever) Values.closed() else Values.nothing();
        }

        lock: sync.Lock,
        /// Units, or values in `ring` from `head` on; at most `most`.
        count: u64,
        most: u64,
        /// Of values; `ring.len` is 0 if there are units.
        ring: []Value,
        head: usize,
        /// Values published ever.
        published: u64,
        has_values: bool,
        /// Nobody puts any more, nobody takes any more.
        closed: bool,
        broken: bool,
        takers: Waiting,
        putters: Waiting,

        /// Parties that left their chain in a step, and what else it let go of: released after the lock.
        const Step = struct {
            exchange: *Exchange,
            left: ?*Party = null,
            dropped: ?Value = null,

            fn begin(exchange: *Exchange) Step {
                exchange.lock.lock();
                return .{ .exchange = exchange };
            }

            fn end(self: *Step) void {
                self.exchange.lock.unlock();
                Values.drop(&self.dropped);
                while (self.left) |party| {
                    self.left = party.left_before;
                    party.left_before = null;
                    party.release();
                }
            }

            /// It is in no chain any more, and nobody else will release it.
            fn letGo(self: *Step, party: *Party) void {
                party.left_before = self.left;
                self.left = party;
            }

            /// The first of the chain has this value now.
            fn serve(self: *Step, chain: *Waiting, value: Value) void {
                const party = chain.popFront().?;
                self.letGo(party);
                party.settle(value);
            }

            fn serveAll(self: *Step, chain: *Waiting, value: Value) void {
                while (chain.head != null) self.serve(chain, value);
            }
        };

        // ---- units ----

        /// False where no more than `most` would fit.
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

        /// `party` gets `done` when it has its units.
        pub fn joinForUnits(self: *Exchange, party: *Party, weight: u64) void {
            var step: Step = .begin(self);
            defer step.end();
            party.weight = weight;
            self.takers.pushBack(party.retained());
            self.grant(&step);
        }

        fn grant(self: *Exchange, step: *Step) void {
            while (self.takers.head) |first| {
                if (self.count < first.weight) return;
                self.count -= first.weight;
                step.serve(&self.takers, Values.done());
            }
        }

        // ---- values ----

        /// Keeps a reference of its own where it is `done`.
        pub fn put(self: *Exchange, value: Value) error{OutOfMemory}!Put {
            var step: Step = .begin(self);
            defer step.end();
            return self.putNow(&step, value);
        }

        fn putNow(self: *Exchange, step: *Step, value: Value) error{OutOfMemory}!Put {
            if (self.closed or self.broken) return .closed;
            if (self.takers.head != null) {
                step.serve(&self.takers, value);
                return .done;
            }
            if (self.count >= self.most) return .full;
            try self.append(value);
            return .done;
        }

        /// `party` gets `done` when the value is in, or `closed` when it never will be.
        pub fn joinToPut(self: *Exchange, party: *Party, value: Value) error{OutOfMemory}!void {
            var step: Step = .begin(self);
            defer step.end();
            switch (try self.putNow(&step, value)) {
                .done => party.settle(Values.done()),
                .closed => party.settle(Values.closed()),
                .full => {
                    party.item = Values.ref(value);
                    self.putters.pushBack(party.retained());
                },
            }
        }

        /// A new reference; `nothing` if there is none now, `closed` if none will come.
        pub fn take(self: *Exchange) Value {
            var step: Step = .begin(self);
            defer step.end();
            return self.takeNow(&step);
        }

        fn takeNow(self: *Exchange, step: *Step) Value {
            if (self.count == 0) return Values.ref(nothing(self.closed or self.broken));
            const value = self.ring[self.head];
            self.head = (self.head + 1) % self.ring.len;
            self.count -= 1;
            if (self.count < self.most) if (self.putters.head) |first| {
                self.appendOwned(first.item.?); // In the room that was made just now.
                first.item = null;
                step.serve(&self.putters, Values.done());
            };
            return value;
        }

        /// `party` gets the value, or `closed`.
        pub fn joinToTake(self: *Exchange, party: *Party) void {
            var step: Step = .begin(self);
            defer step.end();
            const value = self.takeNow(&step);
            if (Values.isNothing(value)) self.takers.pushBack(party.retained()) else party.settle(value);
            step.dropped = value; // The party has its own reference.
        }

        /// Who it was handed to cannot take it: to the next, or to the front again, beyond `most` if need be.
        /// False: nobody will have it.
        pub fn putBack(self: *Exchange, value: Value) error{OutOfMemory}!bool {
            var step: Step = .begin(self);
            defer step.end();
            if (self.takers.head != null) {
                step.serve(&self.takers, value);
                return true;
            }
            if (self.broken) return false;
            try self.reserve();
            self.head = (self.head + self.ring.len - 1) % self.ring.len;
            self.ring[self.head] = Values.ref(value);
            self.count += 1;
            return true;
        }

        /// Room for one more.
        fn reserve(self: *Exchange) error{OutOfMemory}!void {
            if (self.count < self.ring.len) return;
            const larger = try gpa.alloc(Value, @max(4, 2 * self.ring.len));
            for (larger[0..self.count], 0..) |*slot, i| slot.* = self.ring[(self.head + i) % self.ring.len];
            gpa.free(self.ring);
            self.ring = larger;
            self.head = 0;
        }

        fn append(self: *Exchange, value: Value) error{OutOfMemory}!void {
            try self.reserve();
            self.appendOwned(Values.ref(value));
        }

        fn appendOwned(self: *Exchange, value: Value) void {
            assert(self.count < self.ring.len);
            self.ring[(self.head + self.count) % self.ring.len] = value;
            self.count += 1;
        }

        // ---- what was published: the last `most` values, for each reader ----

        pub fn publish(self: *Exchange, value: Value) error{OutOfMemory}!Put {
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
            step.serveAll(&self.takers, Values.done());
            return .done;
        }

        pub const Read = struct { value: Value, position: u64 };

        /// The value of `wanted`, or the oldest that is left, as a new reference; or `nothing`, or `closed`.
        pub fn read(self: *Exchange, wanted: u64) Read {
            self.lock.lock();
            defer self.lock.unlock();
            if (wanted >= self.published)
                return .{ .value = Values.ref(nothing(self.closed)), .position = wanted };
            const position = @max(wanted, self.published - self.count);
            const index = self.head + @as(usize, @intCast(position - (self.published - self.count)));
            return .{ .value = Values.ref(self.ring[index % self.ring.len]), .position = position };
        }

        /// `party` gets `done` when there is something to read at `wanted`, if that is an end.
        pub fn joinToRead(self: *Exchange, party: *Party, wanted: u64) void {
            self.lock.lock();
            defer self.lock.unlock();
            if (wanted < self.published or self.closed) return party.settle(Values.done());
            self.takers.pushBack(party.retained());
        }

        // ---- wake-ups ----

        /// No units will do.
        const wake_up = std.math.maxInt(u64);

        pub fn join(self: *Exchange, party: *Party) void {
            self.lock.lock();
            defer self.lock.unlock();
            party.weight = wake_up;
            self.takers.pushBack(party.retained());
        }

        /// The first `count` that wait get `value`; returns how many there were.
        pub fn serve(self: *Exchange, count: u64, value: Value) u64 {
            var step: Step = .begin(self);
            defer step.end();
            var served: u64 = 0;
            while (served < count and self.takers.head != null) : (served += 1) step.serve(&self.takers, value);
            return served;
        }

        /// The last of so many that come serves all of them; each party has its place as `weight`.
        pub fn meet(self: *Exchange, party: *Party, parties: u64) void {
            var step: Step = .begin(self);
            defer step.end();
            party.weight = wake_up;
            self.takers.pushBack(party.retained());
            if (self.takers.len < parties) return;
            var index: u64 = 0;
            while (self.takers.head) |first| : (index += 1) {
                first.weight = index;
                step.serve(&self.takers, Values.done());
            }
        }

        // ---- ends ----

        /// Out of its queue, if it is in one: it was not served, and will not be.
        pub fn leave(self: *Exchange, party: *Party, side: Side) bool {
            var step: Step = .begin(self);
            defer step.end();
            if (!party.link.linked) return false;
            const chain = if (side == .takers) &self.takers else &self.putters;
            chain.remove(party);
            step.letGo(party);
            step.dropped = party.item;
            party.item = null;
            if (!self.has_values) self.grant(&step); // Those behind it may go on without it.
            return true;
        }

        pub const Left = struct { ring: []Value = &.{}, head: usize = 0, count: usize = 0 };

        /// No more is put; what is there can be taken.
        pub fn close(self: *Exchange) void {
            var step: Step = .begin(self);
            defer step.end();
            self.closed = true;
            step.serveAll(&self.takers, Values.closed());
        }

        /// No more is taken either; gives the values that nobody will have.
        pub fn breakOff(self: *Exchange) Left {
            var step: Step = .begin(self);
            defer step.end();
            self.broken = true;
            step.serveAll(&self.putters, Values.closed());
            step.serveAll(&self.takers, Values.closed());
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
                while (chain.popFront()) |party| step.letGo(party);
            return self.emptied();
        }
    };
}
