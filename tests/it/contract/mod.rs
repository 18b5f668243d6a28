//! Contracts: the first one of a table, and what changing one means.

mod import;
