//! Weights are looked at once, however many passes ask about them.

use super::{Weights, known};
use nc_ir::Tensor;
use nc_ir::types::DType;
use rustc_hash::FxHashMap;

/// What is known about weights that were looked at, by where they lie. The weights are kept, so that no others take their
/// place.
#[derive(Default)]
pub struct Counted {
    seen: FxHashMap<(usize, bool), (Tensor, Weights)>,
}

impl Counted {
    /// What is known about weights that are known: `[outputs, inputs]` if they are a matrix, with `right` its transpose.
    pub fn of(&mut self, t: &Tensor, right: bool) -> Weights {
        let key = (t.bytes().as_ptr() as usize, right);
        match self.seen.get(&key) {
            Some((of, weights)) if of.dtype() == t.dtype() && of.shape() == t.shape() => *weights,
            _ => {
                let weights = weights(t, right);
                self.seen.insert(key, (t.clone(), weights));
                weights
            }
        }
    }

    /// Lets go of weights that are none of these.
    pub fn keep<'a>(&mut self, those: impl Iterator<Item = &'a Tensor>) {
        let there: Vec<*const u8> = those.map(|t| t.bytes().as_ptr()).collect();
        let there: rustc_hash::FxHashSet<*const u8> = there.into_iter().collect();
        self.seen.retain(|_, (t, _)| there.contains(&t.bytes().as_ptr()));
    }
}

/// What is known about weights that are known.
pub(super) fn weights(t: &Tensor, right: bool) -> Weights {
    let zeros: Option<Vec<bool>> = match t.dtype() {
        DType::F32 => t.as_slice::<f32>().iter().map(|x| x.is_finite().then_some(*x == 0.0)).collect(),
        _ => (0..t.len()).map(|k| Some(t.get_f64(k)).filter(|x| x.is_finite()).map(|x| x == 0.0)).collect(),
    };
    let Some(zeros) = zeros else { return Weights::Any };
    let matrix = match *t.shape() {
        [inputs, outputs] if right => Some(([outputs as u64, inputs as u64], [1, outputs as u64])),
        [outputs, inputs] => Some(([outputs as u64, inputs as u64], [inputs as u64, 1])),
        _ => None,
    };
    known(t.dtype(), &zeros, matrix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_looked_at_once_and_never_mistaken() {
        let mut counted = Counted::default();
        let t = Tensor::from_vec(vec![2, 3], vec![1.0f32, 0.0, 2.0, 0.0, 0.0, 3.0]).expect("six");
        let nonzero = |w: Weights| match w {
            Weights::Known { nonzero, .. } => Some(nonzero),
            Weights::Any => None,
        };
        assert_eq!(nonzero(counted.of(&t, false)), Some(3));
        assert_eq!(nonzero(counted.of(&t.clone(), true)), Some(3));
        assert_eq!(counted.seen.len(), 2);
        let turned = t.reshaped(vec![3, 2]).expect("as many");
        assert_eq!(nonzero(counted.of(&turned, false)), Some(3));
        let other = Tensor::from_vec(vec![2], vec![1.0f32, f32::NAN]).expect("two");
        assert_eq!(counted.of(&other, false), Weights::Any);
        counted.keep([&other].into_iter());
        assert_eq!(counted.seen.len(), 1);
    }
}
