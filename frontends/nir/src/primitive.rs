//! The primitives of NIR in one table: reading, checking, writing and the page in `docs/nir.md` all follow it.

/// What a parameter holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holds {
    /// Real numbers.
    Reals,
    /// Whole numbers.
    Ints,
    /// Whole numbers, or the text `same` or `valid`.
    Padding,
}

/// One parameter of a primitive.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Name in the file.
    pub name: &'static str,
    /// What it holds.
    pub holds: Holds,
    /// False if older files do without it.
    pub required: bool,
}

const fn reals(name: &'static str) -> Param {
    Param { name, holds: Holds::Reals, required: true }
}

const fn ints(name: &'static str) -> Param {
    Param { name, holds: Holds::Ints, required: true }
}

const fn optional(p: Param) -> Param {
    Param { required: false, ..p }
}

/// The primitives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Kind {
    Affine,
    AvgPool2d,
    Conv1d,
    Conv2d,
    CubaLI,
    CubaLIF,
    Delay,
    Flatten,
    I,
    IF,
    Input,
    LI,
    LIF,
    Linear,
    NIRGraph,
    Output,
    Scale,
    SumPool2d,
    Threshold,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Primitive {
    /// Which one.
    pub kind: Kind,
    /// Name in the file, under `type`.
    pub name: &'static str,
    /// Its parameters.
    pub params: &'static [Param],
    /// What it computes in a tick. Neurons: the equation that a preset discretises.
    pub meaning: &'static str,
    /// What is refused, and why.
    pub refused: &'static str,
}

const PADDING: Param = Param { name: "padding", holds: Holds::Padding, required: true };
const V_RESET: Param = optional(reals("v_reset"));
const SHAPES: &str =
    "parameters that are neither one number, nor of the shape of the input, nor one number per channel";
const CONV: &str = "strides or dilations of 0, a kernel that is larger than its padded input, `same` with a stride";

/// Every primitive.
pub const TABLE: &[Primitive] = &[
    Primitive {
        kind: Kind::Affine,
        name: "Affine",
        params: &[reals("weight"), reals("bias")],
        meaning: "`y = W x + b` over the last axis of `x`; leading axes of `W` are a batch of matrices",
        refused: "weights of fewer than two axes",
    },
    Primitive {
        kind: Kind::AvgPool2d,
        name: "AvgPool2d",
        params: &[ints("kernel_size"), ints("stride"), ints("padding")],
        meaning: "mean of windows, zeros of the padding counted",
        refused: CONV,
    },
    Primitive {
        kind: Kind::Conv1d,
        name: "Conv1d",
        params: &[
            optional(ints("input_shape")),
            reals("weight"),
            ints("stride"),
            PADDING,
            ints("dilation"),
            ints("groups"),
            optional(reals("bias")),
        ],
        meaning: "cross-correlation over one axis",
        refused: CONV,
    },
    Primitive {
        kind: Kind::Conv2d,
        name: "Conv2d",
        params: &[
            optional(ints("input_shape")),
            reals("weight"),
            ints("stride"),
            PADDING,
            ints("dilation"),
            ints("groups"),
            optional(reals("bias")),
        ],
        meaning: "cross-correlation over two axes",
        refused: CONV,
    },
    Primitive {
        kind: Kind::CubaLI,
        name: "CubaLI",
        params: &[reals("tau_mem"), reals("tau_syn"), reals("r"), reals("v_leak"), optional(reals("w_in"))],
        meaning: "`tau_syn i' = w_in x - i`, `tau_mem v' = v_leak - v + r i`; gives `v`",
        refused: SHAPES,
    },
    Primitive {
        kind: Kind::CubaLIF,
        name: "CubaLIF",
        params: &[
            reals("tau_mem"),
            reals("tau_syn"),
            reals("r"),
            reals("v_leak"),
            V_RESET,
            reals("v_threshold"),
            optional(reals("w_in")),
        ],
        meaning: "`tau_syn i' = w_in x - i`, `tau_mem v' = v_leak - v + r i`; a spike when `v > v_threshold`",
        refused: SHAPES,
    },
    Primitive {
        kind: Kind::Delay,
        name: "Delay",
        params: &[reals("delay")],
        meaning: "`y(t) = x(t - delay)`, rounded to whole ticks (ties to even), zeros at first",
        refused: "negative delays, more than 1,000,000 ticks, more than 4096 different delays in a node",
    },
    Primitive {
        kind: Kind::Flatten,
        name: "Flatten",
        params: &[optional(ints("input_type")), ints("start_dim"), ints("end_dim")],
        meaning: "axes `start_dim` to `end_dim` become one",
        refused: "axes that the input does not have",
    },
    Primitive { kind: Kind::I, name: "I", params: &[reals("r")], meaning: "`v' = r x`; gives `v`", refused: SHAPES },
    Primitive {
        kind: Kind::IF,
        name: "IF",
        params: &[reals("r"), V_RESET, reals("v_threshold")],
        meaning: "`v` grows by `r x` in each tick (with `if=dt`: by `dt r x`); a spike when `v > v_threshold`",
        refused: SHAPES,
    },
    Primitive {
        kind: Kind::Input,
        name: "Input",
        params: &[ints("shape")],
        meaning: "an input array of this name",
        refused: "",
    },
    Primitive {
        kind: Kind::LI,
        name: "LI",
        params: &[reals("tau"), reals("r"), reals("v_leak")],
        meaning: "`tau v' = v_leak - v + r x`; gives `v`",
        refused: SHAPES,
    },
    Primitive {
        kind: Kind::LIF,
        name: "LIF",
        params: &[reals("tau"), reals("r"), reals("v_leak"), V_RESET, reals("v_threshold")],
        meaning: "`tau v' = v_leak - v + r x`; a spike when `v > v_threshold`",
        refused: SHAPES,
    },
    Primitive {
        kind: Kind::Linear,
        name: "Linear",
        params: &[reals("weight")],
        meaning: "`y = W x` over the last axis of `x`; leading axes of `W` are a batch of matrices",
        refused: "weights of fewer than two axes",
    },
    Primitive {
        kind: Kind::NIRGraph,
        name: "NIRGraph",
        params: &[],
        meaning: "a graph as a node of another; its nodes are named `OUTER.INNER`",
        refused: "edges to a graph of several inputs, or from one of several outputs: they do not say which is meant",
    },
    Primitive {
        kind: Kind::Output,
        name: "Output",
        params: &[ints("shape")],
        meaning: "an output array of this name",
        refused: "",
    },
    Primitive {
        kind: Kind::Scale,
        name: "Scale",
        params: &[reals("scale")],
        meaning: "`y = s x`, element by element",
        refused: SHAPES,
    },
    Primitive {
        kind: Kind::SumPool2d,
        name: "SumPool2d",
        params: &[ints("kernel_size"), ints("stride"), ints("padding")],
        meaning: "sum of windows",
        refused: CONV,
    },
    Primitive {
        kind: Kind::Threshold,
        name: "Threshold",
        params: &[reals("threshold")],
        meaning: "a spike where `x > threshold`",
        refused: SHAPES,
    },
];

impl Kind {
    /// This primitive's row.
    pub fn row(self) -> &'static Primitive {
        // The table has a row for each kind, in the order of the enum: a test counts them.
        &TABLE[self as usize]
    }

    /// The primitive with this name.
    pub fn from_name(name: &str) -> Option<Kind> {
        TABLE.iter().find(|p| p.name == name).map(|p| p.kind)
    }

    /// True for nodes with state that a discretisation advances.
    pub fn is_neuron(self) -> bool {
        matches!(self, Kind::LIF | Kind::CubaLIF | Kind::IF | Kind::LI | Kind::CubaLI | Kind::I)
    }

    /// True for neurons that give spikes.
    pub fn fires(self) -> bool {
        matches!(self, Kind::LIF | Kind::CubaLIF | Kind::IF)
    }

    /// True for neurons with a current of their own.
    pub fn has_current(self) -> bool {
        matches!(self, Kind::CubaLIF | Kind::CubaLI)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.row().name)
    }
}

/// The table as it stands in `docs/nir.md`.
pub fn markdown() -> String {
    let mut out = String::from("| primitive | parameters | meaning | refused |\n|---|---|---|---|\n");
    for p in TABLE {
        let params: Vec<String> =
            p.params.iter().map(|q| format!("`{}`{}", q.name, if q.required { "" } else { "?" })).collect();
        out.push_str(&format!("| `{}` | {} | {} | {} |\n", p.name, params.join(", "), p.meaning, p.refused));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_enum() {
        for (k, p) in TABLE.iter().enumerate() {
            assert_eq!(p.kind as usize, k, "{}", p.name);
            assert_eq!(format!("{:?}", p.kind), p.name);
        }
        assert_eq!(TABLE.len(), Kind::Threshold as usize + 1);
    }
}
