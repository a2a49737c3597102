//! The one op table of the model graph.
//!
//! An op is declared once, here: its mnemonic, operands, attributes, regions, number of results and meaning. The enum,
//! the builder, the printer, the parser, the e-graph language and the reference page are made from this table; shape and
//! type rules are in [`super::infer`], meaning in [`crate::interp`], the expansion to kernels in the compiler.

use super::attr::{Attr, AttrValue, CumulateKind, Distribution, Method, PoolKind, Real, ReduceKind, ScatterKind};
use super::{ConnId, ConstId, Graph, GraphBuilder, LineId, OpError, ValueId};
use crate::types::DType;

/// How many values stand at one place of an op's operand list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arity {
    /// Exactly one.
    One,
    /// One or none; only the last operand can be optional.
    Optional,
    /// Any number.
    Many,
}

/// What kind of work an op is; passes and the lowering switch on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Element by element: operands have one common shape, or are scalars that serve every element.
    Elementwise,
    /// Moves or names data without arithmetic.
    Data,
    /// Sums of products in the contract's chain order.
    Contraction,
    /// Combines elements along axes.
    Reduction,
    /// Goes through elements one after another.
    Sequential,
    /// Events through synapses.
    Synaptic,
    /// Has regions.
    Control,
}

/// One row of the op table, for documentation and tools.
#[derive(Clone, Copy, Debug)]
pub struct OpInfo {
    /// Mnemonic in the text format.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// Kind of work.
    pub class: Class,
    /// Operands, in order.
    pub operands: &'static [(&'static str, Arity)],
    /// Attribute names, in order.
    pub attrs: &'static [&'static str],
    /// Region names, in order.
    pub regions: &'static [&'static str],
    /// True if the op can have any number of results.
    pub multi: bool,
}

macro_rules! arity {
    (one) => {
        Arity::One
    };
    (opt) => {
        Arity::Optional
    };
    (many) => {
        Arity::Many
    };
}
macro_rules! operand_type {
    (one) => { ValueId };
    (opt) => { Option<ValueId> };
    (many) => { &[ValueId] };
}
macro_rules! push_operand {
    (one, $args:ident, $x:ident) => {
        $args.push($x)
    };
    (opt, $args:ident, $x:ident) => {
        $args.extend($x)
    };
    (many, $args:ident, $x:ident) => {
        $args.extend_from_slice($x)
    };
}
macro_rules! result_type {
    (one) => { ValueId };
    (many) => { Vec<ValueId> };
}
macro_rules! finish {
    (one, $results:expr) => {
        $results.map(|r| r[0])
    };
    (many, $results:expr) => {
        $results
    };
}
macro_rules! is_multi {
    (one) => {
        false
    };
    (many) => {
        true
    };
}

macro_rules! ops {
    ($(
        $(#[doc = $doc:literal])+
        $class:ident $variant:ident = $name:ident
            ($($arity:ident $operand:ident),*)
            $({ $($attr:ident : $ty:ty),* $(,)? })?
            $([ $($region:ident),* ])?
            -> $results:ident;
    )*) => {
        /// One operation of the model graph with its attributes. Match without a wildcard where a new op must be seen.
        #[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        pub enum Op {
            $( $(#[doc = $doc])+ $variant $({ $(
                #[doc = concat!("The attribute `", stringify!($attr), "`.")]
                $attr: $ty),* })?, )*
        }

        /// The op table, in order.
        pub const TABLE: &[OpInfo] = &[$(
            OpInfo {
                name: stringify!($name),
                doc: concat!($($doc, "\n"),+),
                class: Class::$class,
                operands: &[$((stringify!($operand), arity!($arity))),*],
                attrs: &[$($(stringify!($attr)),*)?],
                regions: &[$($(stringify!($region)),*)?],
                multi: is_multi!($results),
            }
        ),*];

        #[allow(non_camel_case_types, clippy::enum_variant_names)]
        enum Row { $($variant),* }

        impl Op {
            /// This op's row of the table.
            pub fn info(&self) -> &'static OpInfo {
                match self { $( Op::$variant $({ $($attr: _),* })? => &TABLE[Row::$variant as usize], )* }
            }

            /// Attribute names and values, in the order of the table.
            pub fn attrs(&self) -> Vec<(&'static str, AttrValue)> {
                match self { $(
                    Op::$variant $({ $($attr),* })? => vec![$($((stringify!($attr), $attr.to_value())),*)?],
                )* }
            }

            /// The op with this mnemonic and these attributes, each present exactly once.
            ///
            /// # Errors
            /// A sentence that names the op, or the attribute that is missing, unknown or malformed.
            pub fn from_parts(name: &str, attrs: &[(String, AttrValue)]) -> Result<Op, String> {
                $( if name == stringify!($name) {
                    let known: &[&str] = &[$($(stringify!($attr)),*)?];
                    if let Some((k, _)) = attrs.iter().find(|(k, _)| !known.contains(&k.as_str())) {
                        return Err(format!("`{name}` has no attribute `{k}`"));
                    }
                    return Ok(Op::$variant $({ $(
                        $attr: {
                            let key = stringify!($attr);
                            let (_, v) = attrs.iter().find(|(k, _)| k == key)
                                .ok_or_else(|| format!("`{name}` lacks the attribute `{key}`"))?;
                            <$ty as Attr>::from_value(v)
                                .ok_or_else(|| format!("`{key} = {v}` is not what `{name}` takes"))?
                        }
                    ),* })?);
                } )*
                Err(format!("no op is called `{name}`"))
            }
        }

        /// One method for each op of the table; result types are inferred and checked.
        impl GraphBuilder<'_> { $(
            $(#[doc = $doc])+
            ///
            /// # Errors
            /// If the operand types do not fit the op.
            #[allow(clippy::too_many_arguments, clippy::vec_init_then_push)]
            pub fn $name(&mut self, $($operand: operand_type!($arity),)* $($($attr: $ty,)*)? $($($region: Graph,)*)?)
                -> Result<result_type!($results), OpError>
            {
                #[allow(unused_mut)]
                let mut args: Vec<ValueId> = Vec::new();
                $( push_operand!($arity, args, $operand); )*
                let regions: Vec<Graph> = vec![$($($region),*)?];
                finish!($results, self.push(Op::$variant $({ $($attr),* })?, args, regions))
            }
        )* }
    };
}

ops! {
    /// A tensor of the module's constant pool.
    Data Const = constant() { id: ConstId } -> one;
    /// The number of the current tick, a scalar `i64` that starts at 0.
    Data Tick = tick() -> one;
    /// The integers 0, 1, .. `len` - 1 as `i64`.
    Data Iota = iota() { len: u64 } -> one;
    /// The value that the source of a delay line had `ticks` (1 or more) ticks ago; zeros before that.
    Data Delayed = delayed() { line: LineId, ticks: u32 } -> one;
    /// Repeats `x` to `shape`; extents are matched from the right, an extent of 1 (or a missing one) is repeated.
    Data Broadcast = broadcast(one x) { shape: Vec<u64> } -> one;
    /// The same elements in the same order under another shape.
    Data Reshape = reshape(one x) { shape: Vec<u64> } -> one;
    /// Permutes the axes: axis k of the result is axis `perm[k]` of `x`.
    Data Transpose = transpose(one x) { perm: Vec<usize> } -> one;
    /// For each axis the elements `start`, `start + step`, .. below `stop`; steps are at least 1.
    Data Slice = slice(one x) { start: Vec<u64>, stop: Vec<u64>, step: Vec<u64> } -> one;
    /// Joins tensors along `axis`.
    Data Concat = concat(many xs) { axis: usize } -> one;
    /// `x` with `low[a]` elements before axis a, `high[a]` after it and `interior[a]` between any two neighbours along it,
    /// all of them `value`, a scalar.
    Data Pad = pad(one x, one value) { low: Vec<u64>, high: Vec<u64>, interior: Vec<u64> } -> one;
    /// Takes the slices of `x` along `axis` that the integers in `index` (not `u64`) name; an index out of range is
    /// clamped to it.
    Data Gather = gather(one x, one index) { axis: usize } -> one;

    /// Sum; integers wrap.
    Elementwise Add = add(one a, one b) -> one;
    /// Difference; integers wrap.
    Elementwise Sub = sub(one a, one b) -> one;
    /// Product; integers wrap.
    Elementwise Mul = mul(one a, one b) -> one;
    /// Quotient; integers round toward zero and give 0 for a zero divisor.
    Elementwise Div = div(one a, one b) -> one;
    /// Remainder with the sign of the dividend; `a - b * trunc(a / b)` for floats, 0 for a zero integer divisor.
    Elementwise Rem = rem(one a, one b) -> one;
    /// `a` to the power `b`, floats only.
    Elementwise Pow = pow(one a, one b) -> one;
    /// The smaller; NaN if either is NaN.
    Elementwise Min = min(one a, one b) -> one;
    /// The larger; NaN if either is NaN.
    Elementwise Max = max(one a, one b) -> one;
    /// `a * b + c` rounded once, floats only.
    Elementwise Fma = fma(one a, one b, one c) -> one;
    /// Negation.
    Elementwise Neg = neg(one x) -> one;
    /// Absolute value.
    Elementwise Abs = abs(one x) -> one;
    /// Square root, correctly rounded.
    Elementwise Sqrt = sqrt(one x) -> one;
    /// Exponential.
    Elementwise Exp = exp(one x) -> one;
    /// `exp(x) - 1`, accurate near 0.
    Elementwise Expm1 = expm1(one x) -> one;
    /// Natural logarithm.
    Elementwise Log = log(one x) -> one;
    /// `log(1 + x)`, accurate near 0.
    Elementwise Log1p = log1p(one x) -> one;
    /// Hyperbolic tangent.
    Elementwise Tanh = tanh(one x) -> one;
    /// Logistic function 1 / (1 + exp(-x)).
    Elementwise Sigmoid = sigmoid(one x) -> one;
    /// Error function.
    Elementwise Erf = erf(one x) -> one;
    /// Sine, radians.
    Elementwise Sin = sin(one x) -> one;
    /// Cosine, radians.
    Elementwise Cos = cos(one x) -> one;
    /// Tangent, radians.
    Elementwise Tan = tan(one x) -> one;
    /// Inverse sine; NaN beyond 1.
    Elementwise Asin = asin(one x) -> one;
    /// Inverse cosine; NaN beyond 1.
    Elementwise Acos = acos(one x) -> one;
    /// Inverse tangent.
    Elementwise Atan = atan(one x) -> one;
    /// Largest integer not above.
    Elementwise Floor = floor(one x) -> one;
    /// Smallest integer not below.
    Elementwise Ceil = ceil(one x) -> one;
    /// Nearest integer, ties to even.
    Elementwise Round = round(one x) -> one;
    /// Integer part.
    Elementwise Trunc = trunc(one x) -> one;
    /// Equal; false if either is NaN.
    Elementwise Eq = eq(one a, one b) -> one;
    /// Not equal; true if either is NaN.
    Elementwise Ne = ne(one a, one b) -> one;
    /// Less; false if either is NaN.
    Elementwise Lt = lt(one a, one b) -> one;
    /// Less or equal; false if either is NaN.
    Elementwise Le = le(one a, one b) -> one;
    /// Greater; false if either is NaN.
    Elementwise Gt = gt(one a, one b) -> one;
    /// Greater or equal; false if either is NaN.
    Elementwise Ge = ge(one a, one b) -> one;
    /// Conjunction; bitwise on integers.
    Elementwise And = and(one a, one b) -> one;
    /// Disjunction; bitwise on integers.
    Elementwise Or = or(one a, one b) -> one;
    /// Exclusive or; bitwise on integers.
    Elementwise Xor = xor(one a, one b) -> one;
    /// Complement; bitwise on integers.
    Elementwise Not = not(one x) -> one;
    /// Shift left; the amount is taken modulo the width.
    Elementwise Shl = shl(one a, one b) -> one;
    /// Shift right, arithmetic for signed types, logical for unsigned ones; the amount is taken modulo the width.
    Elementwise Shr = shr(one a, one b) -> one;
    /// `a` where `c` is true, else `b`.
    Elementwise Select = select(one c, one a, one b) -> one;
    /// Conversion. Float to float rounds to nearest even; float to integer truncates, saturates, NaN to 0; integer to
    /// integer wraps; anything to `bool` is "not zero"; `bool` to anything is 1 or 0.
    Elementwise Cast = cast(one x) { to: DType } -> one;
    /// The bits of `x` as an element of another type of the same width: of 32 or 64 bits, or of two integers. The bits of a
    /// NaN are not defined.
    Elementwise Bitcast = bitcast(one x) { to: DType } -> one;
    /// A draw keyed by (`stream`, `i`, `j`): Philox 4x32-10, the same wherever and whenever it is evaluated. `i`, `j`: i64.
    Elementwise Random = random(one i, one j) { law: Distribution, stream: u64 } -> one;

    /// `y[.., m] = sum_k w[m, k] x[.., k] + bias[m]`: one chain per output, ascending k, from the bias (or +0), by fused
    /// multiply-add; the stored result is `acc + 0.0`. Types narrower than a register are summed in it and narrowed once.
    Contraction Linear = linear(one x, one w, opt bias) -> one;
    /// `y[.., m, n] = sum_k a[.., m, k] b[.., k, n]` in the chain order of `linear`; leading extents broadcast.
    Contraction Matmul = matmul(one a, one b) -> one;
    /// Cross-correlation of `x[.., cin, s..]` with `w[cout, cin / groups, k..]` to `y[.., cout, p..]`; `w` says how many
    /// spatial axes there are, at least one. `pad` is what the windows may reach beyond each spatial axis, before and after:
    /// `[b0, b1, .., a0, a1, ..]`. Chain order: input channel, then kernel position, row-major; kernel positions that lie
    /// outside the input are not links of the chain.
    Contraction Conv = conv(one x, one w, opt bias)
        { stride: Vec<u64>, pad: Vec<u64>, dilation: Vec<u64>, groups: u64 } -> one;
    /// Windows of `x[.., s..]` over as many of the last axes as `size` has entries; `stride`, `pad` and `dilation` as for
    /// `conv`. Of a window only the elements inside `x` are combined, in row-major order; there may be none.
    Reduction Pool = pool(one x)
        { kind: PoolKind, size: Vec<u64>, stride: Vec<u64>, pad: Vec<u64>, dilation: Vec<u64> } -> one;
    /// Combines the elements along `axes` (all listed axes at once, row-major order); `keep` leaves extents of 1. `max`
    /// and `min` also take `bool`, as "any" and "all".
    Reduction Reduce = reduce(one x) { kind: ReduceKind, axes: Vec<usize>, keep: bool } -> one;
    /// Index (`i64`) of the first largest element along `axis`, with `last` of the last one; a NaN is larger than all.
    Reduction Argmax = argmax(one x) { axis: usize, keep: bool, last: bool } -> one;
    /// Index (`i64`) of the first smallest element along `axis`, with `last` of the last one; a NaN is smaller than all.
    Reduction Argmin = argmin(one x) { axis: usize, keep: bool, last: bool } -> one;

    /// `x` with its elements at `index` (`i64`, row-major positions in `x`) combined with `updates` (of the shape of `index`),
    /// one after another in ascending position of the update, each rounded or wrapped to the element type. An update whose
    /// index is out of range is dropped.
    Sequential Scatter = scatter(one x, one index, one updates) { kind: ScatterKind } -> one;
    /// The sum or product of the elements so far along `axis`, in order, each step rounded or wrapped to the element type;
    /// with `exclusive` without the element itself, with `reverse` from the last element on.
    Sequential Cumulate = cumulate(one x) { kind: CumulateKind, axis: usize, exclusive: bool, reverse: bool } -> one;
    /// The positions (`i64`) along `axis` that put its elements in ascending (or descending) order. Equal elements stay in
    /// the order in which they stand, either way; NaN counts as greater than every number.
    Sequential Argsort = argsort(one x) { axis: usize, descending: bool } -> one;

    /// Delivers events through the synapses of `conn`, one at a time, in the order (source tick, presynaptic index) for
    /// each target. `now` is the source's spikes of this tick (needed for synapses of delay 0), `line` the delay line of
    /// the source (needed for delays of 1 or more). `states` are per-target values (any shape with the target's element
    /// count), `reads` per-target values or scalars. The region `deliver` maps scalars (weight, states.., reads..) to
    /// the new (states..). Results: the new states.
    Synaptic Project = project(many now, many states, many reads)
        { conn: ConnId, line: Option<LineId>, now_count: usize, state_count: usize } [deliver] -> many;
    /// As `project`, for synapses with state of their own. `synapses` are per-synapse values `[nnz]`, row-major by
    /// (pre, post); the last of them is the `i64` tick of the synapse's last event. On arrival, region `pre` maps scalars
    /// (elapsed ticks as i64, synapse values without the last..) to (payload, new synapse values..), then `deliver` runs
    /// with the payload. Results: new states, new synapse values, new last-event ticks.
    Synaptic PlasticPre = plastic_pre(many now, many states, many reads, many synapses)
        { conn: ConnId, line: Option<LineId>, now_count: usize, state_count: usize, synapse_count: usize }
        [pre, deliver] -> many;
    /// Runs region `post` on every synapse of each target that spikes: scalars (elapsed ticks as i64, synapse values
    /// without the last..) to the new synapse values. Targets ascending, then sources ascending. Results as synapses.
    Synaptic PlasticPost = plastic_post(one spikes, many synapses) { conn: ConnId } [post] -> many;

    /// Advances `x' = rhs(x, reads)` by `dt`. Region `rhs` maps (states.., reads..) to the derivatives per unit of `dt`
    /// (ms from `.nd`), element-wise. Removed by the solve pass, which replaces it by plain arithmetic.
    Control Integrate = integrate(many states, many reads)
        { method: Method, dt: Real, substeps: u32, state_count: usize } [rhs] -> many;
    /// Runs `then_body` or `else_body` on `inputs`; both have the same result types.
    Control If = cond(one c, many inputs) [then_body, else_body] -> many;
    /// Runs `body` for each row of the leading axis of `scanned`: (carried.., rows.., captured..) to (carried..,
    /// outputs..). Results: the last carried values, then the outputs stacked on a leading axis. With `reverse` the last row
    /// comes first; a row's output stands at the row's place.
    Control Scan = scan(many carried, many scanned, many captured)
        { carried_count: usize, scanned_count: usize, reverse: bool } [body] -> many;
    /// Runs `body` at most `trips` times while the condition holds: (iteration as i64, carried.., captured..) to
    /// (condition, carried..). Results: the last carried values.
    Control Loop = repeat(one trips, one condition, many carried, many captured) { carried_count: usize } [body] -> many;
}

impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.info().name)?;
        let attrs = self.attrs();
        if !attrs.is_empty() {
            let items: Vec<String> = attrs.iter().map(|(k, v)| format!("{k} = {v}")).collect();
            write!(f, "{{{}}}", items.join(", "))?;
        }
        Ok(())
    }
}
