//! Kernels on graphics processors: what a host needs to know to run them, and how it does.
//!
//! A [`Plan`] says which kernels there are, how they are launched, in which order, and where everything lies; with the
//! kernels' code and the first contents of memory beside it, it is a bundle ([`mod@bundle`]). A [`Launcher`] runs a plan on a
//! [`Device`]: the [`Cuda`] driver, which is looked for when a program asks for it and not before, or this processor in its
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
pub use launch::{Device, Launcher};
pub use plan::{Binary, Buffer, Cell, Grid, Line, List, Plan, Port, Role, State, Step, VERSION};
