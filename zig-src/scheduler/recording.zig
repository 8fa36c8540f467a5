//! Where a record goes: to the tally of the shard that runs on this thread, or to the one that all
//! other threads share. Any thread. Takes no lock, returns no error, and allocates memory only at a
//! shard's first record.

const recorders = @import("recorders.zig");
const Recorder = recorders.Recorder;
const Sample = recorders.Sample;
const Shard = @import("shard.zig").Shard;

pub fn record(recorder: *Recorder, sample: Sample) void {
    if (Shard.current()) |shard| if (shard.seats.of(recorder)) |tally| return tally.record(.one, sample);
    recorder.outside.record(.many, sample);
}

pub fn recordCorrected(recorder: *Recorder, sample: Sample, interval_ns: u64) void {
    if (Shard.current()) |shard| if (shard.seats.of(recorder)) |tally|
        return tally.recordCorrected(.one, sample, interval_ns);
    recorder.outside.recordCorrected(.many, sample, interval_ns);
}
