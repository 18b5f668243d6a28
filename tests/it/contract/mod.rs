//! Contracts: the first one of a table, and what changing one means.

mod activation;
mod cli;
mod import;
mod live;
mod memory;
mod preview;
