//! A fragrance CMS with one unreliable webhook listener.
//!
//! It behaves as the CMS that Accord was built for: it edits random rows of its own Postgres, commits, and then tells
//! one listener about the changed fields, once. It keeps that listener in memory, does not retry, and does not look at
//! the answer. On request it behaves worse ([`Faults`]), always the same way for the same seed.
//!
//! Stand-alone it is the `cms_simulator` binary. Demos and tests run it in their own process with [`run`], or hold a
//! [`Cms`] and make every edit themselves.
//!
//! It knows nothing of Accord: all it has of its listener is a host, a port and an endpoint.

mod caller;
mod cms;
mod config;
mod dice;
mod editor;
mod event;
mod faults;
mod http;
mod listener;
mod python_json;
mod record;
pub mod seed;
mod store;

pub use cms::{Cms, run, warm_up_and_run};
pub use config::{Config, Interval, IntervalError};
pub use event::{Event, FieldChange};
pub use faults::{Delay, Faults, FaultsError, share};
pub use listener::Listener;
pub use record::{Field, Fields};
pub use store::StoreError;
