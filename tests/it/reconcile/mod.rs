//! Two real databases, compared and brought in accord.

mod breakers;
mod race;
mod repair;
mod scene;
