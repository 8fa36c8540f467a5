//! Some seeds run with the trace on: at the end it must have exactly what the counters say, in order.

const report = @import("report.zig");
const trace_ring = @import("../scheduler/trace_ring.zig");
const Scheduler = @import("../scheduler/scheduler.zig").Scheduler;

const expect = report.expect;
/// More than a seed has events, so that nothing is lost.
const events = 1 << 14;

var on = false;
var copied: [events]trace_ring.Event = undefined;

/// Before anybody spawns.
pub fn begin(scheduler: *Scheduler, wanted: bool) void {
    on = wanted;
    // Without memory there is no trace.
    if (on) _ = scheduler.tracing.start(scheduler, events) catch {
        on = false;
    };
}

/// After the shards have ended; nothing else runs.
pub fn atEnd(scheduler: *Scheduler) void {
    if (!on) return;
    var spawned: u64 = 0;
    var begun: u64 = 0;
    for (scheduler.tracing.rings(), 0..) |*ring, track| {
        const found = ring.copy(&copied);
        if (found.lost > 0) return; // A shard that never sleeps has many passes, and each one a bell.
        const shard = if (track < scheduler.shards.len) &scheduler.shards[track] else null;
        const counts = check(copied[0..found.count], track);
        spawned += counts.spawns;
        begun += counts.first;
        const own = shard orelse continue;
        expect(counts.polls == own.counters.polls.get(), "shard {d} traced {d} of {d} polls", .{
            track, counts.polls, own.counters.polls.get(),
        });
        expect(counts.stolen == own.counters.steal_tasks_moved.get(), "shard {d} traced {d} steals", .{
            track, counts.stolen,
        });
        expect(counts.first == own.counters.tasks_started.get(), "shard {d} traced {d} beginnings", .{
            track, counts.first,
        });
    }
    expect(begun <= spawned, "{d} tasks began, {d} spawns were traced", .{ begun, spawned });
    expect(scheduler.tracing.stop(scheduler), "the trace was off", .{});
}

const Counts = struct { spawns: u64 = 0, first: u64 = 0, polls: u64 = 0, stolen: u64 = 0 };

fn check(all: []const trace_ring.Event, track: usize) Counts {
    var counts: Counts = .{};
    var polled: u48 = 0;
    // It may have slept when the trace began.
    var parked: ?bool = null;
    var last: u64 = 0;
    for (all) |event| {
        expect(event.stamp >= last, "the trace of shard {d} goes back in time", .{track});
        last = event.stamp;
        switch (event.kind) {
            .spawn => counts.spawns += 1,
            .steal => counts.stolen += 1,
            .first_poll, .poll => {
                expect(polled == 0 and parked != true, "a poll begins in a poll of shard {d}", .{track});
                polled = event.task;
                counts.polls += 1;
                counts.first += @intFromBool(event.kind == .first_poll);
            },
            .poll_end => {
                expect(polled == event.task, "another poll ends on shard {d}", .{track});
                polled = 0;
            },
            .park => {
                expect(polled == 0 and parked != true, "shard {d} parks in a poll", .{track});
                parked = true;
            },
            .unpark => {
                expect(parked != false, "shard {d} wakes, and did not park", .{track});
                parked = false;
            },
            .doorbell, .wake, .submit, .complete, .blocked, .name => {},
        }
    }
    return counts;
}
