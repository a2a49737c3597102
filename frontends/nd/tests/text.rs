//! Text that is written of a model graph computes what the graph does, to the bit: on random graphs, of which everything is
//! kept that the language has a word for.

use nc_ir::graph::testing::{Case, same};
use nc_ir::graph::{Constant, DelayLine, LineId, Module, Node, Op, Port, Probe, State, ValueId};
use nc_ir::interp::Interpreter;
use nc_ir::{DType, Diagnostic, Tensor, TensorType};
use nc_nd::export::Export;
use nc_nd::{export, sema};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// The arrays of a text.
struct Arrays<'a>(&'a [(String, Tensor)]);

impl sema::Loader for Arrays<'_> {
    fn source(&mut self, path: &str, _: u32) -> Result<(u32, String), Diagnostic> {
        panic!("the text imports {path}")
    }

    fn array(&mut self, file: &str, name: &str) -> Result<Tensor, Diagnostic> {
        assert_eq!(file, "w.npz");
        Ok(self.0.iter().find(|(n, _)| n == name).expect("an array of the text").1.clone())
    }

    fn list(&mut self, _: &str) -> Result<Vec<(String, TensorType)>, Diagnostic> {
        Ok(self.0.iter().map(|(n, t)| (n.clone(), t.ty())).collect())
    }
}

/// True for the element types that values of the language have.
fn has_word(ty: &TensorType) -> bool {
    matches!(ty.dtype, DType::F32 | DType::I64 | DType::Bool)
}

/// True if the language has a word for an op on operands of these types.
fn can_say(node: &Node, module: &Module) -> bool {
    let mut one = Module { name: "One".to_owned(), lines: module.lines.clone(), ..Module::default() };
    let mut args: Vec<ValueId> = Vec::new();
    for (k, a) in node.args.iter().enumerate() {
        let value = one.graph.add_param(module.graph.ty(*a).clone(), format!("x{k}"));
        one.inputs.push(Port { name: format!("x{k}"), value });
        args.push(value);
    }
    let Ok(results) = one.builder().push(node.op.clone(), args, Vec::new()) else { return false };
    one.outputs.push(Port { name: "y".to_owned(), value: results[0] });
    one.lines.clear();
    match export(&one, "w.npz") {
        Ok(_) => true,
        Err(d) => {
            assert_eq!(d.code, "E0550", "{d:?}");
            false
        }
    }
}

/// Finite numbers in the place of others, which no array file of a model may have.
fn finite(t: &Tensor) -> Tensor {
    let mut t = t.clone();
    if t.dtype() == DType::F32 {
        t.as_mut_slice::<f32>().iter_mut().filter(|x| !x.is_finite()).for_each(|x| *x = -1.5);
    }
    t
}

/// What of a module the language can say, in the names that it has. Values that nothing uses become outputs.
fn sayable(from: &Module) -> Module {
    let consts = from.consts.iter().map(|c| Constant { name: c.name.clone(), data: finite(&c.data) }).collect();
    let mut to = Module { name: "Random".to_owned(), dt: from.dt, consts, ..Module::default() };
    let mut map: HashMap<ValueId, ValueId> = HashMap::new();
    let full = |ty: &TensorType| has_word(ty) && ty.elements() != Some(0);
    for p in from.inputs.iter().filter(|p| full(from.graph.ty(p.value))) {
        let value = to.graph.add_param(from.graph.ty(p.value).clone(), p.name.clone());
        to.inputs.push(Port { name: p.name.clone(), value });
        map.insert(p.value, value);
    }
    let states: Vec<&State> = from.states.iter().filter(|s| full(from.graph.ty(s.read))).collect();
    for s in &states {
        let read = to.graph.add_param(from.graph.ty(s.read).clone(), s.name.clone());
        to.states.push(State { read, next: read, ..(*s).clone() });
        map.insert(s.read, read);
    }
    let mut lines: HashMap<LineId, LineId> = HashMap::new();
    for (k, l) in from.lines.iter().enumerate() {
        if let Some(source) = map.get(&l.source) {
            lines.insert(LineId(k as u32), LineId(to.lines.len() as u32));
            to.lines.push(DelayLine { source: *source, ..l.clone() });
        }
    }
    for node in &from.graph.nodes {
        let args: Option<Vec<ValueId>> = node.args.iter().map(|a| map.get(a).copied()).collect();
        let fits = node.results.iter().all(|r| full(from.graph.ty(*r)));
        let (Some(args), true, true) = (args, fits, node.regions.is_empty()) else { continue };
        let op = match &node.op {
            Op::Delayed { line, ticks } => match lines.get(line) {
                Some(line) => Op::Delayed { line: *line, ticks: *ticks },
                None => continue,
            },
            op => op.clone(),
        };
        if !matches!(op, Op::Const { .. } | Op::Delayed { .. }) && !can_say(node, from) {
            continue;
        }
        let results = to.builder().push(op, args, Vec::new()).expect("it fitted before");
        map.extend(node.results.iter().copied().zip(results));
    }
    for (s, made) in states.iter().zip(0..) {
        if let Some(next) = map.get(&s.next) {
            let state: &mut State = &mut to.states[made];
            state.next = *next;
        }
    }
    for p in &from.probes {
        if let Some(value) = map.get(&p.value) {
            to.probes.push(Probe { value: *value, ..p.clone() });
        }
    }
    let used: Vec<ValueId> = to.graph.nodes.iter().flat_map(|n| n.args.iter().copied()).collect();
    let ends = to.graph.nodes.iter().flat_map(|n| n.results.iter().copied()).filter(|v| !used.contains(v));
    for (k, value) in ends.chain(to.states.iter().map(|s| s.next)).enumerate() {
        to.outputs.push(Port { name: format!("y{k}"), value });
    }
    to
}

/// What every tick gives, by name.
fn traced(module: Module, ticks: &[Vec<Tensor>]) -> Vec<Vec<(String, Tensor)>> {
    let module = Arc::new(module);
    let mut it = Interpreter::new(module.clone()).expect("a module that can run");
    let one = |inputs: &Vec<Tensor>| {
        let out = it.step(inputs).expect("the inputs fit");
        let mut row: Vec<_> = module.outputs.iter().map(|p| p.name.clone()).zip(out.outputs).collect();
        row.extend(out.probes.into_iter().map(|(k, t)| (module.probes[k].name.clone(), t)));
        row
    };
    ticks.iter().map(one).collect()
}

/// The module that a text is, or what is said of it.
fn parsed(made: &Export) -> Result<Module, String> {
    let parsed = nc_nd::parse(&made.text, 0);
    let lowered = sema::lower(&parsed.file, &mut Arrays(&made.arrays), &sema::Options::default());
    let said: Vec<String> = lowered.diagnostics.iter().map(|d| d.to_string()).collect();
    lowered.module.ok_or_else(|| format!("{}\n{}", made.text, said.join("\n")))
}

/// Nodes that were kept.
fn check(case: &Case) -> Result<usize, String> {
    let module = sayable(&case.module);
    let made = match export(&module, "w.npz") {
        Ok(made) => made,
        // One op may be said of any operands but for these.
        Err(d) if d.code == "E0550" => return Ok(0),
        Err(d) => return Err(d.to_string()),
    };
    let again = parsed(&made)?;
    let renamed = |name: &str| {
        let found = made.renamed.iter().find(|(before, _)| before == name);
        found.map_or_else(|| name.to_owned(), |(_, after)| after.clone())
    };
    let at = |name: &str| case.module.inputs.iter().position(|p| renamed(&p.name) == name).expect("an input");
    let given = |m: &Module| -> Vec<Vec<Tensor>> {
        let order: Vec<usize> = m.inputs.iter().map(|p| at(&p.name)).collect();
        case.ticks.iter().map(|row| order.iter().map(|k| row[*k].clone()).collect()).collect()
    };
    let nodes = module.graph.nodes.len();
    let (given_before, given_after) = (given(&module), given(&again));
    let (before, after) = (traced(module, &given_before), traced(again, &given_after));
    for (t, (a, b)) in before.iter().zip(&after).enumerate() {
        if a.len() != b.len() {
            return Err(format!("tick {t}: {} arrays became {}\n{}", a.len(), b.len(), made.text));
        }
        for (name, x) in a {
            let Some((_, y)) = b.iter().find(|(n, _)| *n == renamed(name)) else {
                return Err(format!("`{name}` is lost\n{}", made.text));
            };
            if !same(x, y) {
                return Err(format!("tick {t}, {name}: {x:?} became {y:?}\n{}\n{:?}", made.text, made.arrays));
            }
        }
    }
    Ok(nodes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn text_computes_what_its_graph_does(choices in prop::collection::vec(any::<u32>(), 0..300)) {
        check(&Case::from_choices(&choices)).map_err(TestCaseError::fail)?;
    }
}

/// The same on seeds, which say more: enough of the random graphs is left that the test means something.
#[test]
fn enough_of_random_graphs_is_kept() {
    let (mut ops, mut cases) = (0, 0);
    for seed in 0..2000 {
        let kept = check(&Case::from_seed(seed)).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        (ops, cases) = (ops + kept, cases + usize::from(kept >= 4));
    }
    assert!(cases >= 400 && ops >= 3000, "{cases} graphs of four ops or more, {ops} ops in all");
}

/// What this text gives in one tick; arrays stand in `w.npz`.
fn given(text: &str, arrays: &[(&str, Tensor)]) -> Vec<Tensor> {
    let arrays: Vec<(String, Tensor)> = arrays.iter().map(|(n, t)| (n.to_string(), t.clone())).collect();
    let made = Export { text: text.to_owned(), arrays, renamed: Vec::new() };
    let module = parsed(&made).unwrap_or_else(|e| panic!("{e}"));
    Interpreter::new(Arc::new(module)).expect("a model that can run").step(&[]).expect("no inputs").outputs
}

fn reals(shape: &[usize], x: &[f32]) -> Tensor {
    Tensor::from_vec(shape.to_vec(), x.to_vec()).expect("as many as the shape says")
}

/// An array of one element keeps its axes, and may be what a state begins with.
#[test]
fn arrays_of_one_element_keep_their_shape() {
    let text = "net N {\n  file f = \"w.npz\"\n  param c: real[1, 1] = f[\"c\"]\n  state s: real[1, 1] = c\n  \
                next s = s + c\n  output y = s\n}\n";
    assert_eq!(given(text, &[("c", reals(&[1, 1], &[2.5]))]), [reals(&[1, 1], &[2.5])]);
}

/// One matrix times a stack of them: 2 [3] and 2 [5].
#[test]
fn leading_extents_of_one_are_repeated() {
    let text = "net N {\n  file f = \"w.npz\"\n  param a: real[1, 1, 1] = f[\"a\"]\n  param b: real[2, 1, 1] = f[\"b\"]\n  \
                output y = reshape(matmul(a, b), [2])\n}\n";
    let arrays = [("a", reals(&[1, 1, 1], &[2.0])), ("b", reals(&[2, 1, 1], &[3.0, 5.0]))];
    assert_eq!(given(text, &arrays), [reals(&[2], &[6.0, 10.0])]);
}
