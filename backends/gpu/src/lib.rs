//! Kernels on graphics processors: what a host needs to know to run them, and how it does.
//!
//! A [`Plan`] says what the code of a program is launched with and where everything lies; with the code and the first
//! contents of memory beside it, it is a bundle ([`mod@bundle`]). A launch runs many ticks of many samples: all that depends
//! on values is decided on the device. A [`Launcher`] runs a plan on a [`Device`]: the [`Cuda`] driver, which is looked for when a program asks for it and not before, or this processor in its
//! place ([`Host`]), or any other.
//!
//! Nothing here writes code, and so nothing here needs LLVM or CUDA where it is built.

pub mod bundle;
mod codes;
mod cuda;
mod host;
mod launch;
mod plan;

pub use codes::CODES;
pub use cuda::{Cuda, Driver};
pub use host::Host;
pub use launch::{Device, Grid, Launcher};
pub use plan::{BARRIER, Binary, Buffer, Line, List, Plan, Port, Role, State, VERSION};
