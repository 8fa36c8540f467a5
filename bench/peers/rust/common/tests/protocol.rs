//! The rules of the workloads against the checksums that PROTOCOL.md gives, which were computed by
//! other means.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::file::{Fixture, block};
use common::work::{
    self, BLOCK_BYTES, DISPATCHES_PER_FRAME, FILE_BLOCKS, Fanout, Plan, Work, fib_plain, mix,
    read_offset, read_value,
};

/// One repetition, serially and without any runtime.
fn checksum(work: Work) -> u64 {
    match work {
        Work::PingPong { rounds } | Work::Drain { rounds } | Work::ColdStart { rounds } => {
            (0..u64::from(rounds)).sum()
        }
        Work::Fanout(fanout) => {
            let branches = (0..Fanout::REQUESTS)
                .flat_map(|request| (0..Fanout::BRANCHES).map(move |branch| (request, branch)));
            branches.fold(0, |sum: u64, (request, branch)| {
                let (seed, iterations) = fanout.branch(request, branch);
                sum.wrapping_add(mix(seed, iterations))
            })
        }
        Work::Read { reads, .. } => (0..reads).fold(0, |sum: u64, i| {
            sum.wrapping_add(read_value(i, &block(read_offset(i) / BLOCK_BYTES as u64)))
        }),
        Work::Net(plan) => (0..plan.streams).fold(0, |sum, s| sum.wrapping_add(echoed(plan, s))),
        Work::SpawnJoin { tasks } => (0..tasks).sum(),
        Work::Fib { n } => fib_plain(n),
        Work::Timers { count } => count,
    }
}

fn echoed(plan: Plan, stream: usize) -> u64 {
    let frames: usize = (0..plan.steps()).map(|step| plan.count(stream, step)).sum();
    let mut buffer = vec![0; plan.payload];
    let mut sum = if plan.keyed() { (frames * DISPATCHES_PER_FRAME) as u64 } else { 0 };
    for frame in 0..frames {
        plan.fill(&mut buffer, stream, frame);
        sum = sum.wrapping_add(plan.receive(&buffer, stream, frame));
    }
    sum
}

#[test]
fn checksums_are_those_of_the_protocol() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../PROTOCOL.md");
    let protocol = fs::read_to_string(&path).expect("the protocol is readable");
    let (_, table) = protocol.split_once("## Checksums").expect("a section about checksums");
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let works = work::all();
    assert_eq!(rows.len(), works.len());
    for (row, (name, work)) in rows.into_iter().zip(works) {
        assert_eq!(row, format!("| `{name}` | {} |", checksum(work)));
    }
}

#[test]
fn mixing_has_the_values_of_the_protocol() {
    assert_eq!(mix(1, 1), 5427500397110894933);
    assert_eq!(mix(1, 4), 1713007248637290118);
}

#[test]
fn blocks_have_the_bytes_of_the_protocol() {
    assert_eq!(block(1)[..3], [131, 138, 145]);
    assert_eq!(block(2)[256], 7); // 2*131 + 256*7 + 1 = 8*256 + 7
}

#[test]
#[should_panic(expected = "header of frame 6 of stream 3")]
fn a_frame_out_of_turn_is_refused() {
    let Some((_, Work::Net(plan))) =
        work::all().into_iter().find(|(name, _)| *name == "net_stream_hotspot_rotation_4k")
    else {
        panic!("the workload is there");
    };
    let mut buffer = vec![0; plan.payload];
    plan.fill(&mut buffer, 3, 5);
    plan.receive(&buffer, 3, 6);
}

fn assert_content(path: &Path) {
    let content = fs::read(path).expect("read the file");
    assert_eq!(content.len() as u64, BLOCK_BYTES as u64 * FILE_BLOCKS);
    for (index, found) in content.chunks(BLOCK_BYTES).enumerate() {
        assert!(found == block(index as u64), "block {index}");
    }
}

#[test]
fn the_temporary_file_leaves_no_name() {
    let fixture = Fixture::new(None).expect("make the file");
    assert_content(&fixture.path);
    assert_eq!(fs::metadata(&fixture.path).expect("it is open").nlink(), 0);
}

#[test]
fn a_given_file_is_made_once() {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("given.dat");
    fs::write(&path, "too short").expect("write");
    let fixture = Fixture::new(Some(&path)).expect("make the file");
    assert_content(&fixture.path);
    let made = fs::metadata(&path).expect("it exists");
    Fixture::new(Some(&path)).expect("find the file");
    let found = fs::metadata(&path).expect("it exists");
    fs::remove_file(&path).expect("remove");
    assert_eq!((made.mtime_nsec(), made.ino()), (found.mtime_nsec(), found.ino()));
}
