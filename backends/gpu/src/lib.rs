//! Kernels on graphics processors: what a host needs to know to run them, and how it does.
//!
//! A [`Plan`] says what the code of a program is launched with and where everything lies; with the code and the first
//! contents of memory beside it, it is a bundle ([`mod@bundle`]). A launch runs many ticks of many samples: all that depends
//! on values is decided on the device. A [`Launcher`] runs a plan on a [`Device`]: the [`Cuda`] driver or one of [`Vulkan`],
//! which are looked for when a program asks for them and not before, or this processor in their place ([`Host`]), or any
//! other.
//!
//! Nothing here writes code, and so nothing here needs LLVM or CUDA where it is built.

pub mod bundle;
mod codes;
mod cuda;
mod host;
mod launch;
mod plan;
pub mod proof;
pub mod vulkan;

pub use codes::CODES;
pub use cuda::{Cuda, Driver};
pub use host::Host;
pub use launch::{Device, Grid, Launcher};
pub use plan::{
    BARRIER, Binary, Buffer, Course, LOOPS, Line, List, Plan, Port, ProofCode, Role, State, Turn, VERSION, VULKAN,
};
pub use vulkan::Vulkan;

use nc_ir::Diagnostic;

/// What E0870 begins with.
const ABSENT: &str = "no graphics processor to run on: ";

/// E0870 with a reason.
fn absent(why: &str) -> Diagnostic {
    Diagnostic::error_nowhere("E0870", format!("{ABSENT}{why}"))
        .with_hint("take --target cpu, or --target gpu-host to run the same kernels on this processor")
}

/// E0870 with the reasons of several of them.
pub fn none_of(all: &[Diagnostic]) -> Diagnostic {
    let why: Vec<&str> = all.iter().map(|d| d.message.strip_prefix(ABSENT).unwrap_or(&d.message)).collect();
    absent(&why.join("; "))
}
