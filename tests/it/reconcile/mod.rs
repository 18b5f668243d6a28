//! Two real databases, compared and brought in accord.

mod backfill;
mod breakers;
mod pair;
mod race;
mod random;
mod refusals;
mod repair;
mod scene;
mod service;
mod service_cli;
mod service_http;
mod service_schedule;
mod service_silence;
mod truth;
