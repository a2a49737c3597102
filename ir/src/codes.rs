//! The error codes of this crate, one page of explanation each.

/// Code, title and page text. Codes are stable: a code is never used for another meaning.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        "E0501",
        "a module is not valid",
        "A model graph breaks one of the numbered constraints that every module satisfies between passes. The message \
         names the constraint, such as G004, and the place. If the module was read from a text file, correct the file; if \
         it came out of a compilation, it is a mistake in nc: please report it with the model.",
    ),
    (
        "E0502",
        "equations without a solver",
        "The model still holds differential equations. The interpreter evaluates discrete updates only: run the solve \
         pass, which replaces each system by the update of the chosen method.",
    ),
    (
        "E0503",
        "a named extent is not bound",
        "A shape still contains a name in place of a number. Give every named extent a value before the model is \
         evaluated or compiled.",
    ),
    (
        "E0504",
        "a model needs more memory than allowed",
        "The values, delay lines and states of the model would take more memory than the limit. Nothing was allocated. \
         Raise the limit, or make populations, delays or weights smaller.",
    ),
    (
        "E0505",
        "an input does not fit",
        "In each tick the model takes one array per input, of the element type and shape that the model declares. The \
         message names the input, what was given and what is expected.",
    ),
    ("E0506", "a state does not fit", "A state is set by its name, with an array of its element type and shape."),
    (
        "E0510",
        "too many synapses",
        "A connect statement would make more synapses than the memory limit allows. Nothing of that size was allocated. \
         Raise the limit, lower the probability, or connect smaller populations.",
    ),
    (
        "E0511",
        "a weight is not a number",
        "A weight of a connect statement is NaN. It would turn every target it reaches into NaN at the first event. Look \
         for a division of zero by zero or a logarithm of a negative number in the weight's expression or data.",
    ),
    (
        "E0512",
        "a delay out of range",
        "A delay is negative, or longer than the bound that the model declares for it. Delays are whole ticks from 0 on.",
    ),
    (
        "E0513",
        "values do not match the synapses",
        "Weights, delays or synapse states that are given one by one must have exactly as many entries as the rule makes \
         synapses, in the order of sources, then targets; those of a kernel must have the kernel's shape.",
    ),
    (
        "E0514",
        "a malformed table of synapses",
        "A table lists one synapse per row by the flat indices of source and target, sorted by source and then by target. \
         Every index must lie in the part of the population that the statement connects.",
    ),
    (
        "E0515",
        "a rule does not fit its populations",
        "one_to_one needs as many sources as targets; fixed_in and fixed_out cannot choose more partners than there are; a \
         probability lies between 0 and 1; conv2d needs populations of exactly the extents that its size, stride and \
         padding give.",
    ),
    (
        "E0516",
        "a region is not one of synapses",
        "The expression of a rule, weight or delay is evaluated for one source i and a row of targets j and must give one \
         value per target.",
    ),
    (
        "E0520",
        "a module text cannot be read",
        "The text form of the model graph is malformed at the place that the message gives as line and column. The form is \
         what `--emit graph` prints.",
    ),
    (
        "E0521",
        "an extent cannot be bound",
        "Extents are bound by name, each to one number. The message says which name is unknown or missing, or which op \
         does not fit with the numbers given.",
    ),
    (
        "E0599",
        "the interpreter met what the verifier rules out",
        "A mistake in nc: please report it together with the model.",
    ),
];

#[cfg(test)]
mod tests {
    #[test]
    fn codes_ascend_and_have_pages() {
        assert!(super::CODES.windows(2).all(|w| w[0].0 < w[1].0));
        assert!(
            super::CODES.iter().all(|(code, title, page)| code.len() == 5 && !title.is_empty() && !page.is_empty())
        );
    }
}
