//! The reconciler.

mod pair;
mod random;
mod refusals;
mod truth;
