//! Convolutions and pools.

use crate::support::*;
use nc_ir::Tensor;

fn run(op: &str, inputs: Vec<(&'static str, Tensor)>, attributes: Vec<nc_onnx::proto::AttributeProto>) -> Tensor {
    let names: Vec<&str> = inputs.iter().map(|(n, _)| *n).collect();
    let nodes = vec![node(op, &names, &["y"], attributes)];
    Model::of(inputs, nodes, &["y"]).run().remove(0)
}

#[test]
fn padding_by_name_keeps_as_many_windows_as_strides() {
    // Sums over windows of 3 of 0..5 with stride 2: 3 windows need 2 * 2 + 3 - 5 = 2 of padding, one on each side.
    let x = counting(&[1, 1, 5]);
    let w = f32s(&[1, 1, 3], &[1.0, 1.0, 1.0]);
    let same = |which: &str| {
        run("Conv", vec![("x", x.clone()), ("w", w.clone())], vec![text("auto_pad", which), ints("strides", &[2])])
    };
    assert_eq!(same("SAME_UPPER"), f32s(&[1, 1, 3], &[1.0, 6.0, 7.0]));
    // With 4 elements one of padding is left, in front or behind.
    let x = counting(&[1, 1, 4]);
    let same = |which: &str| {
        run("Conv", vec![("x", x.clone()), ("w", w.clone())], vec![text("auto_pad", which), ints("strides", &[2])])
    };
    assert_eq!(same("SAME_UPPER"), f32s(&[1, 1, 2], &[3.0, 5.0]));
    assert_eq!(same("SAME_LOWER"), f32s(&[1, 1, 2], &[1.0, 6.0]));
}

#[test]
fn a_transposed_convolution_spreads_each_element() {
    // Each x puts x * (1, 2, 3) at twice its place: overlaps add.
    let x = f32s(&[1, 1, 2], &[1.0, 10.0]);
    let w = f32s(&[1, 1, 3], &[1.0, 2.0, 3.0]);
    let y = |attributes| run("ConvTranspose", vec![("x", x.clone()), ("w", w.clone())], attributes);
    assert_eq!(y(vec![ints("strides", &[2])]), f32s(&[1, 1, 5], &[1.0, 2.0, 13.0, 20.0, 30.0]));
    // Padding cuts, output padding extends.
    let cut = vec![ints("strides", &[2]), ints("pads", &[1, 1]), ints("output_padding", &[1])];
    assert_eq!(y(cut), f32s(&[1, 1, 4], &[2.0, 13.0, 20.0, 30.0]));
    let stated = vec![ints("strides", &[2]), ints("output_shape", &[4])];
    assert_eq!(y(stated), f32s(&[1, 1, 4], &[2.0, 13.0, 20.0, 30.0]));
    // More padding than the kernel reaches: nothing but what is left in the middle.
    assert_eq!(y(vec![ints("strides", &[2]), ints("pads", &[3, 0])]), f32s(&[1, 1, 2], &[20.0, 30.0]));
}

#[test]
fn groups_of_a_transposed_convolution_stay_apart() {
    let x = f32s(&[1, 2, 1], &[1.0, 10.0]);
    // Channel 0 makes channels 0 and 1, channel 1 makes 2 and 3.
    let w = f32s(&[2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let y = run("ConvTranspose", vec![("x", x), ("w", w)], vec![int("group", 2)]);
    assert_eq!(y, f32s(&[1, 4, 2], &[1.0, 2.0, 3.0, 4.0, 50.0, 60.0, 70.0, 80.0]));
}

#[test]
fn means_count_what_is_declared_to_count() {
    // Windows of 3, stride 2, one of padding in front, over 1..5: rounding up adds a window that begins at 5.
    let x = f32s(&[1, 1, 5], &[1.0, 2.0, 3.0, 4.0, 5.0]);
    let pool = |count: i64, ceil: i64| {
        let attributes = vec![
            ints("kernel_shape", &[3]),
            ints("strides", &[2]),
            ints("pads", &[1, 0]),
            int("count_include_pad", count),
            int("ceil_mode", ceil),
        ];
        run("AveragePool", vec![("x", x.clone())], attributes)
    };
    assert_eq!(pool(0, 0), f32s(&[1, 1, 2], &[1.5, 3.0]));
    assert_eq!(pool(1, 0), f32s(&[1, 1, 2], &[1.0, 3.0]));
    // The third window reaches beyond the end by one element, which is no declared padding.
    assert_eq!(pool(0, 1), f32s(&[1, 1, 3], &[1.5, 3.0, 4.5]));
    assert_eq!(pool(1, 1), f32s(&[1, 1, 3], &[1.0, 3.0, 4.5]));
}

#[test]
fn places_of_the_largest_are_flat_indices() {
    // Two planes of 3 by 3; windows of 2 by 2: the largest is always the last element.
    let x = counting(&[1, 2, 3, 3]);
    let places = |order: i64| {
        let nodes = vec![node(
            "MaxPool",
            &["x"],
            &["y", "at"],
            vec![ints("kernel_shape", &[2, 2]), int("storage_order", order)],
        )];
        Model::of(vec![("x", x.clone())], nodes, &["y", "at"]).run()
    };
    let row_major = places(0);
    assert_eq!(row_major[0], f32s(&[1, 2, 2, 2], &[4.0, 5.0, 7.0, 8.0, 13.0, 14.0, 16.0, 17.0]));
    assert_eq!(row_major[1], i64s(&[1, 2, 2, 2], &[4, 5, 7, 8, 13, 14, 16, 17]));
    // By columns, element (row, column) of a plane has the number column * 3 + row.
    assert_eq!(places(1)[1], i64s(&[1, 2, 2, 2], &[4, 7, 5, 8, 13, 16, 14, 17]));
}

#[test]
fn mistakes_name_the_node_and_the_numbers() {
    let wrong = |attributes| {
        let nodes = vec![node("Conv", &["x", "w"], &["y"], attributes)];
        Model::of(vec![("x", counting(&[1, 1, 4])), ("w", counting(&[1, 1, 2]))], nodes, &["y"]).refusal()
    };
    assert_eq!(wrong(vec![ints("strides", &[0])]), "node of `y` (Conv): `strides` contains 0, expected 1 or more");
    assert!(wrong(vec![ints("pads", &[1])]).contains("`pads` has 1 numbers for 2 spatial axes"));
    assert!(wrong(vec![text("auto_pad", "SAME")]).contains("`auto_pad` is \"SAME\""));
    assert!(wrong(vec![int("flip", 1)]).contains("the attribute `flip` is not supported"));
    assert!(wrong(vec![ints("kernel_shape", &[3])]).contains("`kernel_shape` is [3]"));
}
