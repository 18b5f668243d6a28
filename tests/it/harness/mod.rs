//! What the tests stand on: real servers, real processes, and faults on demand.
//!
//! Nothing here is shared between two tests except the Postgres cluster, in which each has its own database.

mod client;
mod command;
mod database;
mod eventually;
mod fragrances;
mod pooler;
mod process;
mod proxy;
mod reply;
mod server;
mod waist;

pub(crate) use self::client::{Account, Ack, Client, Load};
pub(crate) use self::command::{Told, accord};
pub(crate) use self::database::{TestDatabase, database, private_postgres};
pub(crate) use self::eventually::eventually;
pub(crate) use self::fragrances::{Fragrances, PASSWORD, owner};
pub(crate) use self::pooler::Pooler;
pub(crate) use self::process::{Accord, Process};
pub(crate) use self::proxy::{Fault, TcpProxy};
pub(crate) use self::reply::Reply;
pub(crate) use self::server::{Configure, FRAGRANCES, Server, fragrances, plant_fragrances};
pub(crate) use self::waist::{ITEM, ITEM_TABLE, Waist, Wish, deletion};

/// A port of 127.0.0.1 that nothing listens on.
pub(crate) fn free_port() -> u16 {
    accord::embedded::free_port().expect("a free port on 127.0.0.1")
}
