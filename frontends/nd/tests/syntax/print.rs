//! Writes a tree out as text, with no more parentheses than needed.

use nc_nd::ast::*;

/// The text of a file.
pub fn file(file: &File) -> String {
    let mut out = String::new();
    for top in &file.tops {
        doc(&mut out, &top.doc);
        match &top.kind {
            TopKind::Import(path) => out += &format!("import {}", string(&path.value)),
            TopKind::Const(c) => out += &constant(c),
            TopKind::Fn(f) => {
                let ret = f.ret.as_ref().map_or(String::new(), |t| format!(" -> {}", ty(t)));
                out += &format!("fn {}({}){ret} = {}", f.name.name, fields(&f.params), expr(&f.body, 0));
            }
            TopKind::Neuron(b) => out += &format!("neuron {} {{\n{}}}", b.name.name, items(&b.items)),
            TopKind::Synapse(b) => out += &format!("synapse {} {{\n{}}}", b.name.name, items(&b.items)),
            TopKind::Net(n) => out += &format!("net {}({}) {{\n{}}}", n.name.name, fields(&n.params), items(&n.items)),
            TopKind::Target(t) => out += &format!("target {} {}", t.name.name, entries(&t.entries)),
            TopKind::Error => unreachable!("not generated"),
        }
        out.push('\n');
    }
    out
}

fn doc(out: &mut String, doc: &Option<String>) {
    for line in doc.iter().flat_map(|d| d.lines()) {
        *out += &format!("## {line}\n");
    }
}

fn join<T>(parts: &[T], separator: &str, text: impl Fn(&T) -> String) -> String {
    parts.iter().map(text).collect::<Vec<_>>().join(separator)
}

fn constant(c: &Const) -> String {
    let ty = c.ty.as_ref().map_or(String::new(), |t| format!(": {}", ty(t)));
    format!("const {}{ty} = {}", c.name.name, expr(&c.value, 0))
}

fn fields(fields: &[Field]) -> String {
    join(fields, ", ", |f| {
        let default = f.default.as_ref().map_or(String::new(), |d| format!(" = {}", expr(d, 0)));
        format!("{}: {}{default}", f.name.name, ty(&f.ty))
    })
}

fn entries(entries: &[Entry]) -> String {
    format!("{{ {} }}", join(entries, "; ", |e| format!("{} = {}", e.path.text(), expr(&e.value, 0))))
}

fn actions(actions: &[Action]) -> String {
    let body = join(actions, "\n", |a| match &a.kind {
        ActionKind::Assign { path, op, value } => format!("{} {} {}", path.text(), op.text(), expr(value, 0)),
        ActionKind::Let { name, value } => format!("let {} = {}", name.name, expr(value, 0)),
        ActionKind::Emit(value) => format!("emit {}", expr(value, 0)),
    });
    format!("{{\n{body}\n}}")
}

fn call(c: &Call) -> String {
    format!("{}({})", c.name.name, args(&c.args))
}

fn args(args: &[Arg]) -> String {
    join(args, ", ", |a| {
        let name = a.name.as_ref().map_or(String::new(), |n| format!("{} = ", n.name));
        format!("{name}{}", expr(&a.value, 0))
    })
}

fn items(items: &[Item]) -> String {
    let mut out = String::new();
    for item in items {
        doc(&mut out, &item.doc);
        out += &item_text(&item.kind);
        out.push('\n');
    }
    out
}

fn item_text(kind: &ItemKind) -> String {
    match kind {
        ItemKind::Const(c) => constant(c),
        ItemKind::Param { name, ty: t, value } => {
            let value = value.as_ref().map_or(String::new(), |v| format!(" = {}", expr(v, 0)));
            format!("param {}: {}{value}", name.name, ty(t))
        }
        ItemKind::State { name, ty: t, init } => format!("state {}: {} = {}", name.name, ty(t), expr(init, 0)),
        ItemKind::Input { name, ty: t } => format!("input {}: {}", name.name, ty(t)),
        ItemKind::Output { name, ty: t, value } => {
            let t = t.as_ref().map_or(String::new(), |t| format!(": {}", ty(t)));
            format!("output {}{t} = {}", name.name, expr(value, 0))
        }
        ItemKind::Let { names, value } => format!("let {} = {}", join(names, ", ", |n| n.name.clone()), expr(value, 0)),
        ItemKind::File { name, path } => format!("file {} = {}", name.name, string(&path.value)),
        ItemKind::Ode { name, value } => format!("{}' = {}", name.name, expr(value, 0)),
        ItemKind::Next { name, value } => format!("next {} = {}", name.name, expr(value, 0)),
        ItemKind::On { port, payload, body } => {
            let payload = payload.as_ref().map_or(String::new(), |f| format!("({})", fields(std::slice::from_ref(f))));
            format!("on {}{payload} {}", port.name, actions(body))
        }
        ItemKind::Threshold(e) => format!("threshold {}", expr(e, 0)),
        ItemKind::Reset(body) => format!("reset {}", actions(body)),
        ItemKind::Refractory { duration, hold } => {
            let names = join(hold, ", ", |n| n.name.clone());
            let hold = if hold.is_empty() { String::new() } else { format!(" hold {names}") };
            format!("refractory {}{hold}", expr(duration, 0))
        }
        ItemKind::Solve(c) => format!("solve {}", call(c)),
        ItemKind::Pop { name, model, shape, entries: e } => {
            format!("pop {}: {}[{}] {}", name.name, model.name, join(shape, ", ", |x| expr(x, 0)), entries(e))
        }
        ItemKind::Sub { name, net, entries: e } => format!("sub {}: {} {}", name.name, call(net), entries(e)),
        ItemKind::Connect { name, pre, post, entries: e } => {
            let name = name.as_ref().map_or(String::new(), |n| format!("{}: ", n.name));
            format!("connect {name}{} -> {} {}", expr(pre, 9), expr(post, 9), entries(e))
        }
        ItemKind::Drive { port, value } => format!("{} <- {}", port.text(), expr(value, 0)),
        ItemKind::Probe { what, every } => {
            let every = every.as_ref().map_or(String::new(), |e| format!(" every {}", expr(e, 0)));
            format!("probe {}{every}", expr(what, 9))
        }
        ItemKind::Clock(e) => format!("clock {}", expr(e, 0)),
        ItemKind::Seed(s) => format!("seed {}", s.value),
        ItemKind::Error => unreachable!("not generated"),
    }
}

fn ty(t: &Type) -> String {
    let mut out = String::new();
    for (at, factor) in t.unit.factors.iter().enumerate() {
        if at > 0 {
            out.push(if factor.divide { '/' } else { '*' });
        }
        match &factor.base {
            UnitBase::Name(n) => out += &n.name,
            UnitBase::Int(i) => out += &i.value.to_string(),
        }
        if factor.power != 1 {
            out += &format!("^{}", factor.power);
        }
    }
    if !t.shape.is_empty() {
        out += &format!("[{}]", join(&t.shape, ", ", |e| expr(e, 0)));
    }
    for storage in &t.storage {
        out += &format!(" @{}", call(storage));
    }
    out
}

fn string(s: &str) -> String {
    format!("\"{}\"", s.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\t', "\\t"))
}

fn level(e: &Expr) -> u8 {
    match &e.kind {
        ExprKind::If { .. } => 0,
        ExprKind::Binary { op, .. } => match op {
            BinaryOp::Or => 1,
            BinaryOp::And => 2,
            BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge | BinaryOp::Eq | BinaryOp::Ne => 4,
            BinaryOp::Add | BinaryOp::Sub => 5,
            BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem => 6,
            BinaryOp::Pow => 8,
        },
        ExprKind::Unary { op: UnaryOp::Not, .. } => 3,
        ExprKind::Unary { op: UnaryOp::Neg, .. } => 7,
        ExprKind::Field { .. } | ExprKind::Index { .. } | ExprKind::Call { .. } => 9,
        _ => 10,
    }
}

/// The text of an expression where the grammar wants at least this level.
fn expr(e: &Expr, at_least: u8) -> String {
    let own = level(e);
    let text = match &e.kind {
        ExprKind::Name(n) => n.name.clone(),
        ExprKind::Int(i) => i.to_string(),
        ExprKind::Float(f) => format!("{f:?}"),
        ExprKind::Quantity { value, unit } => match value {
            Number::Int(i) => format!("{i} {}", unit.name),
            Number::Float(f) => format!("{f:?} {}", unit.name),
        },
        ExprKind::Str(s) => string(s),
        ExprKind::Bool(b) => b.to_string(),
        ExprKind::List(l) => format!("[{}]", join(l, ", ", |x| expr(x, 0))),
        ExprKind::Unary { op: UnaryOp::Not, expr: x } => format!("not {}", expr(x, 3)),
        ExprKind::Unary { op: UnaryOp::Neg, expr: x } => format!("-{}", expr(x, 7)),
        ExprKind::Binary { op, lhs, rhs } => {
            let (left, right) = match own {
                4 => (5, 5),
                8 => (9, 7),
                _ => (own, own + 1),
            };
            format!("{} {} {}", expr(lhs, left), op.text(), expr(rhs, right))
        }
        ExprKind::If { cond, then, otherwise } => {
            format!("if {} then {} else {}", expr(cond, 0), expr(then, 0), expr(otherwise, 0))
        }
        ExprKind::Field { base, name } => match base.kind {
            ExprKind::Int(i) => format!("({i}).{}", name.name),
            _ => format!("{}.{}", expr(base, 9), name.name),
        },
        ExprKind::Index { base, indices } => {
            let indices = join(indices, ", ", |i| match i {
                Index::At(e) => expr(e, 0),
                Index::Range(from, to) => format!("{}:{}", expr(from, 0), expr(to, 0)),
            });
            format!("{}[{indices}]", expr(base, 9))
        }
        ExprKind::Call { callee, args: a } => format!("{}({})", expr(callee, 9), args(a)),
        ExprKind::Error => unreachable!("not generated"),
    };
    if own < at_least { format!("({text})") } else { text }
}
