//! What Accord can bring along, so that a demo or a test needs no server but itself.
//!
//! Nothing here knows of pipelines, contracts or changes: a launcher starts a real server of its kind on
//! 127.0.0.1, hands out its address, and ends it.

pub mod postgres;
pub mod tied;

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use rand::RngExt as _;

/// A TCP port of 127.0.0.1 that nothing listens on.
///
/// It is taken from below the range that the kernel hands out by itself, so that a server which stops and
/// starts again finds its port still free.
pub fn free_port() -> io::Result<u16> {
    let mut refused = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..100 {
        let port = rand::rng().random_range(20_000..32_000);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}
