//! A page for every error that reading a text can give.

/// Code, title and page, in the order of the codes.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        "E0001",
        "a character means nothing here",
        "Outside comments and strings only ASCII and the micro sign `µ` are used. Usual causes are typographic quotes \
         and minus signs that came with copied text: write `\"` and `-`.",
    ),
    (
        "E0002",
        "a string has no closing quote",
        "A string begins and ends with `\"` on the same line. A quote inside is written `\\\"`.",
    ),
    (
        "E0003",
        "unknown escape in a string",
        "A string knows the escapes `\\\\`, `\\\"`, `\\n` and `\\t`. A lone backslash, as in some file paths, is written \
         `\\\\`; paths may also be written with `/`.",
    ),
    (
        "E0004",
        "a number is too large",
        "Whole numbers have 64 bits, numbers with a point or an exponent are double precision. A whole number beyond \
         9223372036854775807 can be written with an exponent: `1e20`.",
    ),
    (
        "E0005",
        "malformed number",
        "A number has digits on both sides of its point, and its digits are not grouped: `0.5`, `5.0`, `1000`.",
    ),
    (
        "E0006",
        "the text is too large",
        "A source file may have 16 MiB and 4194304 words and signs, one item 65536 words and signs. Large tables of \
         numbers belong in a `.npz` or `.safetensors` file that a `file` item names.",
    ),
    (
        "E0007",
        "an expression is too deep",
        "Brackets, prefix operators, powers and `if`s may nest 128 deep, and a chain such as `a + b + c` may have 256 \
         operations. Name parts of the expression with `let`.",
    ),
    (
        "E0008",
        "an operator of another language",
        "Logic is written `and`, `or`, `not`; a power is written `^`; a comment begins with `#`; there are `+=`, `-=` \
         and `*=`, but no `/=`.",
    ),
    (
        "E0009",
        "too many errors",
        "After 100 errors the rest are not shown. Errors after the first may follow from it; repair the first and \
         look again.",
    ),
    (
        "E0101",
        "something is missing or out of place",
        "The text does not go on as the grammar wants it to. The message names what could stand at the marked place. \
         If the mark is at the end of a line, the line stops too early.",
    ),
    (
        "E0102",
        "a keyword is used as a name",
        "Keywords such as `state`, `input`, `next` or `target` cannot be names of states, parameters or settings. \
         Choose another name.",
    ),
    (
        "E0103",
        "a bracket or brace is never closed",
        "Every `(`, `[` and `{` needs its `)`, `]` or `}`. A bracket must be closed before the next item begins, a \
         brace before the next declaration.",
    ),
    (
        "E0104",
        "a bracket or brace closes nothing",
        "A `)`, `]` or `}` has no partner, or the partner is of another kind. If it is a `}`, a block above may have \
         been closed too early.",
    ),
    (
        "E0105",
        "`{` on a line of its own",
        "A newline ends an item, so the `{` of a block stands on the line of what it belongs to: `neuron Lif {`.",
    ),
    (
        "E0106",
        "a line begins with an operator",
        "A newline ends an item. To go on, end the line with the operator, or put the expression in parentheses:\n\n\
         \x20   let x = a +\n\
         \x20     b",
    ),
    (
        "E0107",
        "`=` and `==` are mixed up",
        "`=` gives a value to a name and stands in items, settings and arguments. `==` compares and stands in \
         expressions.",
    ),
];
