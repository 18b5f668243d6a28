//! The changes that are sent: partial deltas as the CMS sends them, each one a real change.
//!
//! Cost and description carry a number that grows from change to change, so that no row ever is as the next
//! change wants it.

use std::io::Write as _;

/// How many rows the library has: 0, 1, 2, …
pub(crate) const ROWS: u32 = 5000;

/// What a fragrance's description becomes with the change of this number.
pub(crate) fn description(number: u64) -> String {
    format!("Bergamot and pink pepper over a quiet heart of iris; cedar and musk stay on the skin {number}")
}

/// Appends a delta to a body.
pub(crate) fn write(body: &mut Vec<u8>, key: u32, number: u64) {
    // Writing into memory does not fail.
    let _ =
        write!(body, r#"{{"fragrance_id":{key},"description":"{}","cost":{number}}}"#, description(number));
}
