//! Scan and Loop.

use crate::support::*;
use nc_ir::{DType, Tensor};

fn truth(x: bool) -> Tensor {
    Tensor::from_bytes(DType::Bool, vec![], &[u8::from(x)]).expect("one byte")
}

#[test]
fn a_scan_adds_up_rows_in_either_direction_along_any_axis() {
    // s += row; the output is the sum so far, from the columns of [[1, 2, 4]].
    let adds = body(
        &["s", "row"],
        vec![node("Add", &["s", "row"], &["t"], vec![]), node("Identity", &["t"], &["out"], vec![])],
        &["t", "out"],
    );
    let scan = |direction: i64, out: i64| {
        let attributes = vec![
            int("num_scan_inputs", 1),
            ints("scan_input_axes", &[1]),
            ints("scan_input_directions", &[direction]),
            ints("scan_output_axes", &[1]),
            ints("scan_output_directions", &[out]),
            graph("body", adds.clone()),
        ];
        let nodes = vec![node("Scan", &["s", "x"], &["last", "all"], attributes)];
        let inputs = vec![("s", f32s(&[1], &[0.0])), ("x", f32s(&[1, 3], &[1.0, 2.0, 4.0]))];
        let mut out = Model::of(inputs, nodes, &["last", "all"]).run();
        assert_eq!(out[0], f32s(&[1], &[7.0]));
        out.remove(1)
    };
    assert_eq!(scan(0, 0), f32s(&[1, 3], &[1.0, 3.0, 7.0]));
    assert_eq!(scan(1, 0), f32s(&[1, 3], &[4.0, 6.0, 7.0]));
    assert_eq!(scan(0, 1), f32s(&[1, 3], &[7.0, 3.0, 1.0]));
    assert_eq!(scan(1, 1), f32s(&[1, 3], &[7.0, 6.0, 4.0]));
}

/// A loop whose body doubles a value, shows it with the iteration's number, and goes on while it is below a limit from
/// around the loop.
fn doubling(shows: bool) -> Vec<nc_onnx::proto::NodeProto> {
    let mut nodes = vec![
        node("Add", &["v", "v"], &["w"], vec![]),
        node("Less", &["w", "limit"], &["go"], vec![]),
        node("Identity", &["w"], &["shown"], vec![]),
    ];
    let outputs: &[&str] = if shows { &["go", "w", "shown"] } else { &["go", "w"] };
    if !shows {
        nodes.pop();
    }
    let attribute = vec![graph("body", body(&["i", "c", "v"], nodes, outputs))];
    let results: &[&str] = if shows { &["last", "all"] } else { &["last"] };
    vec![node("Loop", &["m", "go_in", "v0"], results, attribute)]
}

fn inputs(trips: i64, begin: bool) -> Vec<(&'static str, Tensor)> {
    vec![("m", i64s(&[], &[trips])), ("go_in", truth(begin)), ("v0", f32s(&[], &[1.0])), ("limit", f32s(&[], &[10.0]))]
}

#[test]
fn a_loop_ends_by_its_condition_or_its_count() {
    let last = |trips, begin| Model::of(inputs(trips, begin), doubling(false), &["last"]).run().remove(0);
    assert_eq!(last(100, true), f32s(&[], &[16.0]));
    assert_eq!(last(2, true), f32s(&[], &[4.0]));
    assert_eq!(last(100, false), f32s(&[], &[1.0]));
    assert_eq!(last(0, true), f32s(&[], &[1.0]));
}

#[test]
fn stacked_results_need_to_know_how_many_there_are() {
    let model = Model::of(inputs(100, true), doubling(true), &["last", "all"]);
    let why = model.refusal();
    assert!(why.contains("Loop") && why.contains('`'), "{why}");
    let known = Model { known: vec!["m", "go_in", "v0", "limit"], ..model };
    let out = known.run();
    assert_eq!(out[0], f32s(&[], &[16.0]));
    assert_eq!(out[1], f32s(&[4], &[2.0, 4.0, 8.0, 16.0]));
}

#[test]
fn a_counted_loop_with_stacked_results_is_a_scan() {
    let nodes = vec![
        node("Cast", &["i"], &["f"], vec![int("to", 1)]),
        node("Add", &["v", "f"], &["w"], vec![]),
        node("Identity", &["c"], &["go"], vec![]),
        node("Identity", &["w"], &["shown"], vec![]),
    ];
    let attribute = vec![graph("body", body(&["i", "c", "v"], nodes, &["go", "w", "shown"]))];
    let nodes = vec![node("Loop", &["m", "", "v0"], &["last", "all"], attribute)];
    let inputs = vec![("m", i64s(&[], &[4])), ("v0", f32s(&[], &[0.5]))];
    let model = Model { known: vec!["m"], ..Model::of(inputs, nodes, &["last", "all"]) };
    let module = model.import().expect("the loop is counted");
    assert!(module.graph.nodes.iter().any(|n| n.op.info().name == "scan"), "the iterations are written out");
    let out = model.run();
    assert_eq!(out[0], f32s(&[], &[6.5]));
    assert_eq!(out[1], f32s(&[4], &[0.5, 1.5, 3.5, 6.5]));
}

#[test]
fn a_value_that_grows_is_written_out() {
    // v = concat(v, v): 1, 2, 4, 8 elements.
    let nodes =
        vec![node("Concat", &["v", "v"], &["w"], vec![int("axis", 0)]), node("Identity", &["c"], &["go"], vec![])];
    let attribute = vec![graph("body", body(&["i", "c", "v"], nodes, &["go", "w"]))];
    let nodes = vec![node("Loop", &["m", "", "v0"], &["last"], attribute)];
    let inputs = vec![("m", i64s(&[], &[3])), ("v0", f32s(&[1], &[0.5]))];
    let model = Model { known: vec!["m"], ..Model::of(inputs, nodes, &["last"]) };
    assert_eq!(model.run()[0], f32s(&[8], &[0.5; 8]));
}
