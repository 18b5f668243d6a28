//! The command line of the stand-alone simulator.

use std::net::SocketAddr;
use std::time::Duration;

use clap::builder::{StringValueParser, TypedValueParser};
use clap::{Parser, ValueEnum};
use cms_simulator::{Config, Faults, Interval};
use secrecy::SecretString;

/// A fragrance CMS with one unreliable webhook listener.
///
/// It edits a random fragrance in its Postgres every now and then, commits, and POSTs the changed fields to the one
/// listener that registered last. It tries once, ignores the answer, and forgets the listener when it restarts.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where to serve the CMS's API
    #[arg(long, env = "LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    pub(crate) listen: SocketAddr,

    /// The CMS's own Postgres, with table fragrances in it (database_config/ holds its schema and rows)
    ///
    /// Without it, the database that docker compose publishes on port 15432 is used.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, hide_default_value = true, value_name = "URL",
          value_parser = StringValueParser::new().map(SecretString::from), default_value = Config::DEFAULT_DATABASE_URL)]
    database_url: SecretString,

    /// Time between edits: 2s, 500ms, or a range such as 20s..25s
    #[arg(long, env = "EVERY", value_name = "TIME", default_value_t = Interval::default())]
    pub(crate) every: Interval,

    /// How long to refuse connections after the start, as the real CMS does
    #[arg(long, env = "WARM_UP", value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) warm_up: Duration,

    /// The same seed on the same data makes the same edits and the same faults
    #[arg(long, env = "SEED", value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Share of edits that add a row instead: 10% or 0.1
    #[arg(long, env = "INSERTS", value_name = "SHARE", default_value = "0%", value_parser = cms_simulator::share)]
    inserts: f64,

    /// Share of edits that delete a row instead: 10% or 0.1
    #[arg(long, env = "DELETES", value_name = "SHARE", default_value = "0%", value_parser = cms_simulator::share)]
    deletes: f64,

    /// What to tell the listener besides edits; the real CMS tells neither
    #[arg(long, env = "ANNOUNCE", value_enum, value_delimiter = ',')]
    announce: Vec<Announce>,

    /// What goes wrong on the way to the listener, as a list of name=value
    ///
    /// drop=30% (calls never made), duplicate=10% (calls made twice), delay=2s or delay=2s@50% (calls up to 2 s late,
    /// so later ones overtake them), malformed=5% (bodies that are not JSON), burst=50 (50 edits within a second
    /// each time), forget=60s (the listener is forgotten every 60 s).
    #[arg(long, env = "FAULTS", value_name = "LIST", default_value = "", hide_default_value = true)]
    faults: Faults,
}

const EXAMPLES: &str = "\
Examples:
  cms_simulator                                        as the real one
  cms_simulator --warm-up 0s --every 2s                for a person who watches
  cms_simulator --every 1s --faults drop=30%,delay=2s  for a listener that must cope

Register a listener:
  curl localhost:9090/listener -d \\
    '{\"host\":\"http://127.0.0.1\",\"port\":9099,\"endpoint\":\"/notifications\"}'";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Announce {
    /// Rows that are added
    Inserts,
    /// Rows that are deleted
    Deletes,
}

impl Args {
    pub(crate) fn config(self) -> Config {
        Config {
            announce_inserts: self.announce.contains(&Announce::Inserts),
            announce_deletes: self.announce.contains(&Announce::Deletes),
            database_url: self.database_url,
            every: self.every,
            seed: self.seed,
            inserts: self.inserts,
            deletes: self.deletes,
            faults: self.faults,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_reach_the_config() {
        let line = "cms_simulator --every 2s --warm-up 0s --seed 9 --inserts 10% --deletes 0.2 --announce inserts,deletes --faults drop=30%";
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        assert_eq!(args.warm_up, Duration::ZERO);
        let config = args.config();
        assert_eq!(config.every, Interval::fixed(Duration::from_secs(2)));
        assert_eq!((config.seed, config.inserts, config.deletes), (9, 0.1, 0.2));
        assert!(config.announce_inserts && config.announce_deletes);
        assert_eq!(config.faults, Faults { drop: 0.3, ..Faults::default() });
    }

    #[test]
    fn the_help_hides_the_password() {
        let help = Args::command().render_long_help().to_string();
        assert!(!help.contains("cms_user_password"), "{help}");
    }
}
