//! Checks and lowering of `.nd` models.

mod examples;
mod meaning;
mod mistakes;
mod support;
