//! Images, resizing, signals, and rarer ops.

use crate::support::*;
use nc_ir::Tensor;
use nc_onnx::proto::AttributeProto;

fn run(
    op: &str,
    opset: i64,
    inputs: Vec<(&'static str, Tensor)>,
    known: &[&'static str],
    attributes: Vec<AttributeProto>,
) -> Vec<Tensor> {
    let names: Vec<&str> = inputs.iter().map(|(n, _)| *n).map(|n| n.trim_start_matches('_')).collect();
    let nodes = vec![node(op, &names, &["y"], attributes)];
    let inputs = inputs.into_iter().filter(|(n, _)| !n.is_empty()).collect();
    Model { opset, known: known.to_vec(), ..Model::of(inputs, nodes, &["y"]) }.run()
}

#[test]
fn blocks_go_to_channels_and_back() {
    let x = counting(&[1, 1, 2, 4]);
    let deep = run("SpaceToDepth", 13, vec![("x", x.clone())], &[], vec![int("blocksize", 2)]).remove(0);
    assert_eq!(deep, f32s(&[1, 4, 1, 2], &[0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]));
    assert_eq!(run("DepthToSpace", 13, vec![("x", deep)], &[], vec![int("blocksize", 2)])[0], x);
    // From version 28 on, the other order goes there too: with two channels the orders differ.
    let x = counting(&[1, 2, 2, 2]);
    let crd = || vec![int("blocksize", 2), text("mode", "CRD")];
    let deep = run("SpaceToDepth", 28, vec![("x", x.clone())], &[], crd()).remove(0);
    assert_eq!(deep, counting(&[1, 8, 1, 1]));
    assert_eq!(run("DepthToSpace", 28, vec![("x", deep)], &[], crd())[0], x);
    let m = Model::of(vec![("x", x)], vec![node("SpaceToDepth", &["x"], &["y"], crd())], &["y"]);
    assert!(m.refusal().contains("`mode`"), "{}", m.refusal());
}

/// The oldest form has a scale for each of two axes.
#[test]
fn images_are_repeated_as_version_1_says() {
    let scales = vec![float("height_scale", 2.0), float("width_scale", 1.5)];
    let y = run("Upsample", 6, vec![("x", counting(&[1, 1, 1, 2]))], &[], scales);
    assert_eq!(y[0], f32s(&[1, 1, 2, 3], &[0.0, 0.0, 1.0, 0.0, 0.0, 1.0]));
}

/// Operators that have no row say why.
#[test]
fn what_has_no_row_has_a_reason() {
    for (op, why) in
        [("RandomNormal", "random numbers"), ("SequenceAt", "lists of tensors"), ("StringConcat", "no text")]
    {
        let m = Model::of(vec![("x", counting(&[1]))], vec![node(op, &["x"], &["y"], vec![])], &["y"]);
        match m.import() {
            Err(nc_onnx::Stop::Wrong(d)) => {
                assert!(d.message.contains(&format!("the operator {op} of ai.onnx 22 is not supported")), "{d:?}");
                assert!(d.hint.is_some_and(|h| h.contains(why)), "{op}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn linear_interpolation_between_cells_and_between_corners() {
    // 0, 10 to four elements: centres at -0.25, 0.25, 0.75, 1.25 of the operand, or thirds between the corners.
    let x = f32s(&[2], &[0.0, 10.0]);
    let nodes = |mode: &str| {
        let attributes = vec![text("mode", "linear"), text("coordinate_transformation_mode", mode)];
        vec![node("Resize", &["x", "", "s"], &["y"], attributes)]
    };
    let resize = |mode: &str| {
        let inputs = vec![("x", x.clone()), ("s", f32s(&[1], &[2.0]))];
        Model { known: vec!["s"], ..Model::of(inputs, nodes(mode), &["y"]) }.run().remove(0)
    };
    close(&resize("half_pixel"), &f32s(&[4], &[0.0, 2.5, 7.5, 10.0]));
    close(&resize("align_corners"), &f32s(&[4], &[0.0, 10.0 / 3.0, 20.0 / 3.0, 10.0]));
    close(&resize("asymmetric"), &f32s(&[4], &[0.0, 5.0, 10.0, 10.0]));
}

#[test]
fn samples_between_elements_and_outside() {
    // A row 1, 3 sampled at its middle, at the first element, and beyond the left end.
    let x = f32s(&[1, 1, 1, 2], &[1.0, 3.0]);
    let grid = f32s(&[1, 1, 3, 2], &[0.0, 0.0, -0.5, 0.0, -1.5, 0.0]);
    let sample = |padding: &str| {
        let attributes = vec![text("padding_mode", padding)];
        run("GridSample", 20, vec![("x", x.clone()), ("g", grid.clone())], &[], attributes).remove(0)
    };
    // At -1.5 the position is -1: entirely outside; the border is element 0; reflected about -0.5 it is element 0.
    close(&sample("zeros"), &f32s(&[1, 1, 1, 3], &[2.0, 1.0, 0.0]));
    close(&sample("border"), &f32s(&[1, 1, 1, 3], &[2.0, 1.0, 1.0]));
    close(&sample("reflection"), &f32s(&[1, 1, 1, 3], &[2.0, 1.0, 1.0]));
}

#[test]
fn offsets_move_the_kernel() {
    // A kernel of one element: the convolution gives the image, moved by half a column where the offset says so.
    let x = f32s(&[1, 1, 1, 3], &[0.0, 10.0, 20.0]);
    let offset = f32s(&[1, 2, 1, 3], &[0.0, 0.0, 0.0, 0.0, 0.5, 1.0]);
    let inputs = vec![("x", x), ("w", f32s(&[1, 1, 1, 1], &[2.0])), ("o", offset)];
    // Beyond the last column there are zeros.
    close(&run("DeformConv", 22, inputs, &[], vec![])[0], &f32s(&[1, 1, 1, 3], &[0.0, 30.0, 0.0]));
}

#[test]
fn a_transform_and_its_inverse() {
    // An impulse has a flat spectrum; the inverse brings it back.
    let x = f32s(&[1, 4, 1], &[1.0, 0.0, 0.0, 0.0]);
    let spectrum = run("DFT", 20, vec![("x", x)], &[], vec![]).remove(0);
    close(&spectrum, &f32s(&[1, 4, 2], &[1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]));
    let back = run("DFT", 20, vec![("x", spectrum)], &[], vec![int("inverse", 1)]).remove(0);
    close(&back, &f32s(&[1, 4, 2], &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
}

#[test]
fn boxes_that_overlap_are_left_out() {
    let boxes = f32s(&[1, 3, 4], &[0.0, 0.0, 1.0, 1.0, 0.0, 0.1, 1.0, 1.1, 0.0, 5.0, 1.0, 6.0]);
    let scores = f32s(&[1, 1, 3], &[0.8, 0.9, 0.7]);
    let inputs = vec![("b", boxes), ("s", scores), ("m", i64s(&[1], &[9])), ("t", f32s(&[1], &[0.5]))];
    let y = run("NonMaxSuppression", 11, inputs, &["b", "s", "m", "t"], vec![]).remove(0);
    assert_eq!(y, i64s(&[2, 3], &[0, 0, 1, 0, 0, 2]));
}

#[test]
fn determinants() {
    let x =
        f32s(&[2, 3, 3], &[2.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 4.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    // A diagonal, and a permutation of two rows.
    assert_eq!(run("Det", 22, vec![("x", x)], &[], vec![])[0], f32s(&[2], &[24.0, -1.0]));
}

#[test]
fn sequences_turn_around_within_their_length() {
    let x = f32s(&[3, 2], &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
    let y = run("ReverseSequence", 10, vec![("x", x), ("n", i64s(&[2], &[2, 3]))], &[], vec![]).remove(0);
    assert_eq!(y, f32s(&[3, 2], &[2.0, 30.0, 1.0, 20.0, 3.0, 10.0]));
}

#[test]
fn different_elements_sorted_or_as_they_come() {
    let nodes = |sorted: i64| vec![node("Unique", &["x"], &["y", "i", "v", "n"], vec![int("sorted", sorted)])];
    let unique = |sorted| {
        let inputs = vec![("x", f32s(&[4], &[2.0, 1.0, 1.0, 3.0]))];
        Model { known: vec!["x"], ..Model::of(inputs, nodes(sorted), &["y", "i", "v", "n"]) }.run()
    };
    let by_value = unique(1);
    assert_eq!(by_value[0], f32s(&[3], &[1.0, 2.0, 3.0]));
    assert_eq!((&by_value[1], &by_value[2]), (&i64s(&[3], &[1, 0, 3]), &i64s(&[4], &[1, 0, 0, 2])));
    assert_eq!(by_value[3], i64s(&[3], &[2, 1, 1]));
    assert_eq!(unique(0)[0], f32s(&[3], &[2.0, 1.0, 3.0]));
}

#[test]
fn unpooled_elements_go_where_their_indices_say() {
    // Windows of 2 by 2 make a plane of 4 by 4: index 9 is row 2, column 1.
    let operands = || vec![("x", counting(&[1, 1, 2, 2])), ("at", i64s(&[1, 1, 2, 2], &[0, 3, 9, 15]))];
    let windows = || vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
    let small = run("MaxUnpool", 22, operands(), &[], windows()).remove(0);
    let plane = |n: usize, at: &[(usize, f32)]| {
        let mut data = vec![0.0; n * n];
        at.iter().for_each(|(k, x)| data[*k] = *x);
        f32s(&[1, 1, n, n], &data)
    };
    assert_eq!(small, plane(4, &[(3, 1.0), (9, 2.0), (15, 3.0)]));
    // In a larger plane the same rows and columns.
    let larger = [operands(), vec![("to", i64s(&[4], &[1, 1, 5, 5]))]].concat();
    let large = run("MaxUnpool", 22, larger, &["to"], windows()).remove(0);
    assert_eq!(large, plane(5, &[(3, 1.0), (11, 2.0), (18, 3.0)]));
}
