//! From a raw body to changes or violations.
//!
//! Promises: never panics; a record becomes exactly one [`Change`], refused ones included; absent is not
//! null; numbers keep every digit; only lossless coercion. Must not know: where the bytes came from.

use std::sync::Arc;

use crate::change::{Body, Change, Origin};
use crate::contract::Contract;

/// Judges the bodies of one pipeline.
#[derive(Clone, Debug)]
pub struct Gate {
    contract: Arc<Contract>,
}

/// A body, judged.
#[derive(Debug)]
pub struct Judged {
    /// One change a record, in order.
    pub changes: Vec<Change>,
    /// The body was an array: answer with a list.
    pub is_batch: bool,
    /// How many unknown fields were left out.
    pub ignored_fields: u64,
}

impl Gate {
    /// A gate for one contract.
    pub fn new(contract: Arc<Contract>) -> Self {
        Self { contract }
    }

    /// Judges a body that holds one record or an array of them.
    pub fn judge(&self, body: &Arc<Body>, origin: Origin, event_id: Option<&str>) -> Judged {
        let _ = (&self.contract, body, origin, event_id);
        Judged { changes: Vec::new(), is_batch: false, ignored_fields: 0 }
    }
}
