//! Quarantine, worked: what was refused is shown, tried again, put aside or erased.
//!
//! Promises: the library changes through the waist alone; nothing sensitive is shown unless it is asked for by
//! name. Must not know: HTTP, command lines.
//!
//! `replay` tries entries again, `bulk` many of them as a resource with progress, `sweep` does by itself what needs
//! no person, `view` says what is shown, `mask` what is hidden of it, and `masks` who has a say in that.

pub mod bulk;
mod mask;
mod masks;
pub mod replay;
pub mod sweep;
pub mod view;

pub use mask::{MASKED, Mask};
pub use masks::{Masks, judges};
pub use replay::{ReplayError, Replayer};
