//! `generate_fragrances`: writes the seed rows as CSV.
//!
//! ```text
//! cargo run -p cms_simulator --bin generate_fragrances > database_config/fragrances.csv
//! ```

use std::io::{self, BufWriter};

use clap::Parser;
use cms_simulator::seed;

/// Writes believable fragrances as CSV to standard output; the same number of rows is always the same text
#[derive(Parser)]
struct Args {
    /// How many rows, with keys from 0
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(..=i64::from(seed::MAX_ROWS)))]
    rows: u32,
}

fn main() -> io::Result<()> {
    seed::write_csv(Args::parse().rows, BufWriter::new(io::stdout().lock()))
}
