//! Random modules for tests of everything that reads model graphs: the text form, passes, lowering, backends.
//!
//! A [`Case`] is a module and the inputs of a few ticks, made from a sequence of choices that a property test can draw
//! and shrink ([`Case::from_choices`]) or from a seed ([`Case::from_seed`]).
//!
//! Guarantees, for every sequence of choices: the module keeps all constraints of [`super::verify`], has known extents and
//! no differential equations, its synapses expand, and no value has more than [`MAX_ELEMENTS`] elements. All element types
//! occur, with infinities, NaN, subnormals and the ends of the integers among the data.

mod data;
mod generate;

#[cfg(test)]
mod tests;

pub use crate::kernel::testing::Choices;
pub use data::tensor;

use super::Module;
use crate::tensor::Tensor;

/// No value of a random module has more elements.
pub const MAX_ELEMENTS: u64 = 4096;

/// A module and what it is given.
#[derive(Clone, Debug)]
pub struct Case {
    /// The module.
    pub module: Module,
    /// The inputs of each tick.
    pub ticks: Vec<Vec<Tensor>>,
}

impl Case {
    /// The case that these choices make.
    pub fn from_choices(choices: &[u32]) -> Case {
        generate::case(Choices::new(choices))
    }

    /// The case of a seed.
    pub fn from_seed(seed: u64) -> Case {
        generate::case(Choices::from_seed(seed))
    }
}

/// True if two tensors have the same type and the same elements to the bit, any NaN being the same as any other.
pub fn same(a: &Tensor, b: &Tensor) -> bool {
    let nan = |t: &Tensor, k: usize| t.dtype().is_float() && t.get_f64(k).is_nan();
    let size = a.dtype().size();
    a.ty() == b.ty()
        && (0..a.len()).all(|k| {
            let (x, y) = (&a.bytes()[k * size..(k + 1) * size], &b.bytes()[k * size..(k + 1) * size]);
            x == y || (nan(a, k) && nan(b, k))
        })
}
