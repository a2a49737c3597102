//! Pruning by magnitude: the smallest weights of products become zero, on request only, since it changes what a model
//! computes.
//!
//! Weights are the constants that `linear`, `matmul` and `conv` take, through transposes, reshapes and slices. Of weights
//! of one magnitude, those that come first in memory are kept (S. Han et al., "Learning both weights and connections for
//! efficient neural networks", 2015, section 3, without retraining).

use crate::control;
use nc_ir::graph::{ConstId, Graph, Module, Op, ValueId};
use nc_ir::{DType, Diagnostic, Tensor};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Which weights stay.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Keep {
    /// This part of them, from 0 to 1: the largest.
    Part(f64),
    /// Those of this magnitude or a larger one.
    From(f64),
}

/// One wish.
#[derive(Clone, PartialEq, Debug)]
pub struct Prune {
    /// The weights, by their name or by that of a product that reads them; all of them if there is none.
    pub layer: Option<String>,
    /// Which stay.
    pub keep: Keep,
    /// Weights of all layers are compared with each other, not those of a layer among themselves.
    pub global: bool,
}

/// What became of the weights of a layer.
#[derive(Clone, PartialEq, Debug)]
pub struct Pruned {
    /// Their name.
    pub name: String,
    /// How many there are.
    pub weights: u64,
    /// How many were not zero.
    pub before: u64,
    /// How many are not zero now.
    pub after: u64,
}

/// Weights that products read.
struct Layer {
    id: ConstId,
    name: String,
    products: Vec<String>,
}

/// Does what is wished, in order: a later wish for a layer begins with the weights that the file has. Returns what became of
/// every layer that a wish is for.
///
/// # Errors
/// E0706 for a layer that the model does not have; E0707 for a part or a magnitude that is none.
pub fn run(module: &mut Module, wishes: &[Prune]) -> Result<Vec<Pruned>, Diagnostic> {
    if wishes.is_empty() {
        return Ok(Vec::new());
    }
    control::push_constants(module);
    let layers = layers(module);
    let mut by_layer: BTreeMap<usize, &Prune> = BTreeMap::new();
    for wish in wishes {
        let sound = match wish.keep {
            Keep::Part(p) => (0.0..=1.0).contains(&p),
            Keep::From(m) => m >= 0.0 && m.is_finite(),
        };
        if !sound {
            let what = match wish.keep {
                Keep::Part(p) => format!("a part of {p} cannot be kept"),
                Keep::From(m) => format!("no weight has a magnitude of {m}"),
            };
            return Err(
                Diagnostic::error_nowhere("E0707", what).with_hint("parts are from 0 to 1, magnitudes not below 0")
            );
        }
        let meant = |l: &Layer| wish.layer.as_ref().is_none_or(|n| *n == l.name || l.products.contains(n));
        let found: Vec<usize> = (0..layers.len()).filter(|k| meant(&layers[*k])).collect();
        if found.is_empty() {
            return Err(unknown(wish, &layers));
        }
        by_layer.extend(found.into_iter().map(|k| (k, wish)));
    }
    let mut out = Vec::with_capacity(by_layer.len());
    let mut limits: Vec<(&Prune, Limit)> = Vec::new();
    for (k, wish) in &by_layer {
        let limit = if wish.global {
            let known = limits.iter().position(|(w, _)| std::ptr::eq(*w, *wish));
            let at = known.unwrap_or_else(|| {
                let all = by_layer.iter().filter(|(_, w)| std::ptr::eq(**w, *wish));
                let all = all.flat_map(|(k, _)| magnitudes(&module.consts[layers[*k].id.index()].data));
                limits.push((wish, Limit::of(wish.keep, all.collect())));
                limits.len() - 1
            });
            &mut limits[at].1
        } else {
            limits.push((wish, Limit::of(wish.keep, magnitudes(&module.consts[layers[*k].id.index()].data))));
            let last = limits.len() - 1;
            &mut limits[last].1
        };
        let t = &mut module.consts[layers[*k].id.index()].data;
        let before = magnitudes(t).into_iter().filter(|m| *m != 0.0).count() as u64;
        let size = t.dtype().size();
        let drop: Vec<bool> = magnitudes(t).into_iter().map(|m| !limit.keeps(m)).collect();
        for (element, drop) in t.bytes_mut().chunks_exact_mut(size).zip(drop) {
            if drop {
                element.fill(0);
            }
        }
        let after = magnitudes(t).into_iter().filter(|m| *m != 0.0).count() as u64;
        out.push(Pruned { name: layers[*k].name.clone(), weights: t.len() as u64, before, after });
    }
    Ok(out)
}

/// What is kept: all above a magnitude, and some of those that have it.
struct Limit {
    at: f64,
    equal: u64,
}

impl Limit {
    fn of(keep: Keep, mut all: Vec<f64>) -> Limit {
        match keep {
            Keep::From(at) => Limit { at, equal: u64::MAX },
            Keep::Part(part) => {
                let n = (part * all.len() as f64).round() as usize;
                // NaN is larger than anything: it is not for pruning to take away.
                all.sort_by(|a, b| b.total_cmp(a));
                match n.checked_sub(1).and_then(|last| all.get(last)) {
                    None => Limit { at: f64::INFINITY, equal: 0 },
                    Some(at) => {
                        let above = all.iter().take_while(|m| m.total_cmp(at).is_gt()).count();
                        Limit { at: *at, equal: (n - above) as u64 }
                    }
                }
            }
        }
    }

    fn keeps(&mut self, magnitude: f64) -> bool {
        match magnitude.total_cmp(&self.at) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal if self.equal > 0 => {
                self.equal = self.equal.saturating_sub(u64::from(self.equal != u64::MAX));
                true
            }
            std::cmp::Ordering::Equal => false,
        }
    }
}

fn magnitudes(t: &Tensor) -> Vec<f64> {
    (0..t.len()).map(|k| t.get_f64(k).abs()).collect()
}

fn unknown(wish: &Prune, layers: &[Layer]) -> Diagnostic {
    let d = match &wish.layer {
        Some(name) => Diagnostic::error_nowhere("E0706", format!("no product has weights `{name}`")),
        None => Diagnostic::error_nowhere("E0706", "no product of the model has weights that are constants"),
    };
    match layers {
        [] => d,
        some => {
            let names: Vec<&str> = some.iter().map(|l| l.name.as_str()).collect();
            d.with_hint(format!("there are {}", names.join(", ")))
        }
    }
}

/// The weights of all products, of bodies too, in the order in which products read them.
fn layers(module: &Module) -> Vec<Layer> {
    let mut found = Vec::new();
    collect(module, &module.graph, &mut found);
    found
}

fn collect(module: &Module, graph: &Graph, found: &mut Vec<Layer>) {
    let mut from: FxHashMap<ValueId, (&Op, &[ValueId])> = FxHashMap::default();
    for n in &graph.nodes {
        from.extend(n.results.iter().map(|r| (*r, (&n.op, n.args.as_slice()))));
        let sides: &[ValueId] = match n.op {
            Op::Linear | Op::Conv { .. } => n.args.get(1..2).unwrap_or_default(),
            Op::Matmul => &n.args,
            _ => &[],
        };
        for v in sides {
            let Some(id) = constant(&from, *v) else { continue };
            let c = &module.consts[id.index()];
            if c.data.shape().len() < 2 || !matches!(c.data.dtype(), DType::F16 | DType::BF16 | DType::F32 | DType::F64)
            {
                continue;
            }
            let product = n.results.first().map(|r| graph.values[r.index()].name.clone()).unwrap_or_default();
            match found.iter_mut().find(|l| l.id == id) {
                Some(l) => l.products.push(product),
                None => {
                    let name = if c.name.is_empty() { format!("{product}.weights") } else { c.name.clone() };
                    found.push(Layer { id, name, products: vec![product] });
                }
            }
        }
        for r in &n.regions {
            collect(module, r, found);
        }
    }
}

/// The constant that a value is a view of.
fn constant(from: &FxHashMap<ValueId, (&Op, &[ValueId])>, v: ValueId) -> Option<ConstId> {
    let mut at = v;
    loop {
        match from.get(&at)? {
            (Op::Const { id }, _) => return Some(*id),
            (Op::Transpose { .. } | Op::Reshape { .. } | Op::Slice { .. }, args) => at = *args.first()?,
            _ => return None,
        }
    }
}
