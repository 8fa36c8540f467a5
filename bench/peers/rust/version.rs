//! Build script of every peer: hands the runtime's exact version, as its manifest asks for it, to
//! the program as PEER_VERSION. The runtime is the dependency named like the package without
//! `peer-`.

use std::{env, fs};

fn main() {
    let package = env::var("CARGO_PKG_NAME").expect("cargo sets CARGO_PKG_NAME");
    let runtime = package.strip_prefix("peer-").expect("packages of peers are called peer-NAME");
    let manifest = fs::read_to_string("Cargo.toml").expect("the manifest is readable");
    let version = manifest
        .lines()
        .filter(|line| line.split_whitespace().next() == Some(runtime))
        .find_map(|line| line.split("\"=").nth(1)?.split('"').next())
        .unwrap_or_else(|| panic!("Cargo.toml has no line `{runtime} = ... \"=VERSION\"`"));
    println!("cargo::rustc-env=PEER_VERSION={version}");
    println!("cargo::rerun-if-changed=Cargo.toml");
}
