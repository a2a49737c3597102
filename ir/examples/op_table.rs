//! Prints the op table of the model graph as a Markdown page: `cargo run -p nc-ir --example op_table > docs/ops.md`.

use nc_ir::graph::{Arity, Class, OpInfo, TABLE};

fn heading(class: Class) -> (&'static str, &'static str) {
    match class {
        Class::Data => ("Data", "Move or name data without arithmetic."),
        Class::Elementwise => (
            "Element by element",
            "Operands have one common shape, or are scalars that serve every element. Arithmetic on narrow types is done in \
             a register and brought back after each op: integers wrap, halves round to nearest even.",
        ),
        Class::Contraction => (
            "Contractions",
            "Sums of products: one chain per output, ascending input index, by fused multiply-add from the bias (or +0); the \
             stored result is the chain plus +0.",
        ),
        Class::Reduction => (
            "Reductions",
            "Sums and products go to 16 interleaved partial results, then to a fixed tree; extremes are folded in order.",
        ),
        Class::Sequential => ("In order", "One element after another, in an order that is part of the op."),
        Class::Synaptic => ("Synapses", "Events, one at a time, in the order (source tick, presynaptic index)."),
        Class::Control => ("Control", "Ops with regions that take whole tensors."),
    }
}

fn signature(row: &OpInfo) -> String {
    let operands: Vec<String> = row
        .operands
        .iter()
        .map(|(name, arity)| match arity {
            Arity::One => (*name).to_string(),
            Arity::Optional => format!("{name}?"),
            Arity::Many => format!("{name}.."),
        })
        .collect();
    let attrs = if row.attrs.is_empty() { String::new() } else { format!("{{{}}}", row.attrs.join(", ")) };
    let regions: String = row.regions.iter().map(|r| format!(" {r} {{..}}")).collect();
    let results = if row.multi { "results.. = " } else { "" };
    format!("{results}{}{attrs}({}){regions}", row.name, operands.join(", "))
}

fn main() {
    println!("# Ops of the model graph\n");
    println!("Made from the op table by `cargo run -p nc-ir --example op_table`.\n");
    println!(
        "Operands stand in parentheses (`?`: may be left out, `..`: any number), attributes in braces before them, regions \
         after them. Shape and type rules are checked when an op is built and again by the verifier."
    );
    let classes = [
        Class::Data,
        Class::Elementwise,
        Class::Contraction,
        Class::Reduction,
        Class::Sequential,
        Class::Synaptic,
        Class::Control,
    ];
    for class in classes {
        let (title, text) = heading(class);
        println!("\n## {title}\n\n{text}\n");
        println!("| op | meaning |\n|---|---|");
        for row in TABLE.iter().filter(|row| row.class == class) {
            let doc: Vec<&str> = row.doc.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
            println!("| `{}` | {} |", signature(row), doc.join(" ").replace('|', "\\|"));
        }
    }
}
