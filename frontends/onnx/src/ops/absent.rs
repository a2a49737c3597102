//! Operators of the standard that have no row, and why.

/// Operators that are not supported for one reason.
#[derive(Clone, Copy)]
pub struct Absent {
    /// Their domain; empty for the standard's own, `ai.onnx.ml` for all of that domain.
    pub domain: &'static str,
    /// Their names; none for every operator of the domain.
    pub names: &'static [&'static str],
    /// Why, as a sentence.
    pub why: &'static str,
}

/// The operators without a row.
pub const ABSENT: &[Absent] = &[
    Absent {
        domain: "",
        names: &["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"],
        why: "the standard leaves their random numbers to each implementation, so no result would be the right one",
    },
    Absent {
        domain: "",
        names: &[
            "ConcatFromSequence",
            "SequenceAt",
            "SequenceConstruct",
            "SequenceEmpty",
            "SequenceErase",
            "SequenceInsert",
            "SequenceLength",
            "SequenceMap",
            "SplitToSequence",
        ],
        why: "lists of tensors have lengths and shapes that only a run knows, and nc compiles for known shapes",
    },
    Absent {
        domain: "",
        names: &["Optional", "OptionalGetElement", "OptionalHasElement"],
        why: "values that may be missing are known only when a model runs, and nc compiles for known shapes",
    },
    Absent {
        domain: "",
        names: &["RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"],
        why: "nc has no text: turn it into numbers before the model",
    },
    Absent { domain: "", names: &["ImageDecoder"], why: "pictures are decoded before they come to a model" },
    Absent {
        domain: "",
        names: &["MaxRoiPool"],
        why: "the standard does not say how the bounds of a region are rounded; RoiAlign is supported",
    },
    Absent {
        domain: "ai.onnx.ml",
        names: &[],
        why: "trees, support vectors and tables of classical machine learning are no layers of networks",
    },
    Absent { domain: "ai.onnx.preview.training", names: &[], why: "nc runs models and does not train them" },
];

/// Why an operator of the standard has no row, if it is one.
pub(crate) fn why(domain: &str, name: &str) -> Option<&'static str> {
    let has = |a: &&Absent| a.domain == domain && (a.names.is_empty() || a.names.contains(&name));
    ABSENT.iter().find(has).map(|a| a.why)
}
