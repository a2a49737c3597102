//! Both sides of every rule on the interpreter, for random instances of its left side.

mod files;
mod instances;

use super::{Rule, Way, all, rewrite};
use crate::pipeline::{Level, Options};
use crate::rebuild::Rebuild;
use crate::saturate::analysis::result_dtype;
use crate::saturate::extract::Cheapest;
use crate::saturate::piece::{Leaf, Piece, is_term};
use crate::saturate::plan::{Plan, Writer};
use crate::saturate::{Classes, Region, leaves};
use instances::Maker;
use nc_ir::graph::testing::{Choices, same, tensor};
use nc_ir::graph::{Module, ValueId, verify};
use nc_ir::interp::Interpreter;
use nc_ir::types::DType;
use nc_ir::{Tensor, graph};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Instances of each rule.
const INSTANCES: u64 = 60;

/// What a module gives on inputs.
fn outputs(m: &Module, inputs: &[Tensor]) -> Vec<Tensor> {
    let mut interpreter = Interpreter::new(Arc::new(m.clone())).expect("a module that can be interpreted");
    interpreter.step(inputs).expect("inputs that fit").outputs
}

/// The module once for each term that a rule finds for its outputs, with that term taken.
fn forms(m: &Module, rule: &Rule) -> Vec<Module> {
    let rules = [rewrite(rule).expect("a rule in the table's terms")];
    let leaves = leaves(m, &Options::default(), &[], &mut Default::default());
    let is_output = |v: ValueId| m.outputs.iter().any(|p| p.value == v);
    let leaf = |v: ValueId| -> Leaf { leaves[v.index()].clone() };
    let piece = Piece::of(&m.graph, 0..m.graph.nodes.len(), Level::O2, is_output, leaf);
    let mut classes = Classes::of(&piece.shape, false);
    classes.explore(&rules, 2);
    let mut out = Vec::new();
    for port in &m.outputs {
        let Some(k) = piece.number.get(&port.value) else { continue };
        let class = classes.egraph.find(classes.of[*k]);
        for term in 0..classes.egraph[class].len() {
            let mut cheapest = Cheapest::of(&classes.egraph, |_, _| 1.0);
            if cheapest.force(class, term) {
                let plan = Plan::of(&classes, &cheapest, &piece.shape.needed, Region::default()).expect("no cycles");
                let form = written(m, &piece, &plan);
                verify::verify(&form).expect("a sound module");
                if form.graph != m.graph {
                    out.push(form);
                }
            }
        }
    }
    out
}

/// The module with its terms as planned.
fn written(m: &Module, piece: &Piece, plan: &Plan) -> Module {
    let mut rb = Rebuild::new(m.clone());
    let mut writer = Writer::new(plan, piece, &rb);
    for node in rb.old.nodes.clone() {
        if !is_term(&node, Level::O2) {
            rb.copy(&node);
        }
    }
    for port in &m.outputs {
        writer.value(&mut rb, port.value).expect("well-typed terms");
    }
    rb.finish()
}

/// Equal to the bit, or nearly for rules that round differently.
fn agree(rule: &Rule, a: &Tensor, b: &Tensor) -> bool {
    if rule.exact {
        return same(a, b);
    }
    let near = |x: f64, y: f64| (x - y).abs() <= 1e-3 * (1.0 + x.abs().max(y.abs())) || (x.is_nan() && y.is_nan());
    a.ty() == b.ty() && (0..a.len()).all(|k| near(a.get_f64(k), b.get_f64(k)))
}

#[test]
fn both_sides_of_every_rule_give_the_same() {
    let mut wrong = Vec::new();
    for rule in all() {
        let mut tried = 0;
        for seed in 0..INSTANCES * 4 {
            let mut maker = Maker::new(seed, rule.exact);
            if tried >= INSTANCES || maker.instance(rule).is_none() {
                continue;
            }
            let inputs = maker.inputs();
            let want = outputs(&maker.module, &inputs);
            for form in forms(&maker.module, rule) {
                tried += 1;
                let got = outputs(&form, &inputs);
                if want.iter().zip(&got).any(|(w, g)| !agree(rule, w, g)) {
                    let texts = [&maker.module, &form].map(graph::text::print);
                    wrong.push(format!("{}, seed {seed}: {want:?} and {got:?}\n{}", rule.name, texts.join("\n")));
                }
            }
        }
        if tried == 0 {
            wrong.push(format!("{} was never tried", rule.name));
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.into_iter().take(3).collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_readme_lists_every_rule_with_its_reason() {
    let mut text =
        "# Rules\n\nWritten by the tests from the rules themselves (`UPDATE_EXPECT=1`). How one is added stands in \
                    `docs/optimiser.md`.\n"
            .to_owned();
    let mut family = "";
    for rule in all() {
        if rule.family != family {
            family = rule.family;
            text.push_str(&format!(
                "\n## {family}\n\n| rule | rounds | why both sides are the same |\n|---|---|---|\n"
            ));
        }
        let rounds = if rule.exact { "alike" } else { "otherwise" };
        text.push_str(&format!("| {} | {rounds} | {} |\n", rule.name, rule.reason));
    }
    expect_test::expect_file!["README.md"].assert_eq(&text);
}

#[test]
fn names_and_reasons_tell_rules_apart() {
    let names: BTreeSet<&str> = all().map(|r| r.name).collect();
    assert_eq!(names.len(), all().count());
    assert!(all().all(|r| !r.reason.is_empty() && !r.family.is_empty()));
}
