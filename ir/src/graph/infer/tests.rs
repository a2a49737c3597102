//! What each rule refuses, in its own words.

use crate::graph::{GraphBuilder, LineId, Module, OpError, PoolKind, ReduceKind, ValueId};
use crate::types::{DType, Dim, TensorType};
use expect_test::{Expect, expect};

/// Values: 0 `a`: f32[2, 3], 1 `b`: f32[3], 2 `i`: i64[3], 3 `s`: f32, 4 `c`: bool[3], 5 `n`: f32[n, 3].
fn refused(build: impl FnOnce(&mut GraphBuilder<'_>, [ValueId; 6]) -> Result<ValueId, OpError>, expected: Expect) {
    let mut m = Module::default();
    let f32s = |shape: &[u64]| TensorType::new(DType::F32, shape.iter().copied());
    let named = TensorType { dtype: DType::F32, shape: vec![Dim::Sym("n".into()), Dim::Const(3)] };
    let i = TensorType::new(DType::I64, [3]);
    let c = TensorType::new(DType::Bool, [3]);
    let all = [(f32s(&[2, 3]), "a"), (f32s(&[3]), "b"), (i, "i"), (f32s(&[]), "s"), (c, "c"), (named, "n")];
    let ids = all.map(|(ty, name)| m.graph.add_param(ty, name));
    let e = build(&mut m.builder(), ids).expect_err("does not fit");
    expected.assert_eq(&e.to_string());
    assert_eq!((m.graph.values.len(), m.graph.nodes.len()), (6, 0), "a refused op leaves no trace");
}

#[test]
fn element_wise_operands() {
    refused(
        |g, v| g.add(v[0], v[1]),
        expect![
            "`add`: operand `b` (`b`) has shape [3], but operand `a` (`a`) has shape [2, 3]; only scalars are repeated"
        ],
    );
    refused(|g, v| g.add(v[1], v[2]), expect!["`add`: operand `b` (`i`) is i64, but operand `a` (`b`) is f32"]);
    refused(|g, v| g.exp(v[2]), expect!["`exp`: operand `x` (`i`) is i64, expected a float type"]);
    refused(|g, v| g.shl(v[1], v[1]), expect!["`shl`: operand `a` (`b`) is f32, expected an integer type"]);
    refused(|g, v| g.neg(v[4]), expect!["`neg`: operand `x` (`c`) is bool, expected a float or integer type"]);
    refused(|g, v| g.and(v[1], v[1]), expect!["`and`: operand `a` (`b`) is f32, expected bool or an integer type"]);
    refused(|g, v| g.select(v[1], v[1], v[1]), expect!["`select`: operand `c` (`b`) is f32, expected bool"]);
    refused(
        |g, v| g.add(v[0], v[5]),
        expect![
            "`add`: operand `b` (`n`) has shape [n, 3], but operand `a` (`a`) has shape [2, 3]; only scalars are repeated"
        ],
    );
    refused(|g, v| g.add(v[0], ValueId(9)), expect!["`add`: operand %9 is not a value of this graph"]);
}

#[test]
fn nothing_has_no_extremes() {
    let mut m = Module::default();
    let none = m.graph.add_param(TensorType::new(DType::F32, [2, 0]), "none");
    let e = m.builder().argmin(none, 1, false, false).expect_err("does not fit");
    expect!["`argmin`: axis 1 of operand `x` (`none`) has extent 0: there is no smallest of nothing"]
        .assert_eq(&e.to_string());
    m.builder().argmin(none, 0, false, false).expect("there are no rows to look at");
}

#[test]
fn data_movement() {
    refused(
        |g, v| g.broadcast(v[0], vec![2, 2]),
        expect!["`broadcast`: operand `x` (`a`) has shape [2, 3], which does not repeat to [2, 2]"],
    );
    refused(
        |g, v| g.broadcast(v[3], vec![1 << 40, 1 << 40]),
        expect!["`broadcast`: the result `f32[1099511627776, 1099511627776]` is larger than memory can be addressed"],
    );
    refused(
        |g, v| g.reshape(v[0], vec![5]),
        expect!["`reshape`: operand `x` (`a`) has 6 elements, but shape [5] has 5"],
    );
    refused(
        |g, v| g.reshape(v[5], vec![6]),
        expect!["`reshape`: operand `x` (`n`) has shape [n, 3]; its named extents must be bound first"],
    );
    refused(
        |g, v| g.transpose(v[0], vec![0, 0]),
        expect!["`transpose`: perm [0, 0] is not a permutation of the 2 axes of operand `x` (`a`)"],
    );
    refused(
        |g, v| g.slice(v[1], vec![0], vec![4], vec![1]),
        expect!["`slice`: the range 0..4 along axis 0 does not lie in 0..3 of operand `x` (`b`)"],
    );
    refused(
        |g, v| g.slice(v[1], vec![0], vec![3], vec![0]),
        expect!["`slice`: the step along axis 0 is 0, expected at least 1"],
    );
    refused(
        |g, v| g.pad(v[1], v[3], vec![1], vec![], vec![0]),
        expect!["`pad`: `high` has 0 entries, but operand `x` (`b`) has 1 dimensions"],
    );
    refused(
        |g, v| g.pad(v[1], v[1], vec![1], vec![1], vec![0]),
        expect!["`pad`: operand `value` (`b`) has shape [3], expected a scalar"],
    );
    refused(
        |g, v| g.pad(v[2], v[3], vec![1], vec![1], vec![0]),
        expect!["`pad`: operand `value` (`s`) is f32, expected i64"],
    );
    refused(
        |g, v| g.pad(v[1], v[3], vec![1], vec![u64::MAX], vec![0]),
        expect!["`pad`: the padding of axis 0 is too large"],
    );
    refused(|g, _| g.concat(&[], 0), expect!["`concat`: has no operand, expected at least one"]);
    refused(
        |g, v| g.concat(&[v[0], v[1]], 0),
        expect![
            "`concat`: operand 1 (`b`) has shape [3], which differs from [2, 3] of operand 0 (`a`) elsewhere than on axis 0"
        ],
    );
    refused(
        |g, v| g.gather(v[0], v[1], 0),
        expect!["`gather`: operand `index` (`b`) is f32, expected an integer type"],
    );
    refused(
        |g, v| g.gather(v[0], v[2], 2),
        expect!["`gather`: axis 2 is out of range: operand `x` (`a`) has 2 dimensions"],
    );
    refused(|g, _| g.delayed(LineId(0), 1), expect!["`delayed`: there is no delay line line0"]);
    refused(|g, _| g.constant(crate::graph::ConstId(0)), expect!["`constant`: there is no constant c0"]);
}

#[test]
fn contractions_and_reductions() {
    refused(|g, v| g.linear(v[1], v[1], None), expect!["`linear`: operand `w` (`b`) has 1 dimensions, expected 2"]);
    refused(
        |g, v| g.linear(v[1], v[0], Some(v[1])),
        expect!["`linear`: axis 0 of operand `bias` (`b`) has extent 3, but axis 0 of operand `w` (`a`) has extent 2"],
    );
    refused(
        |g, v| g.matmul(v[0], v[0]),
        expect!["`matmul`: axis 1 of operand `a` (`a`) has extent 3, but axis 0 of operand `b` (`a`) has extent 2"],
    );
    refused(
        |g, v| g.conv(v[0], v[0], None, vec![1], vec![0, 0], vec![1], 1),
        expect!["`conv`: operand `w` (`a`) has 2 dimensions, expected at least 3"],
    );
    refused(
        |g, v| g.pool(v[0], PoolKind::Sum, vec![3], vec![1], vec![0, 0], vec![2]),
        expect!["`pool`: the window covers 5 elements along spatial axis 0, but the padded operand `x` (`a`) has 3"],
    );
    refused(
        |g, v| g.pool(v[0], PoolKind::Sum, vec![2], vec![0], vec![0, 0], vec![1]),
        expect!["`pool`: `stride` contains 0, expected at least 1"],
    );
    refused(
        |g, v| g.pool(v[0], PoolKind::Sum, vec![], vec![], vec![], vec![]),
        expect!["`pool`: `size` has no entries, expected one for each spatial axis"],
    );
    refused(
        |g, v| g.pool(v[1], PoolKind::Max, vec![1, 1], vec![1, 1], vec![0; 4], vec![1, 1]),
        expect!["`pool`: operand `x` (`b`) has 1 dimensions, expected at least 2"],
    );
    refused(
        |g, v| g.pool(v[2], PoolKind::Mean, vec![1], vec![1], vec![0; 2], vec![1]),
        expect!["`pool`: operand `x` (`i`) is i64, expected a float type"],
    );
    refused(|g, v| g.reduce(v[0], ReduceKind::Sum, vec![1, 1], false), expect!["`reduce`: axis 1 is listed twice"]);
    refused(
        |g, v| g.reduce(v[2], ReduceKind::Mean, vec![0], false),
        expect!["`reduce`: operand `x` (`i`) is i64, expected a float type"],
    );
    refused(
        |g, v| g.reduce(v[4], ReduceKind::Sum, vec![0], false),
        expect!["`reduce`: operand `x` (`c`) is bool, expected a float or integer type"],
    );
    refused(
        |g, v| g.argmin(v[4], 0, false, false),
        expect!["`argmin`: operand `x` (`c`) is bool, expected a float or integer type"],
    );
    refused(
        |g, v| g.argmax(v[3], 0, false, false),
        expect!["`argmax`: axis 0 is out of range: operand `x` (`s`) has 0 dimensions"],
    );
}
