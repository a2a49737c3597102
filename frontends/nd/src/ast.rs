//! The tree that the parser builds.
//!
//! Every node carries the [`Span`] it was written at. Equality of nodes compares what they mean and ignores spans, so
//! that a file and its formatted text have equal trees; documentation comments do count.
//!
//! The tree is permissive: all three kinds of body share [`ItemKind`], and whether an item belongs where it stands is
//! checked later. Its depth is bounded (see [`crate::parse::MAX_DEPTH`]), so recursion over it is safe.

use nc_ir::Span;

/// Implements equality over the named fields only, so that spans do not take part.
macro_rules! equal_by {
    ($name:ident: $($field:ident),+) => {
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                $(self.$field == other.$field)&&+
            }
        }
    };
}

/// A name as written. The two code points for the micro sign are folded into one (U+00B5).
#[derive(Clone, Debug, Eq)]
pub struct Ident {
    /// The name.
    pub name: String,
    /// Where it stands.
    pub span: Span,
}
equal_by!(Ident: name);

impl Ident {
    /// A name at a place.
    pub fn new(name: impl Into<String>, span: Span) -> Ident {
        Ident { name: name.into(), span }
    }
}

/// A string literal, with its escapes resolved.
#[derive(Clone, Debug)]
pub struct StrLit {
    /// The text between the quotes.
    pub value: String,
    /// The literal with its quotes.
    pub span: Span,
}
equal_by!(StrLit: value);

/// A whole number literal.
#[derive(Clone, Debug)]
pub struct IntLit {
    /// Its value, never negative.
    pub value: i64,
    /// Where it stands.
    pub span: Span,
}
equal_by!(IntLit: value);

/// One source file.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// Declarations in the order written.
    pub tops: Vec<Top>,
    /// The whole text.
    pub span: Span,
}
equal_by!(File: tops);

/// A declaration at the top of a file.
#[derive(Clone, Debug)]
pub struct Top {
    /// What is declared.
    pub kind: TopKind,
    /// The `##` comment before it or at the end of its line, without the marks.
    pub doc: Option<String>,
    /// The whole declaration.
    pub span: Span,
}
equal_by!(Top: kind, doc);

/// Kinds of declaration.
#[derive(Clone, Debug, PartialEq)]
pub enum TopKind {
    /// `import "file.nd"`
    Import(StrLit),
    /// `const n: int = 3`
    Const(Const),
    /// `fn f(x: real) -> real = x * x`
    Fn(Function),
    /// `neuron N { .. }`
    Neuron(Body),
    /// `synapse S { .. }`
    Synapse(Body),
    /// `net N(n: int = 10) { .. }`
    Net(Net),
    /// `target t { .. }`
    Target(Target),
    /// Text that could not be read; a diagnostic says why.
    Error,
}

/// `const NAME [: type] = value`, at the top or in a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Const {
    /// Name.
    pub name: Ident,
    /// Declared type, if given.
    pub ty: Option<Type>,
    /// Value.
    pub value: Expr,
}

/// `fn NAME(params) [-> type] = body`
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Name.
    pub name: Ident,
    /// Parameters; none has a default.
    pub params: Vec<Field>,
    /// Declared result type, if given.
    pub ret: Option<Type>,
    /// The expression it stands for.
    pub body: Expr,
}

/// A neuron or a synapse.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// Name.
    pub name: Ident,
    /// Items in the order written.
    pub items: Vec<Item>,
}

/// `net NAME [(params)] { items }`
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    /// Name.
    pub name: Ident,
    /// Parameters; each may have a default.
    pub params: Vec<Field>,
    /// Items in the order written.
    pub items: Vec<Item>,
}

/// `target NAME { entries }`
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Name of the backend.
    pub name: Ident,
    /// Settings in the order written.
    pub entries: Vec<Entry>,
}

/// `NAME: type [= default]`
#[derive(Clone, Debug)]
pub struct Field {
    /// Name.
    pub name: Ident,
    /// Type.
    pub ty: Type,
    /// Default; only parameters of a net have one.
    pub default: Option<Expr>,
    /// The whole field.
    pub span: Span,
}
equal_by!(Field: name, ty, default);

/// An item of a body.
#[derive(Clone, Debug)]
pub struct Item {
    /// What it says.
    pub kind: ItemKind,
    /// The `##` comment before it or at the end of its line, without the marks.
    pub doc: Option<String>,
    /// The whole item.
    pub span: Span,
}
equal_by!(Item: kind, doc);

/// Kinds of item; one set for neurons, synapses and nets.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemKind {
    /// `const n = 3`
    Const(Const),
    /// `param NAME: type [= value]`
    Param {
        /// Name.
        name: Ident,
        /// Type.
        ty: Type,
        /// Default.
        value: Option<Expr>,
    },
    /// `state NAME: type = value`
    State {
        /// Name.
        name: Ident,
        /// Type.
        ty: Type,
        /// Value before the first tick.
        init: Expr,
    },
    /// `input NAME: type`
    Input {
        /// Name.
        name: Ident,
        /// Type.
        ty: Type,
    },
    /// `output NAME [: type] = value`
    Output {
        /// Name.
        name: Ident,
        /// Declared type, if given.
        ty: Option<Type>,
        /// Value.
        value: Expr,
    },
    /// `let a, b = value`
    Let {
        /// One or more names.
        names: Vec<Ident>,
        /// Value.
        value: Expr,
    },
    /// `file NAME = "path"`
    File {
        /// Name.
        name: Ident,
        /// Path as written.
        path: StrLit,
    },
    /// `NAME' = value`
    Ode {
        /// The state.
        name: Ident,
        /// Its time derivative.
        value: Expr,
    },
    /// `next NAME = value`
    Next {
        /// The state.
        name: Ident,
        /// Its value in the next tick.
        value: Expr,
    },
    /// `on PORT [(w: unit)] { actions }`
    On {
        /// The port, or `pre` / `post` in a synapse.
        port: Ident,
        /// The payload, if the port has one.
        payload: Option<Field>,
        /// What an arrival does.
        body: Vec<Action>,
    },
    /// `threshold condition`
    Threshold(Expr),
    /// `reset { actions }`
    Reset(Vec<Action>),
    /// `refractory duration [hold a, b]`
    Refractory {
        /// Duration.
        duration: Expr,
        /// States that receive no writes meanwhile; may be empty.
        hold: Vec<Ident>,
    },
    /// `solve method`
    Solve(Call),
    /// `pop NAME: Model[shape] [{ entries }]`
    Pop {
        /// Name.
        name: Ident,
        /// The neuron.
        model: Ident,
        /// Shape.
        shape: Vec<Expr>,
        /// Parameters and initial values.
        entries: Vec<Entry>,
    },
    /// `sub NAME: Net(args) [{ entries }]`
    Sub {
        /// Name.
        name: Ident,
        /// The net and its parameters.
        net: Call,
        /// Values of its `param`s.
        entries: Vec<Entry>,
    },
    /// `connect [NAME:] pre -> post { entries }`
    Connect {
        /// Name, if the connection is referred to elsewhere.
        name: Option<Ident>,
        /// Source.
        pre: Expr,
        /// Destination port.
        post: Expr,
        /// `rule`, `weight`, `delay`, `model`.
        entries: Vec<Entry>,
    },
    /// `path <- value`
    Drive {
        /// The port.
        port: Path,
        /// What is added to it this tick.
        value: Expr,
    },
    /// `probe what [every period]`
    Probe {
        /// What is recorded.
        what: Expr,
        /// How often; every tick if absent.
        every: Option<Expr>,
    },
    /// `clock dt`
    Clock(Expr),
    /// `seed 42`
    Seed(IntLit),
    /// Text that could not be read; a diagnostic says why.
    Error,
}

/// A statement of a handler or a `reset`. Statements that could not be read are left out of the tree.
#[derive(Clone, Debug)]
pub struct Action {
    /// What it does.
    pub kind: ActionKind,
    /// The whole statement.
    pub span: Span,
}
equal_by!(Action: kind);

/// Kinds of statement.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionKind {
    /// `path = value` and its relatives.
    Assign {
        /// What is written.
        path: Path,
        /// How.
        op: AssignOp,
        /// With what.
        value: Expr,
    },
    /// `let NAME = value`
    Let {
        /// Name.
        name: Ident,
        /// Value.
        value: Expr,
    },
    /// `emit value`
    Emit(Expr),
}

/// How a statement writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AssignOp {
    /// `=`
    Set,
    /// `+=`
    Add,
    /// `-=`
    Sub,
    /// `*=`
    Mul,
}

impl AssignOp {
    /// As written.
    pub fn text(self) -> &'static str {
        match self {
            AssignOp::Set => "=",
            AssignOp::Add => "+=",
            AssignOp::Sub => "-=",
            AssignOp::Mul => "*=",
        }
    }
}

/// `path = value` in braces. Entries that could not be read are left out of the tree.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub path: Path,
    /// The value.
    pub value: Expr,
    /// The whole entry.
    pub span: Span,
}
equal_by!(Entry: path, value);

/// `a.b.c`, never empty.
#[derive(Clone, Debug)]
pub struct Path {
    /// The names between the dots.
    pub parts: Vec<Ident>,
    /// The whole path.
    pub span: Span,
}
equal_by!(Path: parts);

impl Path {
    /// The names joined by dots.
    pub fn text(&self) -> String {
        self.parts.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(".")
    }
}

/// `NAME [(args)]`; without arguments the parentheses do not matter.
#[derive(Clone, Debug)]
pub struct Call {
    /// What is called.
    pub name: Ident,
    /// With what.
    pub args: Vec<Arg>,
    /// The whole call.
    pub span: Span,
}
equal_by!(Call: name, args);

/// An argument, by position or by name.
#[derive(Clone, Debug)]
pub struct Arg {
    /// Name, if passed by name.
    pub name: Option<Ident>,
    /// Value.
    pub value: Expr,
    /// The whole argument.
    pub span: Span,
}
equal_by!(Arg: name, value);

/// `unit[shape] @storage`
#[derive(Clone, Debug)]
pub struct Type {
    /// Unit, or one of the names `real`, `int`, `bool`, `spike`.
    pub unit: Unit,
    /// Shape; empty for a scalar.
    pub shape: Vec<Expr>,
    /// Storage, in the order written.
    pub storage: Vec<Call>,
    /// The whole type.
    pub span: Span,
}
equal_by!(Type: unit, shape, storage);

/// A product of powers, never empty.
#[derive(Clone, Debug)]
pub struct Unit {
    /// The factors in the order written; the first is never divided by.
    pub factors: Vec<UnitFactor>,
    /// The whole unit.
    pub span: Span,
}
equal_by!(Unit: factors);

impl Unit {
    /// The name, if the unit is one bare name such as `real` or `mV`.
    pub fn simple(&self) -> Option<&Ident> {
        match self.factors.as_slice() {
            [UnitFactor { divide: false, base: UnitBase::Name(name), power: 1, .. }] => Some(name),
            _ => None,
        }
    }
}

/// One factor of a unit.
#[derive(Clone, Debug)]
pub struct UnitFactor {
    /// True after `/`.
    pub divide: bool,
    /// What is raised.
    pub base: UnitBase,
    /// The exponent as written (1 if absent).
    pub power: i64,
    /// Base and exponent.
    pub span: Span,
}
equal_by!(UnitFactor: divide, base, power);

/// What a unit is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum UnitBase {
    /// A unit or type name.
    Name(Ident),
    /// A whole number, as in `1/ms`.
    Int(IntLit),
}

/// An expression.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// The whole expression, with the parentheses around it.
    pub span: Span,
}
equal_by!(Expr: kind);

impl Expr {
    /// An expression at a place.
    pub fn new(kind: ExprKind, span: Span) -> Expr {
        Expr { kind, span }
    }
}

/// Kinds of expression.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `x`
    Name(Ident),
    /// `3`, never negative.
    Int(i64),
    /// `3.5`, finite and never negative.
    Float(f64),
    /// `20 ms`
    Quantity {
        /// The number.
        value: Number,
        /// The unit.
        unit: Ident,
    },
    /// `"text"`
    Str(String),
    /// `true` or `false`
    Bool(bool),
    /// `[a, b]`
    List(Vec<Expr>),
    /// `-x` or `not x`
    Unary {
        /// Operator.
        op: UnaryOp,
        /// Operand.
        expr: Box<Expr>,
    },
    /// `a + b`
    Binary {
        /// Operator.
        op: BinaryOp,
        /// Left operand.
        lhs: Box<Expr>,
        /// Right operand.
        rhs: Box<Expr>,
    },
    /// `if c then a else b`
    If {
        /// Condition.
        cond: Box<Expr>,
        /// Value if true.
        then: Box<Expr>,
        /// Value if false.
        otherwise: Box<Expr>,
    },
    /// `x.name`
    Field {
        /// What has the field.
        base: Box<Expr>,
        /// The field.
        name: Ident,
    },
    /// `x[i, a:b]`
    Index {
        /// What is indexed.
        base: Box<Expr>,
        /// One or more indices.
        indices: Vec<Index>,
    },
    /// `f(x, key = y)`
    Call {
        /// What is called.
        callee: Box<Expr>,
        /// With what.
        args: Vec<Arg>,
    },
    /// An expression that was refused; a diagnostic says why.
    Error,
}

/// The number of a quantity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Whole.
    Int(i64),
    /// With a point or an exponent.
    Float(f64),
}

impl Number {
    /// As a float; whole numbers beyond 2^53 are rounded.
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Int(i) => i as f64,
            Number::Float(f) => f,
        }
    }
}

/// One index in brackets.
#[derive(Clone, Debug, PartialEq)]
pub enum Index {
    /// `i`
    At(Expr),
    /// `from:to`, without `to`.
    Range(Expr, Expr),
}

/// Prefix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// `-`
    Neg,
    /// `not`
    Not,
}

impl UnaryOp {
    /// As written.
    pub fn text(self) -> &'static str {
        match self {
            UnaryOp::Neg => "-",
            UnaryOp::Not => "not",
        }
    }
}

/// Infix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `or`
    Or,
    /// `and`
    And,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Rem,
    /// `^`
    Pow,
}

impl BinaryOp {
    /// As written.
    pub fn text(self) -> &'static str {
        match self {
            BinaryOp::Or => "or",
            BinaryOp::And => "and",
            BinaryOp::Lt => "<",
            BinaryOp::Le => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::Ge => ">=",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Rem => "%",
            BinaryOp::Pow => "^",
        }
    }
}
