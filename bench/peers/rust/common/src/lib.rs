//! What all Rust peers share: the command line, the clock, the JSON line, and the workloads as far
//! as they do not depend on a runtime. See bench/peers/PROTOCOL.md.

pub mod file;
pub mod loops;
pub mod net;
pub mod work;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, mem, panic, process};

use file::Fixture;
use work::Work;

const REPEAT_DEFAULT: u32 = 5;
const REPEAT_MAX: u32 = 1_000_000;

/// One run of one workload: what was asked for, and the stopwatch.
pub struct Bench {
    repeat: u32,
    file: Option<PathBuf>,
    server_threads: bool,
    fixture: Option<Fixture>,
    result: Option<Measured>,
}

struct Measured {
    seconds: Vec<f64>,
    user_s: f64,
    system_s: f64,
    checksum: u64,
}

impl Bench {
    /// Runs one repetition to warm up and then the timed ones; each call returns its checksum.
    pub fn measure(&mut self, mut repetition: impl FnMut() -> u64) {
        let checksum = repetition();
        let mut seconds = Vec::with_capacity(self.repeat as usize);
        let before = cpu_seconds();
        for index in 1..=self.repeat {
            let start = Instant::now();
            let sum = repetition();
            seconds.push(start.elapsed().as_secs_f64());
            if sum != checksum {
                fail(1, format!("repetition {index} has checksum {sum}, the warm-up {checksum}"));
            }
        }
        let after = cpu_seconds();
        let (user_s, system_s) = (after.0 - before.0, after.1 - before.1);
        self.result = Some(Measured { seconds, user_s, system_s, checksum });
    }

    /// The file of the `fs_` workloads. It exists as long as `self`.
    pub fn file(&mut self) -> PathBuf {
        let made = Fixture::new(self.file.as_deref());
        let fixture = made.unwrap_or_else(|error| {
            let path = self.file.as_deref().unwrap_or(Path::new("a temporary file in /var/tmp"));
            fail(1, format!("cannot make {}: {error}", path.display()))
        });
        self.fixture.insert(fixture).path.clone()
    }

    /// Are the echo servers blocking threads outside of the runtime?
    pub fn server_threads(&self) -> bool {
        self.server_threads
    }
}

/// Ends the program because the runtime cannot start here.
pub fn cannot_start(error: impl Display) -> ! {
    fail(3, format!("the runtime cannot start here: {error}"))
}

/// The whole program of a peer. `absent` are the workloads that it does not have.
pub fn main(peer: &str, version: &str, absent: &[&str], run: impl FnOnce(Work, &mut Bench)) {
    // A panic in any thread is a failed check or an error of the kernel; the others would wait on.
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        report(info);
        process::exit(1);
    }));
    let mut works = work::all();
    works.retain(|(name, _)| !absent.contains(name));
    let mut arguments = env::args().skip(1);
    let Some(name) = arguments.next() else {
        fail(2, format!("usage: peer-{peer} list | WORKLOAD {OPTIONS}"));
    };
    if name == "list" {
        if let Some(extra) = arguments.next() {
            fail(2, format!("list takes no argument, got {extra:?}"));
        }
        works.iter().for_each(|(name, _)| println!("{name}"));
        return;
    }
    let Some(&(name, work)) = works.iter().find(|(known, _)| *known == name) else {
        let names: Vec<_> = works.iter().map(|(name, _)| *name).collect();
        fail(2, format!("unknown workload {name:?}; peer-{peer} has: {}", names.join(", ")));
    };
    let mut bench = options(arguments);
    run(work, &mut bench);
    let result = bench.result.expect("a peer measures the workload that it was asked for");
    println!("{}", json(peer, version, name, work, bench.server_threads, &result));
}

const OPTIONS: &str = "[--repeat N] [--file PATH] [--server runtime|threads]";

fn options(mut arguments: impl Iterator<Item = String>) -> Bench {
    let mut bench = Bench {
        repeat: REPEAT_DEFAULT,
        file: None,
        server_threads: false,
        fixture: None,
        result: None,
    };
    while let Some(option) = arguments.next() {
        if !["--repeat", "--file", "--server"].contains(&option.as_str()) {
            fail(2, format!("unknown option {option:?}; there are {OPTIONS}"));
        }
        let Some(value) = arguments.next() else {
            fail(2, format!("{option} needs a value"));
        };
        match option.as_str() {
            "--repeat" => bench.repeat = repeat(&value),
            "--file" => bench.file = Some(PathBuf::from(value)),
            _ => bench.server_threads = server_threads(&value),
        }
    }
    bench
}

fn repeat(value: &str) -> u32 {
    match value.parse() {
        Ok(repeat @ 1..=REPEAT_MAX) => repeat,
        _ => fail(2, format!("--repeat is {value:?}, allowed are 1 to {REPEAT_MAX}")),
    }
}

fn server_threads(value: &str) -> bool {
    match value {
        "runtime" => false,
        "threads" => true,
        _ => fail(2, format!("--server is {value:?}, allowed are runtime and threads")),
    }
}

fn json(
    peer: &str,
    version: &str,
    workload: &str,
    work: Work,
    server_threads: bool,
    result: &Measured,
) -> String {
    let seconds: Vec<_> = result.seconds.iter().map(|second| format!("{second:.9}")).collect();
    let with_threads = server_threads && matches!(work, Work::Net(_));
    format!(
        "{{\"peer\":\"{peer}\",\"version\":\"{version}\",\"workload\":\"{workload}\",\
         \"seconds\":[{}],\"user_s\":{:.6},\"system_s\":{:.6},\"checksum\":\"{}\",\
         \"threads\":{}{}}}",
        seconds.join(","),
        result.user_s,
        result.system_s,
        result.checksum,
        work.threads(),
        if with_threads { ",\"server\":\"threads\"" } else { "" },
    )
}

/// User and system time of this process, in seconds.
fn cpu_seconds() -> (f64, f64) {
    // SAFETY: all zeros is a valid rusage, and the pointer is to one that lives during the call.
    let usage = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &mut usage), 0, "getrusage");
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (seconds(usage.ru_utime), seconds(usage.ru_stime))
}

fn fail(status: i32, message: impl Display) -> ! {
    eprintln!("{message}");
    process::exit(status)
}
