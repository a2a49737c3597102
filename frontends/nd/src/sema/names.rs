//! Files, imports, and the names that each file can see.

use super::codes;
use super::{Diagnostics, Loader};
use crate::ast;
use nc_ir::{Diagnostic, Span};
use rustc_hash::FxHashMap;

/// The greatest number of files that one model may import.
const MAX_FILES: usize = 1000;

/// One source file.
pub(super) struct Source {
    /// The number in its spans.
    pub id: u32,
    pub ast: ast::File,
    /// Files that it imports, by index.
    pub imports: Vec<(usize, Span)>,
}

/// A declaration: which file, and which of its `tops`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DeclRef {
    pub file: usize,
    pub top: usize,
}

/// All files of a model; the main one is first.
pub(super) struct Sources {
    pub files: Vec<Source>,
    /// For each file, what its names mean there.
    pub scopes: Vec<FxHashMap<String, DeclRef>>,
}

/// What a declaration is.
#[derive(Clone, Copy)]
pub(super) enum Decl<'a> {
    Const(&'a ast::Const),
    Fn(&'a ast::Function),
    Neuron(&'a ast::Body),
    Synapse(&'a ast::Body),
    Net(&'a ast::Net),
}

impl<'a> Decl<'a> {
    pub fn kind(self) -> &'static str {
        match self {
            Decl::Const(_) => "const",
            Decl::Fn(_) => "fn",
            Decl::Neuron(_) => "neuron",
            Decl::Synapse(_) => "synapse",
            Decl::Net(_) => "net",
        }
    }

    pub fn name(self) -> &'a ast::Ident {
        match self {
            Decl::Const(c) => &c.name,
            Decl::Fn(f) => &f.name,
            Decl::Neuron(b) | Decl::Synapse(b) => &b.name,
            Decl::Net(n) => &n.name,
        }
    }
}

fn decl(kind: &ast::TopKind) -> Option<Decl<'_>> {
    Some(match kind {
        ast::TopKind::Const(c) => Decl::Const(c),
        ast::TopKind::Fn(f) => Decl::Fn(f),
        ast::TopKind::Neuron(b) => Decl::Neuron(b),
        ast::TopKind::Synapse(b) => Decl::Synapse(b),
        ast::TopKind::Net(n) => Decl::Net(n),
        ast::TopKind::Import(_) | ast::TopKind::Target(_) | ast::TopKind::Error => return None,
    })
}

impl Sources {
    pub fn decl(&self, r: DeclRef) -> Option<Decl<'_>> {
        decl(&self.files.get(r.file)?.ast.tops.get(r.top)?.kind)
    }

    /// What a name means in a file.
    pub fn find(&self, file: usize, name: &str) -> Option<(DeclRef, Decl<'_>)> {
        let r = *self.scopes.get(file)?.get(name)?;
        Some((r, self.decl(r)?))
    }

    /// Every declaration that a file sees.
    pub fn visible(&self, file: usize) -> impl Iterator<Item = (&str, Decl<'_>)> {
        self.scopes.get(file).into_iter().flatten().filter_map(|(n, r)| Some((n.as_str(), self.decl(*r)?)))
    }

    /// Declarations of a file in the order written.
    pub fn own(&self, file: usize) -> impl Iterator<Item = (DeclRef, Decl<'_>)> {
        let tops = self.files.get(file).map_or(&[][..], |f| &f.ast.tops);
        tops.iter().enumerate().filter_map(move |(top, t)| Some((DeclRef { file, top }, decl(&t.kind)?)))
    }
}

/// Reads the imports of the main file, and theirs, each file once; then resolves the names of each file.
pub(super) fn gather(main: &ast::File, loader: &mut dyn Loader, diags: &mut Diagnostics) -> Sources {
    let mut files = vec![Source { id: main.span.file, ast: main.clone(), imports: Vec::new() }];
    let mut k = 0;
    while k < files.len() {
        let wanted: Vec<(String, Span)> = files[k]
            .ast
            .tops
            .iter()
            .filter_map(|t| match &t.kind {
                ast::TopKind::Import(path) => Some((path.value.clone(), path.span)),
                _ => None,
            })
            .collect();
        for (path, span) in wanted {
            if files.len() >= MAX_FILES {
                diags.push(Diagnostic::error(codes::TOO_LARGE, span, format!("more than {MAX_FILES} files")));
                break;
            }
            match loader.source(&path, files[k].id) {
                Ok((id, text)) => {
                    let at = match files.iter().position(|f| f.id == id) {
                        Some(at) => at,
                        None => {
                            let parsed = crate::parse::parse(&text, id);
                            for d in parsed.diagnostics {
                                diags.push(d);
                            }
                            files.push(Source { id, ast: parsed.file, imports: Vec::new() });
                            files.len() - 1
                        }
                    };
                    files[k].imports.push((at, span));
                }
                Err(mut d) => {
                    d.span = d.span.or(Some(span));
                    diags.push(d);
                }
            }
        }
        k += 1;
    }
    let own: Vec<FxHashMap<String, DeclRef>> = files.iter().enumerate().map(|(k, f)| own_names(k, f, diags)).collect();
    let scopes = (0..files.len()).map(|k| scope(k, &files, &own, diags)).collect();
    Sources { files, scopes }
}

fn own_names(file: usize, source: &Source, diags: &mut Diagnostics) -> FxHashMap<String, DeclRef> {
    let mut names: FxHashMap<String, DeclRef> = FxHashMap::default();
    for (top, t) in source.ast.tops.iter().enumerate() {
        let Some(d) = decl(&t.kind) else { continue };
        let name = d.name();
        match names.get(&name.name) {
            Some(first) => {
                let there = decl(&source.ast.tops[first.top].kind).map(|d| d.name().span);
                diags.push(twice(name, there));
            }
            None => {
                names.insert(name.name.clone(), DeclRef { file, top });
            }
        }
    }
    names
}

/// "declared twice", at the second place.
pub(super) fn twice(name: &ast::Ident, first: Option<Span>) -> Diagnostic {
    let d = Diagnostic::error(codes::TWICE, name.span, format!("`{}` is declared twice", name.name))
        .labelled("declared again here")
        .with_hint("give one of them another name");
    match first {
        Some(s) => d.with_label(s, "first declared here"),
        None => d,
    }
}

/// A file sees its own names and those of every file that it imports, directly or not.
fn scope(
    file: usize,
    files: &[Source],
    own: &[FxHashMap<String, DeclRef>],
    diags: &mut Diagnostics,
) -> FxHashMap<String, DeclRef> {
    let mut names = own[file].clone();
    let mut seen = vec![false; files.len()];
    seen[file] = true;
    let mut queue: Vec<(usize, Span)> = files[file].imports.iter().rev().copied().collect();
    while let Some((k, span)) = queue.pop() {
        if std::mem::replace(&mut seen[k], true) {
            continue;
        }
        let mut theirs: Vec<(&String, &DeclRef)> = own[k].iter().collect();
        theirs.sort_by_key(|(_, r)| r.top);
        for (name, r) in theirs {
            match names.get(name) {
                Some(other) if other != r => {
                    let at = |r: &DeclRef| decl(&files[r.file].ast.tops[r.top].kind).map(|d| d.name().span);
                    let mut d = Diagnostic::error(
                        codes::TWICE,
                        span,
                        format!("`{name}` of this file is also declared elsewhere"),
                    )
                    .labelled("imported here");
                    for (place, text) in [(at(other), "one declaration"), (at(r), "the other")] {
                        if let Some(s) = place {
                            d = d.with_label(s, text);
                        }
                    }
                    diags.push(d);
                }
                Some(_) => {}
                None => {
                    names.insert(name.clone(), *r);
                }
            }
        }
        queue.extend(files[k].imports.iter().rev().map(|(i, _)| (*i, span)));
    }
    names
}
