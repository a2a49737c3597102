//! Codes of this stage, one page of explanation each.
//!
//! E02xx names, E03xx units and types, E04xx shapes and sizes, E053x and E054x nets and connections; W and N codes are
//! warnings and notes.

/// A name is not declared.
pub const UNKNOWN_NAME: &str = "E0201";
/// Something is given twice.
pub const TWICE: &str = "E0202";
/// A definition needs its own value.
pub const CYCLE: &str = "E0203";
/// An item or function stands in the wrong place.
pub const MISPLACED: &str = "E0204";
/// This is not a value.
pub const NOT_A_VALUE: &str = "E0205";
/// There is no such function.
pub const NOT_A_FUNCTION: &str = "E0206";
/// The arguments do not fit.
pub const ARGUMENTS: &str = "E0207";
/// An unknown key or setting.
pub const UNKNOWN_KEY: &str = "E0208";
/// Only states can be assigned.
pub const NOT_A_STATE: &str = "E0209";
/// A file has no such array.
pub const NO_ARRAY: &str = "E0210";
/// This must be known at compile time.
pub const NOT_CONST: &str = "E0211";
/// This changes while the model runs.
pub const NOT_HERE: &str = "E0212";
/// Units do not match.
pub const UNIT: &str = "E0301";
/// An unknown unit.
pub const UNKNOWN_UNIT: &str = "E0302";
/// Wrong type.
pub const TYPE: &str = "E0303";
/// Arithmetic on constants goes wrong.
pub const ARITHMETIC: &str = "E0304";
/// Storage that is not possible.
pub const STORAGE: &str = "E0305";
/// Shapes do not fit.
pub const SHAPE: &str = "E0401";
/// An index does not fit.
pub const INDEX: &str = "E0402";
/// The model is too large.
pub const TOO_LARGE: &str = "E0403";
/// A number is not finite.
pub const NOT_FINITE: &str = "E0404";
/// An operation does not fit its operands.
pub const OP: &str = "E0405";
/// No net to compile.
pub const NO_NET: &str = "E0530";
/// A parameter of the net has no value.
pub const NO_DIM: &str = "E0531";
/// A param has no value.
pub const NO_VALUE: &str = "E0532";
/// A clock is needed.
pub const NO_CLOCK: &str = "E0533";
/// Clocks differ.
pub const CLOCKS: &str = "E0534";
/// A cycle without delay.
pub const ZERO_DELAY_CYCLE: &str = "E0535";
/// A duration is off the clock's grid.
pub const OFF_GRID: &str = "E0536";
/// A port that does not fit.
pub const PORT: &str = "E0537";
/// Nothing spikes here.
pub const NO_SPIKES: &str = "E0538";
/// A connection without rule.
pub const NO_RULE: &str = "E0539";
/// A rule or model that does not fit.
pub const RULE: &str = "E0540";
/// A weight that does not fit.
pub const WEIGHT: &str = "E0541";
/// A synapse's equation is too general.
pub const NOT_LAZY: &str = "E0542";
/// A synapse that emits nothing, or too much.
pub const NO_EMIT: &str = "E0543";
/// An input that nothing drives.
pub const UNDRIVEN: &str = "W0201";
/// A state that never changes.
pub const STATE_UNUSED: &str = "W0202";
/// Nothing to solve.
pub const SOLVE_UNUSED: &str = "W0203";
/// A seed that is not used.
pub const SEED_UNUSED: &str = "W0204";
/// Events without effect.
pub const NO_EFFECT: &str = "W0205";
/// Delays rounded to whole ticks.
pub const ROUNDED: &str = "N0201";
/// A target block whose settings this build does not read.
pub const NO_TARGET: &str = "N0202";

/// Code, title and page text of every diagnostic of this stage. Codes are stable: none changes its meaning.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        UNKNOWN_NAME,
        "a name is not declared",
        "Names are looked up where they are written: the parameters and states of a neuron, the items of a net, then the `const`s and `fn`s of the file and of the files that it imports. Nothing is taken from the host program. The message offers the nearest name that is known there.",
    ),
    (
        TWICE,
        "something is given twice",
        "A name is declared once in its scope, a state has one equation, a net one clock and one seed, a connection one value for each key. Remove or rename one of the two.",
    ),
    (
        CYCLE,
        "a definition needs its own value",
        "A `const`, `let` or `fn` cannot be defined by itself, directly or through others. Functions are not recursive: they stand for expressions.",
    ),
    (
        MISPLACED,
        "an item or function stands in the wrong place",
        "Equations, `threshold` and `on` belong in a neuron; `pop`, `connect`, `<-`, `probe`, `clock` and `seed` in a net; `emit` in `on pre` of a synapse. Random draws belong in initial values, weights, delays and rules; `noise` in what runs every tick; `delay` and `expscan` in the body of a net.",
    ),
    (
        NOT_A_VALUE,
        "this is not a value",
        "A population, net, file or function is named where a number or tensor is needed. Write which part of it is meant, for example `P.spike`.",
    ),
    (
        NOT_A_FUNCTION,
        "there is no such function",
        "Only the functions of the language and the `fn`s of the file and its imports can be called.",
    ),
    (
        ARGUMENTS,
        "the arguments do not fit",
        "An argument is missing, unknown, given twice, or one too many. The message lists what the function, net or solver takes.",
    ),
    (
        UNKNOWN_KEY,
        "an unknown key or setting",
        "In braces after `pop` and `sub` stand params and states of the neuron or net; in `connect` stand `rule`, `weight`, `delay` and `model`; in `target` stand the settings that the backend understands.",
    ),
    (
        NOT_A_STATE,
        "only states can be assigned",
        "Handlers and `reset` change states. Params are fixed while the model runs; a `let` names a value.",
    ),
    (
        NO_ARRAY,
        "a file has no such array",
        "The name in `f[\"name\"]` is not in the file. The message shows the nearest name or the first names of the file.",
    ),
    (
        NOT_CONST,
        "this must be known at compile time",
        "Extents, indices, axes, delays and time constants are fixed when the model is compiled. They are made of literals, `const`s, parameters of the net and params with a value.",
    ),
    (
        NOT_HERE,
        "this changes while the model runs",
        "Initial values, weights, delays and rules are computed once, when the network is built. They can use params and random draws, but no states and inputs.",
    ),
    (
        UNIT,
        "units do not match",
        "Sums, comparisons and assignments need equal dimensions; a plain number is not a quantity. Write the unit (`0 mV`, not `0`), divide a quantity by its unit to get a number (`v / (1 mV)`), and remember that a derivative is per time: `v' = I / C`.",
    ),
    (
        UNKNOWN_UNIT,
        "an unknown unit",
        "Units are s, A, V, S, ohm, F, Hz, m, M, mol, C, K, W, J, N, Pa, g, L with the usual prefixes. Compound units such as `nS/cm^2` are written in types; a compound quantity is arithmetic: `5 mV / 1 ms`.",
    ),
    (
        TYPE,
        "wrong type",
        "A truth value, a whole number and a real number are different things. Truth values and whole numbers become real numbers where a plain number is needed; nothing becomes a truth value by itself: compare it.",
    ),
    (
        ARITHMETIC,
        "arithmetic on constants goes wrong",
        "Whole numbers must divide exactly and fit in 64 bits; a constant must be a finite number; time constants must be positive.",
    ),
    (
        STORAGE,
        "storage that is not possible",
        "Storage is `@f16`, `@bf16`, `@i8`, `@u8`, `@i16`, `@fix(total, frac)` or `@sparse`, on params and states of real numbers. `axis` and `scale` belong to the integer storages; the integer storage of a state needs one `scale`.",
    ),
    (
        SHAPE,
        "shapes do not fit",
        "Element by element, operands have equal shapes or are scalars. `linear(x, W)` takes W as [out, in]. The message shows both shapes; `flatten` and `reshape` change a shape without moving data.",
    ),
    (
        INDEX,
        "an index does not fit",
        "Indices count from 0; a range `a:b` holds a, a+1, .., b-1. A file is indexed by the name of an array, a population by one range of flat indices.",
    ),
    (
        TOO_LARGE,
        "the model is too large",
        "A tensor, or the model as a whole, is beyond the limits of the compiler. Nothing was allocated. Make populations smaller, or break up definitions that multiply each other.",
    ),
    (
        NOT_FINITE,
        "a number is not finite",
        "An array holds NaN or an infinity, or an initial value or storage leads to one. The message names file, array and index.",
    ),
    (
        OP,
        "an operation does not fit its operands",
        "The model graph refused an operation. The message names the operand. If the message speaks of something that your file does not say, please report it.",
    ),
    (
        NO_NET,
        "no net to compile",
        "The last net of the file that no other net instantiates is compiled; `--net NAME` picks another. A file without a net can only be imported.",
    ),
    (
        NO_DIM,
        "a parameter of the net has no value",
        "A parameter such as `n` in `net Cuba(n: int)` needs a default, a value on the command line (`--dim n=4000`), or an argument where the net is used by `sub`.",
    ),
    (
        NO_VALUE,
        "a param has no value",
        "A `param` needs a default, a value where it is used (`pop P: Lif[10] { beta = 0.9 }`), an array of a file, or a value set by the host.",
    ),
    (
        NO_CLOCK,
        "a clock is needed",
        "Equations and durations need `clock dt` in the net. Without a clock a tick is a frame or a token, and durations are whole numbers of ticks.",
    ),
    (
        CLOCKS,
        "clocks differ",
        "A net inside another runs on the clock of the outermost net. Leave out its clock, or give both the same.",
    ),
    (
        ZERO_DELAY_CYCLE,
        "a cycle without delay",
        "Within a tick values flow along `<-`, operations and connections without delay. A cycle of such edges has no first value. Give one edge a delay of at least one tick, or read a `state`, which holds the value of the tick before.",
    ),
    (
        OFF_GRID,
        "a duration is off the clock's grid",
        "A literal delay, refractory period or probe period is a whole number of ticks, and zero or more. The message gives the two nearest choices. Delays from files and distributions are rounded instead, and the report says by how much.",
    ),
    (
        PORT,
        "a port that does not fit",
        "An event port (`on exc(w: mV)`) is reached by `connect`, an `input` by `<-` or by `connect`, which adds weights to it. The message lists the ports.",
    ),
    (
        NO_SPIKES,
        "nothing spikes here",
        "Connections carry spikes: of a population whose neuron has a `threshold`, or of an input or value of type `spike`.",
    ),
    (
        NO_RULE,
        "a connection without rule",
        "`rule` says which pairs are connected: all, one_to_one, random(p), where(cond), fixed_in(k), fixed_out(k), conv2d(size, stride, pad) or table(t).",
    ),
    (
        RULE,
        "a rule or model that does not fit",
        "The arguments of the rule do not fit the source and target: a probability outside 0..1, more partners than there are, a kernel that gives another shape, a table row out of range.",
    ),
    (
        WEIGHT,
        "a weight that does not fit",
        "A port with a payload needs a `weight`; a port without one, or a connection with a synapse model, takes none. With `conv2d` weights and delays are one number or a kernel [out, in, ky, kx]: sharing is structural.",
    ),
    (
        NOT_LAZY,
        "a synapse's equation is too general",
        "States of synapses are brought up to date when an event needs them. That is possible for `x' = -x / tau`, with a constant term if need be; other dynamics belong in a neuron.",
    ),
    (
        NO_EMIT,
        "a synapse that emits nothing, or too much",
        "`on pre` of a synapse emits exactly one value: what the event carries to the target.",
    ),
    (UNDRIVEN, "an input that nothing drives", "An input without `<-` or `connect` is zero in every tick."),
    (
        STATE_UNUSED,
        "a state that never changes",
        "A state of a net without `next` keeps its initial value. Use `const` or `param` if that is meant.",
    ),
    (SOLVE_UNUSED, "nothing to solve", "`solve` chooses a method for equations `x' = ..`; this neuron has none."),
    (SEED_UNUSED, "a seed that is not used", "The outermost net's seed counts for all random numbers."),
    (NO_EFFECT, "events without effect", "The handler of this port writes no state."),
    (
        ROUNDED,
        "delays rounded to whole ticks",
        "Delays from a file or a distribution are rounded to the nearest tick, ties to even. The note says by how much at most.",
    ),
    (
        NO_TARGET,
        "a target block whose settings are not read",
        "The settings of the block are neither checked nor used in this build.",
    ),
];

#[cfg(test)]
mod tests {
    use super::CODES;

    #[test]
    fn codes_are_unique_and_explained() {
        let mut codes: Vec<&str> = CODES.iter().map(|(c, ..)| *c).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CODES.len());
        assert!(CODES.iter().all(|(_, title, page)| !title.is_empty() && page.len() > 40));
    }
}
