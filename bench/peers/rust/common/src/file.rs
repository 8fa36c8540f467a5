//! The file of the `fs_` workloads: 16 MiB with a known content, made when it is missing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process;

use crate::work::{BLOCK_BYTES, FILE_BLOCKS};

/// A path that any runtime can open while this value lives.
pub struct Fixture {
    pub path: PathBuf,
    _temporary: Option<File>,
}

impl Fixture {
    /// The file at `path`, or a temporary one. The temporary one has no name any more when this
    /// returns, so that nothing is left behind however the program ends; it is opened by way of the
    /// descriptor's entry in /proc.
    pub fn new(path: Option<&Path>) -> io::Result<Self> {
        if let Some(path) = path {
            let size = BLOCK_BYTES as u64 * FILE_BLOCKS;
            if !fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == size) {
                write(&mut OpenOptions::new().write(true).create(true).truncate(true).open(path)?)?;
            }
            return Ok(Self { path: path.to_owned(), _temporary: None });
        }
        let name = PathBuf::from(format!("/var/tmp/spargio-peer-{}.dat", process::id()));
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&name)?;
        fs::remove_file(&name)?;
        write(&mut file)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Ok(Self { path, _temporary: Some(file) })
    }
}

pub fn block(index: u64) -> Vec<u8> {
    (0..BLOCK_BYTES as u64).map(|k| (index * 131 + k * 7 + (k >> 8)) as u8).collect()
}

fn write(file: &mut File) -> io::Result<()> {
    for index in 0..FILE_BLOCKS {
        file.write_all(&block(index))?;
    }
    file.sync_all()
}
