//! Who gives an operator's command, as it is kept with what came of it.
//!
//! Promises: always a name, if only `somebody`. Must not know: what is done.

/// The person at this terminal, and that it was at a terminal.
pub(super) fn who() -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "somebody".to_owned());
    format!("{user} (command line)")
}
