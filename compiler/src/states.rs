//! States that need not be kept: those that never change, those that are always equal to another, and those that nothing
//! that is seen depends on.
//!
//! All three are exact. Two states are equal if they begin alike and, taken as equal, have the same next value: the
//! coarsest such partition is found by refinement, as for the minimisation of automata (J. Hopcroft, 1971).

use crate::rebuild::{Rebuild, constants_of};
use nc_ir::Tensor;
use nc_ir::graph::{Graph, Module, Op, ValueId};
use rustc_hash::{FxHashMap, FxHashSet};

/// Rounds of refinement: each looks at the whole graph.
const ROUNDS: usize = 32;

/// Removes states, and what only they needed. Outputs, probes and delay lines that are read stay what they are.
pub fn run(module: &mut Module) {
    if module.states.is_empty() {
        return;
    }
    merge(module);
    drop_dead(module);
}

/// Reads of states that never change become constants, and reads of states that equal another become reads of that one.
fn merge(module: &mut Module) {
    let classes = classes(module);
    let known = constants_of(&module.graph, &module.consts);
    let mut constant: Vec<Option<Tensor>> = Vec::new();
    for s in &module.states {
        let init = &module.consts[s.init.index()].data;
        let stays =
            s.next == s.read || known[s.next.index()].is_some_and(|t| t == init && t.ty() == *module.graph.ty(s.read));
        let whole = init.ty() == *module.graph.ty(s.read);
        constant.push((stays && whole).then(|| init.clone()));
    }
    let mut first: FxHashMap<usize, usize> = FxHashMap::default();
    let same: Vec<usize> = classes.iter().enumerate().map(|(k, c)| *first.entry(*c).or_insert(k)).collect();
    if constant.iter().all(Option::is_none) && same.iter().enumerate().all(|(k, s)| k == *s) {
        return;
    }
    let mut rb = Rebuild::new(std::mem::take(module));
    let states = rb.module.states.clone();
    let own: Vec<ValueId> = states.iter().map(|s| rb.value(s.read)).collect();
    for (k, s) in states.iter().enumerate() {
        if let Some(t) = constant[k].take() {
            // A constant of its own type always fits.
            if let Ok(v) = rb.constant(&s.name, t) {
                rb.redirect(s.read, v);
            }
        } else if same[k] != k {
            let other = rb.value(states[same[k]].read);
            rb.redirect(s.read, other);
        }
    }
    for node in std::mem::take(&mut rb.old.nodes) {
        rb.copy(&node);
    }
    // The states themselves still stand where they were: what reads them now is something else.
    for (s, v) in states.iter().zip(own) {
        rb.redirect(s.read, v);
    }
    *module = rb.finish();
}

/// For each state the number of its class of states that are always equal.
fn classes(module: &Module) -> Vec<usize> {
    let mut begin: FxHashMap<(String, Vec<u8>), usize> = FxHashMap::default();
    let mut class: Vec<usize> = Vec::new();
    for s in &module.states {
        let init = &module.consts[s.init.index()].data;
        let key = (format!("{} {:?}", module.graph.ty(s.read), init.shape()), init.bytes().to_vec());
        let n = begin.len();
        class.push(*begin.entry(key).or_insert(n));
    }
    for _ in 0..ROUNDS {
        let number = numbers(&module.graph, module, &class);
        let mut split: FxHashMap<(usize, usize), usize> = FxHashMap::default();
        let mut next = Vec::with_capacity(class.len());
        for (c, s) in class.iter().zip(&module.states) {
            let n = split.len();
            next.push(*split.entry((*c, number[s.next.index()])).or_insert(n));
        }
        let count = |c: &[usize]| c.iter().collect::<FxHashSet<_>>().len();
        if count(&next) == count(&class) {
            return class;
        }
        class = next;
    }
    // Not settled: a long chain of states tells one more apart in each round. None is taken as equal to another.
    (0..module.states.len()).collect()
}

/// A number for each value of the step function: values with the same number are equal if states of a class are.
fn numbers(graph: &Graph, module: &Module, class: &[usize]) -> Vec<usize> {
    let mut number: Vec<usize> = (0..graph.values.len()).collect();
    let mut first: FxHashMap<usize, usize> = FxHashMap::default();
    for (c, s) in class.iter().zip(&module.states) {
        number[s.read.index()] = *first.entry(*c).or_insert(s.read.index());
    }
    /// Op, operands by number, regions.
    type Key<'a> = (&'a Op, Vec<usize>, &'a [Graph]);
    let mut seen: FxHashMap<Key<'_>, Vec<usize>> = FxHashMap::default();
    for node in &graph.nodes {
        let args = node.args.iter().map(|a| number[a.index()]).collect();
        let own = || node.results.iter().map(|r| r.index()).collect();
        let same = seen.entry((&node.op, args, &node.regions)).or_insert_with(own).clone();
        for (r, n) in node.results.iter().zip(same) {
            number[r.index()] = n;
        }
    }
    number
}

/// Drops states that no output, probe, delay line or living state depends on.
fn drop_dead(module: &mut Module) {
    let mut live: FxHashSet<ValueId> = FxHashSet::default();
    let mut states: FxHashSet<usize> = FxHashSet::default();
    let mut def: Vec<Option<usize>> = vec![None; module.graph.values.len()];
    for (k, node) in module.graph.nodes.iter().enumerate() {
        node.results.iter().for_each(|r| def[r.index()] = Some(k));
    }
    let read: FxHashMap<ValueId, usize> = module.states.iter().enumerate().map(|(k, s)| (s.read, k)).collect();
    let ends = module.outputs.iter().map(|p| p.value).chain(module.probes.iter().map(|p| p.value));
    let mut stack: Vec<ValueId> = ends.chain(module.lines.iter().map(|l| l.source)).collect();
    while let Some(v) = stack.pop() {
        if !live.insert(v) {
            continue;
        }
        if let Some(k) = read.get(&v).filter(|k| states.insert(**k)) {
            stack.push(module.states[*k].next);
        }
        stack.extend(def[v.index()].iter().flat_map(|k| &module.graph.nodes[*k].args));
    }
    if states.len() == module.states.len() {
        return;
    }
    let mut keep = (0..module.states.len()).map(|k| states.contains(&k));
    module.states.retain(|_| keep.next().unwrap_or(true));
    crate::fold::remove_dead(module);
    let Module { graph, inputs, states, .. } = module;
    let read: FxHashSet<ValueId> = inputs.iter().map(|p| p.value).chain(states.iter().map(|s| s.read)).collect();
    graph.params.retain(|p| read.contains(p));
    // Values without a definition go with the copy.
    let mut rb = Rebuild::new(std::mem::take(module));
    for node in std::mem::take(&mut rb.old.nodes) {
        rb.copy(&node);
    }
    *module = rb.finish();
}

#[cfg(test)]
mod tests {
    use super::*;
    use nc_ir::graph::text::{parse, print};

    fn after(text: &str) -> Module {
        let mut m = parse(text).expect("a graph");
        run(&mut m);
        nc_ir::graph::verify::verify(&m).expect("a sound module");
        m
    }

    fn names(m: &Module) -> Vec<&str> {
        m.states.iter().map(|s| s.name.as_str()).collect()
    }

    const TWINS: &str = r#"module "m" {
  seed = 0
  const c0: f32 = [0.0]
  const c1: f32[2] = [1.0, 2.0]
  graph {
    param %0 "x": f32[2]
    param %1 "a": f32[2]
    param %2 "b": f32[2]
    param %3 "dead": f32[2]
    param %4 "still": f32[2]
    %5: f32[2] = add(%0, %1)
    %6: f32[2] = add(%0, %2)
    %7: f32[2] = mul(%6, %4)
    %8: f32[2] = add(%3, %0)
  }
  input "x" = %0
  state "a": read = %1, next = %5, init = c0
  state "b": read = %2, next = %6, init = c0
  state "dead": read = %3, next = %8, init = c0
  state "still": read = %4, next = %4, init = c1
  output "y" = %7
  output "z" = %5
}
"#;

    #[test]
    fn equal_constant_and_dead_states_go() {
        let m = after(TWINS);
        assert_eq!(names(&m), ["a"], "{}", print(&m));
    }

    #[test]
    fn states_that_begin_apart_stay_apart() {
        let m = after(&TWINS.replace("next = %6, init = c0", "next = %6, init = c1"));
        assert_eq!(names(&m), ["a", "b"], "{}", print(&m));
    }
}
