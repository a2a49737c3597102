//! Discretisation: the knobs in which simulators differ, and the sets of knobs that they are known by.
//!
//! NIR holds equations in continuous time. What a simulator computes from them in a tick of `dt` seconds is a choice, and
//! every choice is named here. With `k = dt / tau`:
//!
//! - the part of a state that is kept is `1 - k` ([`Decay::Euler`]) or `exp(-k)` ([`Decay::Exp`]);
//! - the part of the input that is taken is `k`, `1 - exp(-k)` or all of it ([`Gain`]), times `r` or `w_in`;
//! - everything else is a field of [`Knobs`].

use nc_ir::Diagnostic;
use nc_ir::diag::nearest;

macro_rules! knob {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $vdoc:literal])+ $variant:ident = $word:literal),* $(,)? }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name { $($(#[doc = $vdoc])+ $variant),* }

        impl $name {
            const WORDS: &'static [(&'static str, $name)] = &[$(($word, $name::$variant)),*];

            /// The word on the command line.
            pub fn word(self) -> &'static str {
                Self::WORDS.iter().find(|w| w.1 == self).map_or("", |w| w.0)
            }
        }

        impl Knob for $name {
            fn read(text: &str) -> Option<$name> {
                Self::WORDS.iter().find(|w| w.0 == text).map(|w| w.1)
            }
            fn values() -> String {
                Self::WORDS.iter().map(|w| w.0).collect::<Vec<_>>().join(", ")
            }
            fn shown(&self) -> String {
                self.word().to_owned()
            }
        }
    };
}

trait Knob: Sized {
    fn read(text: &str) -> Option<Self>;
    fn values() -> String;
    fn shown(&self) -> String;
}

impl Knob for u32 {
    fn read(text: &str) -> Option<u32> {
        text.parse().ok().filter(|n| *n <= 10_000)
    }
    fn values() -> String {
        "whole numbers up to 10000".to_owned()
    }
    fn shown(&self) -> String {
        self.to_string()
    }
}

knob! {
    /// What is kept of a state in a tick.
    Decay {
        /// `1 - dt / tau`.
        Euler = "euler",
        /// `exp(-dt / tau)`.
        Exp = "exp",
    }
}
knob! {
    /// What is taken of an input in a tick; `r` and `w_in` multiply it.
    Gain {
        /// `dt / tau`.
        DtOverTau = "dt/tau",
        /// `1 - exp(-dt / tau)`.
        OneMinusExp = "1-exp",
        /// All of it.
        One = "1",
    }
}
knob! {
    /// The order of floating-point operations that advance a state, which decides ties at the threshold.
    Form {
        /// `v = v + k ((leak - v) + r x)`.
        Increment = "increment",
        /// `v = v + ((leak - v) + r x) / (tau / dt)`.
        Divide = "divide",
        /// `v = keep v + gain x + (1 - keep) leak`; inputs are added one after another.
        Decay = "decay",
    }
}
knob! {
    /// Which of current and membrane is advanced first.
    Order {
        /// The current; the membrane takes its new value.
        SynapseFirst = "synapse-first",
        /// The membrane takes the old current.
        MembraneFirst = "membrane-first",
        /// Both at once: the solution of the two equations for an input that is constant over the tick.
        Joint = "joint",
    }
}
knob! {
    /// What a spike does to the membrane.
    Reset {
        /// It becomes 0.
        Zero = "zero",
        /// It becomes `v_reset`.
        VReset = "v_reset",
        /// The threshold is taken off, in the same tick.
        Subtract = "subtract-now",
        /// The threshold is taken off before the next comparison, as snnTorch does: `q = v > theta` of the stored `v`,
        /// then `v = update - q theta`, `z = v > theta`, `v = v - (z - q) theta`.
        SubtractLate = "subtract-late",
    }
}
knob! {
    /// When there is a spike.
    Compare {
        /// `v > theta`.
        Above = ">",
        /// `v >= theta`.
        AtLeast = ">=",
    }
}
knob! {
    /// How many spikes there can be in a tick.
    Spikes {
        /// One.
        One = "one",
        /// `floor(v / theta)`: outputs are numbers.
        Many = "many",
    }
}
knob! {
    /// The bias of a recurrent connection.
    RecurrentBias {
        /// There in every tick.
        Always = "always",
        /// Not in the first tick, when there was no spike before.
        AfterFirst = "after-first",
        /// Left out.
        Never = "never",
    }
}
knob! {
    /// Where biases of incoming connections go in a neuron with a current.
    Bias {
        /// Into the current, as part of the input.
        Current = "current",
        /// Past it: `w_in bias` is added to the current that the membrane takes, which is what the current would settle at.
        Membrane = "membrane",
    }
}
knob! {
    /// Rounding of the weights of all connections into a neuron.
    Weights {
        /// None.
        Float = "float",
        /// `trunc(w 127 / max)` with the largest magnitude among them; threshold, reset, leak and biases are scaled by
        /// `127 / max` too.
        Trunc8 = "trunc8",
    }
}
knob! {
    /// The numbers that states are computed in.
    Arithmetic {
        /// `f32`.
        Float = "float",
        /// Lava's integers: decays `trunc(4096 k)`, inputs `trunc(256 g x) 64`, thresholds `trunc(256 theta) 64`.
        Lava = "lava",
        /// lava-dl's integers: decays `round(4096 k)`, inputs `trunc(4096 g x)`, thresholds `round(4096 theta)`.
        LavaDl = "lava-dl",
    }
}
knob! {
    /// What an IF neuron integrates.
    If {
        /// `r x` in a tick.
        Step = "step",
        /// `dt r x` in a tick.
        Dt = "dt",
    }
}

/// Bounds of the membrane, before it is compared with the threshold.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Clamp(pub Option<(f32, f32)>);

impl Eq for Clamp {}

impl Knob for Clamp {
    fn read(text: &str) -> Option<Clamp> {
        if text == "none" {
            return Some(Clamp(None));
        }
        let (low, high) = text.split_once(':')?;
        let (low, high): (f32, f32) = (low.parse().ok()?, high.parse().ok()?);
        (low <= high).then_some(Clamp(Some((low, high))))
    }
    fn values() -> String {
        "none, LOW:HIGH".to_owned()
    }
    fn shown(&self) -> String {
        self.0.map_or_else(|| "none".to_owned(), |(low, high)| format!("{low}:{high}"))
    }
}

macro_rules! knobs {
    ($($(#[doc = $doc:literal])+ $field:ident: $ty:ty = $name:literal),* $(,)?) => {
        /// Every choice.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct Knobs { $($(#[doc = $doc])+ pub $field: $ty),* }

        impl Knobs {
            /// Names of all knobs.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// Sets a knob by its words.
            fn set(&mut self, knob: &str, value: &str) -> Result<(), String> {
                match knob {
                    $($name => match <$ty as Knob>::read(value) {
                        Some(v) => self.$field = v,
                        None => return Err(format!("`{knob}` takes {}, not `{value}`", <$ty as Knob>::values())),
                    },)*
                    _ => {
                        let hint = nearest(knob, Self::NAMES.iter().copied());
                        let hint = hint.map_or_else(|| format!("knobs are {}", Self::NAMES.join(", ")), |n| format!("did you mean `{n}`?"));
                        return Err(format!("there is no knob `{knob}`: {hint}"));
                    }
                }
                Ok(())
            }

            /// Names and values, in order.
            pub fn list(&self) -> Vec<(&'static str, String)> {
                vec![$(($name, Knob::shown(&self.$field))),*]
            }

            /// Names, what they stand for, and the values they take.
            fn rows() -> Vec<(&'static str, &'static str, String)> {
                vec![$(($name, concat!($($doc),+), <$ty as Knob>::values())),*]
            }
        }
    };
}

knobs! {
    /// What is kept of a state in a tick.
    decay: Decay = "decay",
    /// What is taken of an input in a tick; `r` and `w_in` multiply it.
    gain: Gain = "gain",
    /// Order of the operations that advance a state.
    form: Form = "form",
    /// Which of current and membrane is advanced first.
    order: Order = "order",
    /// What a spike does to the membrane.
    reset: Reset = "reset",
    /// When there is a spike.
    compare: Compare = "compare",
    /// How many spikes there can be in a tick.
    spikes: Spikes = "spikes",
    /// Ticks by which inputs of the model come late.
    input_delay: u32 = "input_delay",
    /// Ticks that a value takes along an edge that closes a circle; at least 1.
    recurrent_delay: u32 = "recurrent_delay",
    /// The bias of a recurrent connection.
    recurrent_bias: RecurrentBias = "recurrent_bias",
    /// Where biases go in a neuron with a current.
    bias: Bias = "bias",
    /// Bounds of the membrane, before it is compared with the threshold.
    clamp: Clamp = "clamp",
    /// Rounding of weights.
    weights: Weights = "weights",
    /// The numbers that states are computed in.
    arithmetic: Arithmetic = "arithmetic",
    /// What an IF neuron integrates in a tick.
    if_step: If = "if",
}

/// The default, in which every other preset is written.
const EULER: Knobs = Knobs {
    decay: Decay::Euler,
    gain: Gain::DtOverTau,
    form: Form::Increment,
    order: Order::SynapseFirst,
    reset: Reset::VReset,
    compare: Compare::Above,
    spikes: Spikes::One,
    input_delay: 0,
    recurrent_delay: 1,
    recurrent_bias: RecurrentBias::Always,
    bias: Bias::Current,
    clamp: Clamp(None),
    weights: Weights::Float,
    arithmetic: Arithmetic::Float,
    if_step: If::Step,
};

/// Decay by `1 - dt / tau`, inputs added one after another, reset to zero: what trained networks of most libraries do.
const TRAINED: Knobs = Knobs { form: Form::Decay, reset: Reset::Zero, ..EULER };

/// Exponential decay with the gain `dt / tau`, and as many spikes as thresholds fit.
const EXPONENTIAL: Knobs =
    Knobs { decay: Decay::Exp, form: Form::Decay, reset: Reset::Subtract, spikes: Spikes::Many, ..EULER };

/// A set of knobs with a name.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Name on the command line.
    pub name: &'static str,
    /// What is set.
    pub knobs: Knobs,
    /// What is set for CubaLIF and CubaLI, if it is not the same.
    pub current_based: Option<Knobs>,
    /// What `reset=subtract` stands for.
    pub subtract: Reset,
    /// Why these.
    pub reason: &'static str,
}

const fn preset(name: &'static str, knobs: Knobs, reason: &'static str) -> Preset {
    Preset { name, knobs, current_based: None, subtract: Reset::Subtract, reason }
}

/// Every preset.
pub const PRESETS: &[Preset] = &[
    preset("euler", EULER, "Forward Euler of the equations as NIR writes them, with `v_reset` of the file."),
    Preset {
        subtract: Reset::SubtractLate,
        ..preset(
            "snntorch",
            TRAINED,
            "Decays are factors. Its reset by subtraction acts one step late, which plain \
        subtraction does not reproduce.",
        )
    },
    preset(
        "norse",
        Knobs { recurrent_bias: RecurrentBias::AfterFirst, ..TRAINED },
        "Resets to zero, also where a model was trained with subtraction. The recurrent layer is not evaluated before there \
         is a spike to evaluate it on, so its bias is absent in the first tick.",
    ),
    preset(
        "sinabs",
        EXPONENTIAL,
        "Exponential decay; the input is not integrated over the tick. A neuron can spike several \
        times in a tick; each spike takes a threshold off.",
    ),
    preset(
        "spikingjelly",
        Knobs { form: Form::Divide, compare: Compare::AtLeast, ..EULER },
        "The difference to the leak is divided by `tau / dt`; a membrane at the threshold spikes; hard reset to `v_reset`.",
    ),
    preset(
        "lava-float",
        Knobs { input_delay: 1, ..TRAINED },
        "Processes hand their output to the next step: inputs come one tick late.",
    ),
    Preset {
        current_based: Some(Knobs {
            arithmetic: Arithmetic::LavaDl,
            compare: Compare::AtLeast,
            recurrent_bias: RecurrentBias::Never,
            ..TRAINED
        }),
        ..preset(
            "lava-fixed",
            Knobs { input_delay: 1, arithmetic: Arithmetic::Lava, ..TRAINED },
            "The integers of Loihi: decays in units of 1/4096, and a shift that rounds toward zero. Neurons with a current \
             follow lava-dl, which takes inputs in their own tick, and whose recurrent layers have no bias.",
        )
    },
    preset(
        "spinnaker2",
        Knobs { input_delay: 1, weights: Weights::Trunc8, bias: Bias::Membrane, ..TRAINED },
        "Inputs come one tick late. Weights have 8 bits. Biases bypass the synaptic filter, scaled to the current that it \
         would settle at.",
    ),
    preset(
        "spyx",
        Knobs { input_delay: 1, reset: Reset::Subtract, ..TRAINED },
        "Inputs come one tick late; each spike takes the threshold off.",
    ),
    preset(
        "nengo",
        Knobs { decay: Decay::Exp, gain: Gain::OneMinusExp, form: Form::Decay, reset: Reset::Zero, ..EULER },
        "The exact solution for an input that is constant over the tick, for each equation by itself.",
    ),
    preset("rockpool", EXPONENTIAL, "As sinabs."),
    preset(
        "exact",
        Knobs { decay: Decay::Exp, gain: Gain::OneMinusExp, form: Form::Decay, order: Order::Joint, ..EULER },
        "The exact solution for an input that is constant over the tick, current and membrane together.",
    ),
];

/// A preset with knobs turned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Discretisation {
    /// As written, for messages.
    pub text: String,
    /// For most nodes.
    pub knobs: Knobs,
    /// For CubaLIF and CubaLI.
    pub current_based: Knobs,
}

impl Default for Discretisation {
    fn default() -> Discretisation {
        Discretisation { text: "euler".to_owned(), knobs: EULER, current_based: EULER }
    }
}

impl Discretisation {
    /// Reads `PRESET[,knob=value...]`. Knobs without a preset turn those of `euler`.
    ///
    /// # Errors
    /// E0939 for an unknown preset, knob or value, and for knobs that contradict each other.
    pub fn parse(text: &str) -> Result<Discretisation, Diagnostic> {
        let wrong = |what: String| Diagnostic::error_nowhere("E0939", format!("--discretise {text}: {what}"));
        let mut words = text.split(',').map(str::trim).peekable();
        let mut preset = &PRESETS[0];
        if let Some(name) = words.next_if(|w| !w.contains('=')) {
            let names = || PRESETS.iter().map(|p| p.name);
            preset = PRESETS.iter().find(|p| p.name == name).ok_or_else(|| {
                let d = wrong(format!("there is no preset `{name}`"));
                match nearest(name, names()) {
                    Some(n) => d.with_hint(format!("did you mean `{n}`?")),
                    None => d.with_hint(format!("presets are {}", names().collect::<Vec<_>>().join(", "))),
                }
            })?;
        }
        let mut knobs = preset.knobs;
        let mut current_based = preset.current_based.unwrap_or(preset.knobs);
        for word in words {
            let (knob, value) =
                word.split_once('=').ok_or_else(|| wrong(format!("`{word}` is not of the form knob=value")))?;
            let value = match (knob, value) {
                ("reset", "subtract") => preset.subtract.word(),
                // A `>` or `/` may be awkward in a shell.
                ("compare", "gt") => ">",
                ("compare", "ge") => ">=",
                _ => value,
            };
            knobs.set(knob, value).map_err(wrong)?;
            current_based.set(knob, value).map_err(wrong)?;
        }
        for k in [knobs, current_based] {
            let clash = match () {
                () if k.recurrent_delay == 0 => Some("a circle needs a recurrent_delay of at least 1"),
                () if k.spikes == Spikes::Many && k.reset == Reset::SubtractLate => {
                    Some("spikes=many does not go with reset=subtract-late")
                }
                () if k.arithmetic != Arithmetic::Float && (k.spikes == Spikes::Many || k.decay != Decay::Euler) => {
                    Some("integer arithmetic goes with decay=euler and spikes=one")
                }
                () if k.arithmetic != Arithmetic::Float && (k.weights != Weights::Float || k.clamp.0.is_some()) => {
                    Some("integer arithmetic goes with weights=float and clamp=none")
                }
                () if k.arithmetic != Arithmetic::Float && !matches!(k.reset, Reset::Zero | Reset::Subtract) => {
                    Some("integer arithmetic goes with reset=zero and reset=subtract")
                }
                () if k.order == Order::Joint && k.decay != Decay::Exp => Some("order=joint goes with decay=exp"),
                () if k.form == Form::Divide && (k.decay != Decay::Euler || k.gain != Gain::DtOverTau) => {
                    Some("form=divide goes with decay=euler and gain=dt/tau")
                }
                () => None,
            };
            if let Some(why) = clash {
                return Err(wrong(why.to_owned()));
            }
        }
        Ok(Discretisation { text: text.to_owned(), knobs, current_based })
    }
}

/// The table of knobs and the table of presets, as they stand in `docs/nir.md`.
pub fn markdown() -> String {
    let mut out = String::from("| knob | meaning | values |\n|---|---|---|\n");
    for (name, doc, values) in Knobs::rows() {
        let values = values.replace("subtract-now, subtract-late", "subtract, subtract-now, subtract-late");
        out.push_str(&format!("| `{name}` |{doc} | {values} |\n"));
    }
    out.push_str("\n| preset | differs from `euler` in | why |\n|---|---|---|\n");
    for p in PRESETS {
        let mut row = differences(&p.knobs);
        if let Some(k) = &p.current_based {
            row = format!("{row}; for `CubaLIF` and `CubaLI`: {}", differences(k));
        }
        out.push_str(&format!("| `{}` | {row} | {} |\n", p.name, p.reason));
    }
    out
}

fn differences(knobs: &Knobs) -> String {
    let base = EULER.list();
    let changed: Vec<String> =
        knobs.list().into_iter().zip(base).filter(|(a, b)| a != b).map(|((n, v), _)| format!("`{n}={v}`")).collect();
    if changed.is_empty() { "nothing".to_owned() } else { changed.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_with_knobs_is_read() {
        let d = Discretisation::parse("snntorch,reset=subtract, input_delay=2").unwrap();
        assert_eq!((d.knobs.reset, d.knobs.input_delay), (Reset::SubtractLate, 2));
        assert_eq!(Discretisation::parse("spyx,reset=subtract").unwrap().knobs.reset, Reset::Subtract);
        assert_eq!(Discretisation::parse("decay=exp,compare=ge").unwrap().knobs.compare, Compare::AtLeast);
        assert_eq!(Discretisation::parse("clamp=-1:2.5").unwrap().knobs.clamp, Clamp(Some((-1.0, 2.5))));
        let lava = Discretisation::parse("lava-fixed").unwrap();
        assert_eq!((lava.knobs.arithmetic, lava.current_based.arithmetic), (Arithmetic::Lava, Arithmetic::LavaDl));
    }

    #[test]
    fn mistakes_name_the_nearest() {
        let hint = |text: &str| Discretisation::parse(text).unwrap_err().to_string();
        assert!(hint("snntorhc").contains("did you mean `snntorch`"), "{}", hint("snntorhc"));
        assert!(hint("euler,rest=zero").contains("did you mean `reset`"));
        assert!(hint("euler,reset=maybe").contains("subtract-late"));
        assert!(hint("euler,reset").contains("knob=value"));
        for clash in ["recurrent_delay=0", "lava-fixed,spikes=many", "order=joint", "clamp=2:1", "input_delay=99999"] {
            assert!(Discretisation::parse(clash).is_err(), "{clash}");
        }
    }

    #[test]
    fn every_preset_can_be_asked_for() {
        for p in PRESETS {
            assert_eq!(Discretisation::parse(p.name).unwrap().knobs, p.knobs, "{}", p.name);
        }
    }
}
