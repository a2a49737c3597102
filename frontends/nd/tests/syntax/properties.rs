use crate::print;
use nc_ir::Span;
use nc_nd::ast::*;
use nc_nd::{MAX_ERRORS, format, parse};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

const S: Span = Span { start: 0, end: 0, file: 0 };

const WORDS: &[&str] = &[
    "import",
    "const",
    "fn",
    "neuron",
    "synapse",
    "net",
    "param",
    "state",
    "input",
    "output",
    "on",
    "emit",
    "let",
    "next",
    "threshold",
    "reset",
    "refractory",
    "hold",
    "solve",
    "pop",
    "sub",
    "connect",
    "file",
    "probe",
    "every",
    "clock",
    "seed",
    "target",
    "if",
    "then",
    "else",
    "and",
    "or",
    "not",
    "true",
    "false",
    "x",
    "v",
    "mV",
    "µm",
    "1",
    "2.5",
    "1e-3",
    "1_0",
    ".5",
    "\"s\"",
    "\"",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    ".",
    "'",
    "@",
    "=",
    "+=",
    "-=",
    "*=",
    "<-",
    "->",
    "<",
    "<=",
    ">",
    ">=",
    "==",
    "!=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    ";",
    "\n",
    "\n\n",
    "# c\n",
    "## d\n",
    "//",
    "&&",
    "!",
    "$",
    "é",
];

fn survives(src: &str) -> Result<(), TestCaseError> {
    let parsed = parse(src, 0);
    prop_assert!(parsed.diagnostics.len() <= MAX_ERRORS + 1);
    for span in parsed.diagnostics.iter().filter_map(|d| d.span) {
        prop_assert!(src.get(span.start as usize..span.end as usize).is_some(), "{span:?} in {src:?}");
    }
    match format(src) {
        Err(errors) => prop_assert_eq!(errors, parsed.diagnostics),
        Ok(once) => {
            prop_assert!(parsed.diagnostics.is_empty());
            let again = parse(&once, 0);
            prop_assert!(again.diagnostics.is_empty(), "{src:?} became {once:?}: {:#?}", again.diagnostics);
            prop_assert_eq!(&parsed.file, &again.file, "{:?} became {:?}", src, once);
            prop_assert_eq!(src.matches('#').count(), once.matches('#').count());
            prop_assert_eq!(format(&once), Ok(once));
        }
    }
    Ok(())
}

fn ident() -> impl Strategy<Value = Ident> + Clone {
    "[a-zµ_][a-zA-Z0-9_]{0,5}"
        .prop_filter("a keyword", |n| !WORDS[..36].contains(&n.as_str()))
        .prop_map(|n| Ident::new(n, S))
}

fn number() -> impl Strategy<Value = Number> + Clone {
    prop_oneof![
        (0..=i64::MAX).prop_map(Number::Int),
        (0..100i64).prop_map(Number::Int),
        float().prop_map(Number::Float)
    ]
}

fn float() -> impl Strategy<Value = f64> + Clone {
    any::<f64>().prop_map(|f| if f.is_finite() { f.abs() } else { 0.25 })
}

fn e(kind: ExprKind) -> Expr {
    Expr::new(kind, S)
}

fn arg(value: impl Strategy<Value = Expr> + Clone) -> impl Strategy<Value = Arg> + Clone {
    (of(ident()), value).prop_map(|(name, value)| Arg { name, value, span: S })
}

fn expr() -> BoxedStrategy<Expr> {
    let leaf = prop_oneof![
        ident().prop_map(|n| e(ExprKind::Name(n))),
        (0..=i64::MAX).prop_map(|i| e(ExprKind::Int(i))),
        float().prop_map(|f| e(ExprKind::Float(f))),
        (number(), ident()).prop_map(|(value, unit)| e(ExprKind::Quantity { value, unit })),
        "[ -~\\n\\té]{0,6}".prop_map(|s| e(ExprKind::Str(s))),
        any::<bool>().prop_map(|b| e(ExprKind::Bool(b))),
    ];
    leaf.prop_recursive(5, 24, 3, |x| {
        let op = prop::sample::select(vec![
            BinaryOp::Or,
            BinaryOp::And,
            BinaryOp::Lt,
            BinaryOp::Le,
            BinaryOp::Gt,
            BinaryOp::Ge,
            BinaryOp::Eq,
            BinaryOp::Ne,
            BinaryOp::Add,
            BinaryOp::Sub,
            BinaryOp::Mul,
            BinaryOp::Div,
            BinaryOp::Rem,
            BinaryOp::Pow,
        ]);
        let b = || x.clone().prop_map(Box::new);
        let index = prop_oneof![
            x.clone().prop_map(Index::At),
            (x.clone(), x.clone()).prop_map(|(from, to)| Index::Range(from, to)),
        ];
        prop_oneof![
            vec(x.clone(), 0..3).prop_map(|l| e(ExprKind::List(l))),
            (prop::sample::select(vec![UnaryOp::Neg, UnaryOp::Not]), b())
                .prop_map(|(op, expr)| e(ExprKind::Unary { op, expr })),
            (op, b(), b()).prop_map(|(op, lhs, rhs)| e(ExprKind::Binary { op, lhs, rhs })),
            (b(), b(), b()).prop_map(|(cond, then, otherwise)| e(ExprKind::If { cond, then, otherwise })),
            (b(), ident()).prop_map(|(base, name)| e(ExprKind::Field { base, name })),
            (b(), vec(index, 1..3)).prop_map(|(base, indices)| e(ExprKind::Index { base, indices })),
            (b(), vec(arg(x.clone()), 0..3)).prop_map(|(callee, args)| e(ExprKind::Call { callee, args })),
        ]
    })
    .boxed()
}

fn call() -> BoxedStrategy<Call> {
    (ident(), vec(arg(expr()), 0..2)).prop_map(|(name, args)| Call { name, args, span: S }).boxed()
}

fn path() -> BoxedStrategy<Path> {
    vec(ident(), 1..3).prop_map(|parts| Path { parts, span: S }).boxed()
}

fn ty() -> BoxedStrategy<Type> {
    let factor = (any::<bool>(), of(0..100i64), ident(), -3..4i64).prop_map(|(divide, int, name, power)| match int {
        Some(value) => UnitFactor { divide, base: UnitBase::Int(IntLit { value, span: S }), power: 1, span: S },
        None => UnitFactor { divide, base: UnitBase::Name(name), power, span: S },
    });
    (vec(factor, 1..3), vec(expr(), 0..2), vec(call(), 0..2))
        .prop_map(|(mut factors, shape, storage)| {
            factors[0].divide = false;
            Type { unit: Unit { factors, span: S }, shape, storage, span: S }
        })
        .boxed()
}

fn field(with_default: bool) -> BoxedStrategy<Field> {
    let default = of(expr()).prop_map(move |d| d.filter(|_| with_default));
    (ident(), ty(), default).prop_map(|(name, ty, default)| Field { name, ty, default, span: S }).boxed()
}

fn constant() -> BoxedStrategy<Const> {
    (ident(), of(ty()), expr()).prop_map(|(name, ty, value)| Const { name, ty, value }).boxed()
}

fn entries() -> BoxedStrategy<Vec<Entry>> {
    vec((path(), expr()).prop_map(|(path, value)| Entry { path, value, span: S }), 0..3).boxed()
}

fn actions() -> BoxedStrategy<Vec<Action>> {
    let op = prop::sample::select(vec![AssignOp::Set, AssignOp::Add, AssignOp::Sub, AssignOp::Mul]);
    let kind = prop_oneof![
        (path(), op, expr()).prop_map(|(path, op, value)| ActionKind::Assign { path, op, value }),
        (ident(), expr()).prop_map(|(name, value)| ActionKind::Let { name, value }),
        expr().prop_map(ActionKind::Emit),
    ];
    vec(kind.prop_map(|kind| Action { kind, span: S }), 0..3).boxed()
}

fn postfix() -> BoxedStrategy<Expr> {
    expr()
}

fn item() -> BoxedStrategy<Item> {
    let kind = prop_oneof![
        constant().prop_map(ItemKind::Const),
        (ident(), ty(), of(expr())).prop_map(|(name, ty, value)| ItemKind::Param { name, ty, value }),
        (ident(), ty(), expr()).prop_map(|(name, ty, init)| ItemKind::State { name, ty, init }),
        (ident(), ty()).prop_map(|(name, ty)| ItemKind::Input { name, ty }),
        (ident(), of(ty()), expr()).prop_map(|(name, ty, value)| ItemKind::Output { name, ty, value }),
        (vec(ident(), 1..3), expr()).prop_map(|(names, value)| ItemKind::Let { names, value }),
        (ident(), "[a-z. ]{0,8}").prop_map(|(name, value)| ItemKind::File { name, path: StrLit { value, span: S } }),
        (ident(), expr()).prop_map(|(name, value)| ItemKind::Ode { name, value }),
        (ident(), expr()).prop_map(|(name, value)| ItemKind::Next { name, value }),
        (ident(), of(field(false)), actions()).prop_map(|(port, payload, body)| ItemKind::On { port, payload, body }),
        expr().prop_map(ItemKind::Threshold),
        actions().prop_map(ItemKind::Reset),
        (expr(), vec(ident(), 0..3)).prop_map(|(duration, hold)| ItemKind::Refractory { duration, hold }),
        call().prop_map(ItemKind::Solve),
        (ident(), ident(), vec(expr(), 0..3), entries()).prop_map(|(name, model, shape, entries)| ItemKind::Pop {
            name,
            model,
            shape,
            entries
        }),
        (ident(), call(), entries()).prop_map(|(name, net, entries)| ItemKind::Sub { name, net, entries }),
        (of(ident()), postfix(), postfix(), entries()).prop_map(|(name, pre, post, entries)| ItemKind::Connect {
            name,
            pre,
            post,
            entries
        }),
        (path(), expr()).prop_map(|(port, value)| ItemKind::Drive { port, value }),
        (postfix(), of(expr())).prop_map(|(what, every)| ItemKind::Probe { what, every }),
        expr().prop_map(ItemKind::Clock),
        (0..=i64::MAX).prop_map(|value| ItemKind::Seed(IntLit { value, span: S })),
    ];
    (kind, doc()).prop_map(|(kind, doc)| Item { kind, doc, span: S }).boxed()
}

fn doc() -> impl Strategy<Value = Option<String>> {
    of("[a-zé](\n[a-z])?")
}

fn file() -> impl Strategy<Value = File> {
    let body = || (ident(), vec(item(), 0..4)).prop_map(|(name, items)| Body { name, items });
    let kind = prop_oneof![
        "[a-z]{0,5}".prop_map(|value| TopKind::Import(StrLit { value, span: S })),
        constant().prop_map(TopKind::Const),
        (ident(), vec(field(false), 0..3), of(ty()), expr())
            .prop_map(|(name, params, ret, body)| TopKind::Fn(Function { name, params, ret, body })),
        body().prop_map(TopKind::Neuron),
        body().prop_map(TopKind::Synapse),
        (ident(), vec(field(true), 0..3), vec(item(), 0..4)).prop_map(|(name, params, items)| TopKind::Net(Net {
            name,
            params,
            items
        })),
        (ident(), entries()).prop_map(|(name, entries)| TopKind::Target(Target { name, entries })),
    ];
    let top = (kind, doc()).prop_map(|(kind, doc)| Top { kind, doc, span: S });
    vec(top, 0..4).prop_map(|tops| File { tops, span: S })
}

/// Puts line ends, comments and blanks where the layout rule allows them.
fn disturb(src: &str, choices: &[u8]) -> String {
    let parsed = parse(src, 0);
    let mut out = String::new();
    let mut depth = 0;
    let mut end = 0;
    for (at, token) in parsed.tokens.iter().enumerate() {
        out.push_str(&src[end..token.start as usize]);
        end = token.end as usize;
        let text = token.text(src);
        let choice = choices.get(at % choices.len().max(1)).copied().unwrap_or(0);
        let newline = text.starts_with('\n');
        match text {
            "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            _ => {}
        }
        if newline && choice % 4 == 0 {
            out.push_str(["  # c", " #c\n\n\n", "\n  # own", "\n"][usize::from(choice / 4) % 4]);
        }
        out.push_str(text);
        let goes_on = matches!(
            text,
            "," | "+" | "-" | "*" | "/" | "(" | "[" | "and" | "not" | "=" | ":" | "->" | "<-" | "." | "@" | "^" | "if"
        ) || matches!(
            text,
            "const" | "let" | "next" | "output" | "file" | "then" | "else" | "clock" | "==" | "<" | "'"
        );
        if (depth > 0 || goes_on) && !newline && choice % 5 == 0 {
            out.push_str(["\n", "  ", " # c\n", "\n\n# own\n", "\t"][usize::from(choice / 5) % 5]);
        }
        if text == "{" && choice % 3 == 0 {
            out.push_str(["\n", "\n\n", " # c\n"][usize::from(choice / 3) % 3]);
        }
        if text == ";" && choice % 7 == 0 {
            out.push('\n');
        }
    }
    out.push_str(&src[end..]);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..200)) {
        survives(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn any_text_is_survived(text in "\\PC{0,100}") {
        survives(&text)?;
    }

    #[test]
    fn any_words_are_survived(words in vec((prop::sample::select(WORDS), any::<bool>()), 0..80)) {
        let text: String = words.iter().map(|(w, blank)| format!("{w}{}", if *blank { " " } else { "" })).collect();
        survives(&text)?;
    }

    #[test]
    fn trees_are_read_back(tree in file()) {
        let text = print::file(&tree);
        let parsed = parse(&text, 0);
        prop_assert!(parsed.diagnostics.is_empty(), "{text}\n{:#?}", parsed.diagnostics);
        prop_assert_eq!(&parsed.file, &tree, "{}", text);
        survives(&text)?;
    }

    #[test]
    fn formatting_keeps_the_tree_whatever_the_layout(tree in file(), choices in vec(any::<u8>(), 1..40)) {
        let text = print::file(&tree);
        let disturbed = disturb(&text, &choices);
        let parsed = parse(&disturbed, 0);
        prop_assert!(parsed.diagnostics.is_empty(), "{disturbed}\n{:#?}", parsed.diagnostics);
        survives(&disturbed)?;
    }
}
