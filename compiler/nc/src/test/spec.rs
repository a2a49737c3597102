//! The text of a test: lines of `key = value`, in a `.test` file or in the first comments of a model.

use nc_ir::Diagnostic;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A value in a test.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `"..1.|1..."`: one row per element, one column per tick.
    Raster(String),
    /// Nested lists of numbers, the outermost counts ticks.
    List(serde_json::Value),
    /// One number for every element in every tick.
    Number(f64),
    /// `random(p = 0.1, seed = 3)`, `uniform(lo = -1, hi = 1, seed = 3)`.
    Generator(String, Vec<(String, f64)>),
    /// `?`: not known yet, to be written by --bless.
    Unknown,
}

/// A value with its name and its place in the file.
#[derive(Clone, PartialEq, Debug)]
pub struct Named {
    /// Name of the array.
    pub name: String,
    /// The value.
    pub value: Value,
    /// Bytes of the value in the file.
    pub place: Range<usize>,
}

/// A diagnostic that must come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    /// Its code.
    pub code: String,
    /// Line and column of its place.
    pub at: Option<(usize, usize)>,
}

/// One test.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Spec {
    /// Name, empty for the only one of a file.
    pub name: String,
    /// The file it stands in.
    pub file: PathBuf,
    /// The model.
    pub model: PathBuf,
    /// The net, if the file has several.
    pub net: Option<String>,
    /// Seconds per tick, for `.nir` models.
    pub dt: Option<f64>,
    /// Discretisation, for `.nir` models.
    pub discretise: Option<String>,
    /// Mend the model.
    pub repair: bool,
    /// Run a model of sequences one step a tick.
    pub stream: bool,
    /// Weights that become zero.
    pub prune: Vec<nc_compiler::prune::Prune>,
    /// Parameters of the net.
    pub dims: Vec<(String, i64)>,
    /// Targets by name; the default ones if empty.
    pub targets: Vec<String>,
    /// Numbers of threads; 1 if empty.
    pub threads: Vec<u32>,
    /// Ticks to run.
    pub steps: Option<u64>,
    /// Values to record beside what the model records.
    pub probes: Vec<String>,
    /// File with input arrays.
    pub input_file: Option<PathBuf>,
    /// Inputs.
    pub inputs: Vec<Named>,
    /// File with expected arrays.
    pub output_file: Option<PathBuf>,
    /// Expected arrays.
    pub outputs: Vec<Named>,
    /// Relative tolerance.
    pub rtol: f64,
    /// Absolute tolerance.
    pub atol: f64,
    /// Diagnostics that must come.
    pub expect: Vec<Expected>,
}

/// A line of a test: bytes of its content in the file, and its number.
struct Line<'a> {
    text: &'a str,
    at: usize,
    number: usize,
}

/// The tests of a file; none if it has none.
///
/// # Errors
/// E0841 for a line that cannot be read.
pub fn read(file: &Path, text: &str) -> Result<Vec<Spec>, Diagnostic> {
    let inside = file.extension().is_some_and(|e| e == "nd");
    let mut lines = Vec::new();
    let mut at = 0;
    for (k, line) in text.split_inclusive('\n').enumerate() {
        let start = at;
        at += line.len();
        let line = line.trim_end();
        if inside {
            // A comment of the model begins with `##` or is no comment at all.
            match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with('#') => {
                    let content = rest.trim_start();
                    lines.push(Line { text: content, at: start + 1 + (rest.len() - content.len()), number: k + 1 });
                }
                Some(_) => {}
                None if line.trim().is_empty() => {}
                None => break,
            }
        } else {
            let content = line.trim_start();
            if !content.starts_with('#') && !content.is_empty() {
                lines.push(Line { text: content, at: start + (line.len() - content.len()), number: k + 1 });
            }
        }
    }
    Reader { file, inside, lines }.specs()
}

struct Reader<'a> {
    file: &'a Path,
    inside: bool,
    lines: Vec<Line<'a>>,
}

impl Reader<'_> {
    fn wrong(&self, line: usize, text: impl std::fmt::Display) -> Diagnostic {
        Diagnostic::error_nowhere("E0841", format!("{}:{line}: {text}", self.file.display()))
    }

    fn specs(&self) -> Result<Vec<Spec>, Diagnostic> {
        let mut specs: Vec<Spec> = Vec::new();
        let mut model: Option<PathBuf> = self.inside.then(|| self.file.to_owned());
        let mut k = 0;
        while k < self.lines.len() {
            let line = &self.lines[k];
            k += 1;
            // In a model a colon is asked for, since prose may begin with the word.
            let named = line.text.starts_with("test:") || (!self.inside && line.text.starts_with("test "));
            if line.text == "test" || named {
                let name = line.text[4..].trim_start_matches(':').trim();
                let model = model.clone().unwrap_or_default();
                specs.push(Spec { name: name.to_owned(), file: self.file.to_owned(), model, ..Spec::default() });
                continue;
            }
            let header = specs.is_empty();
            if header && self.inside {
                // Prose above the test, or a model without one.
                continue;
            }
            if let (Some(name), Some(spec)) = (line.text.strip_prefix("probe "), specs.last_mut()) {
                spec.probes.push(name.trim().to_owned());
                continue;
            }
            let Some(eq) = line.text.find('=') else {
                if self.inside {
                    // Prose may go on below the test after an empty line.
                    if line.text.is_empty() {
                        break;
                    }
                }
                return Err(self.wrong(line.number, format!("expected `key = value`, found `{}`", line.text)));
            };
            let (key, name) = match line.text[..eq].trim().split_once(char::is_whitespace) {
                Some((key, name)) => (key, Some(name.trim().to_owned())),
                None => (line.text[..eq].trim(), None),
            };
            let rest = &line.text[eq + 1..];
            let begin = line.at + eq + 1 + (rest.len() - rest.trim_start().len());
            let mut end = line.at + line.text.len();
            let mut value = rest.trim().to_owned();
            while open(&value) && k < self.lines.len() {
                value.push_str(self.lines[k].text);
                end = self.lines[k].at + self.lines[k].text.len();
                k += 1;
            }
            if header {
                if key == "model" {
                    model = Some(self.path(&value, line.number)?);
                    continue;
                }
                return Err(self.wrong(line.number, format!("`{key}` stands before the first `test NAME`")));
            }
            let Some(spec) = specs.last_mut() else { continue };
            self.entry(spec, key, name, &value, begin..end, line.number)?;
        }
        for spec in &specs {
            if spec.model.as_os_str().is_empty() {
                return Err(Diagnostic::error_nowhere(
                    "E0841",
                    format!(
                        "{}: no `model = \"FILE.nd\"` names the model of test `{}`",
                        self.file.display(),
                        spec.name
                    ),
                ));
            }
        }
        Ok(specs)
    }

    fn path(&self, value: &str, line: usize) -> Result<PathBuf, Diagnostic> {
        let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        let inner =
            inner.ok_or_else(|| self.wrong(line, format!("expected a file name in quotes, found `{value}`")))?;
        Ok(self.file.parent().unwrap_or(Path::new("")).join(inner))
    }

    fn entry(
        &self,
        spec: &mut Spec,
        key: &str,
        name: Option<String>,
        value: &str,
        place: Range<usize>,
        line: usize,
    ) -> Result<(), Diagnostic> {
        let number = |what: &str| {
            value.parse::<f64>().map_err(|_| self.wrong(line, format!("`{what}` is a number, found `{value}`")))
        };
        match (key, name) {
            ("model", None) => spec.model = self.path(value, line)?,
            ("net", None) => spec.net = Some(value.to_owned()),
            ("dt", None) => {
                let dt = value.parse().ok().filter(|dt: &f64| dt.is_finite());
                spec.dt = Some(dt.ok_or_else(|| self.wrong(line, format!("`{value}` is not a number of seconds")))?);
            }
            ("discretise", None) => spec.discretise = Some(value.to_owned()),
            ("repair", None) => match value {
                "true" | "false" => spec.repair = value == "true",
                _ => return Err(self.wrong(line, "`repair` is true or false")),
            },
            ("stream", None) => match value {
                "true" | "false" => spec.stream = value == "true",
                _ => return Err(self.wrong(line, "`stream` is true or false")),
            },
            ("prune", None) => spec.prune.push(crate::args::prune(value).map_err(|e| self.wrong(line, e))?),
            ("dim", Some(name)) => {
                let n = value.parse().map_err(|_| self.wrong(line, format!("`{value}` is not a whole number")))?;
                spec.dims.push((name, n));
            }
            ("targets", None) => spec.targets = value.split(',').map(|t| t.trim().to_owned()).collect(),
            ("threads", None) => {
                for n in value.split(',') {
                    let n = n.trim().parse::<u32>().ok().filter(|n| (1..=1024).contains(n));
                    spec.threads.push(n.ok_or_else(|| self.wrong(line, "`threads` are numbers from 1 to 1024"))?);
                }
            }
            ("steps", None) => {
                spec.steps =
                    Some(value.parse().map_err(|_| self.wrong(line, format!("`{value}` is not a number of ticks")))?);
            }
            ("rtol", None) => spec.rtol = number("rtol")?,
            ("atol", None) => spec.atol = number("atol")?,
            ("input", None) => spec.input_file = Some(self.path(value, line)?),
            ("output", None) => spec.output_file = Some(self.path(value, line)?),
            ("input", Some(name)) => spec.inputs.push(Named { name, value: self.value(value, line)?, place }),
            ("output", Some(name)) => spec.outputs.push(Named { name, value: self.value(value, line)?, place }),
            ("expect", None) => spec.expect.push(self.expected(value, line)?),
            (other, _) => {
                let known = [
                    "model",
                    "net",
                    "dt",
                    "discretise",
                    "repair",
                    "stream",
                    "prune",
                    "dim",
                    "targets",
                    "threads",
                    "steps",
                    "rtol",
                    "atol",
                    "input",
                    "output",
                    "expect",
                ];
                let d = self.wrong(line, format!("`{other}` is not a key of a test"));
                return Err(match nc_ir::diag::nearest(other, known) {
                    Some(n) => d.with_hint(format!("did you mean `{n}`?")),
                    None => d.with_hint(format!("known are {}", known.join(", "))),
                });
            }
        }
        Ok(())
    }

    fn expected(&self, value: &str, line: usize) -> Result<Expected, Diagnostic> {
        let (code, at) = match value.split_once(" at ") {
            Some((code, at)) => (code.trim(), Some(at.trim())),
            None => (value, None),
        };
        let at = match at {
            None => None,
            Some(at) => {
                let pair = at.split_once(':').and_then(|(l, c)| Some((l.parse().ok()?, c.parse().ok()?)));
                Some(pair.ok_or_else(|| self.wrong(line, format!("expected LINE:COLUMN, found `{at}`")))?)
            }
        };
        let valid =
            code.len() == 5 && code.starts_with(['E', 'W', 'N']) && code[1..].bytes().all(|b| b.is_ascii_digit());
        if !valid {
            return Err(self.wrong(line, format!("expected a code such as E0203, found `{code}`")));
        }
        Ok(Expected { code: code.to_owned(), at })
    }

    fn value(&self, text: &str, line: usize) -> Result<Value, Diagnostic> {
        if text == "?" {
            return Ok(Value::Unknown);
        }
        if let Some(inner) = text.strip_prefix('"').and_then(|v| v.strip_suffix('"')) {
            let raster: String = inner.chars().filter(|c| !c.is_whitespace()).collect();
            if let Some(c) = raster.chars().find(|c| !matches!(c, '.' | '1' | '|')) {
                return Err(self.wrong(line, format!("a raster is written with `.`, `1` and `|`, found `{c}`")));
            }
            return Ok(Value::Raster(raster));
        }
        if text.starts_with('[') {
            return serde_json::from_str(text)
                .map(Value::List)
                .map_err(|e| self.wrong(line, format!("the list cannot be read: {e}")));
        }
        if let Some((name, args)) = text.strip_suffix(')').and_then(|t| t.split_once('(')) {
            let mut list = Vec::new();
            for arg in args.split(',').filter(|a| !a.trim().is_empty()) {
                let pair = arg.split_once('=').and_then(|(n, v)| Some((n.trim().to_owned(), v.trim().parse().ok()?)));
                list.push(pair.ok_or_else(|| self.wrong(line, format!("expected `name = number`, found `{arg}`")))?);
            }
            return Ok(Value::Generator(name.trim().to_owned(), list));
        }
        let number = text.parse::<f64>().map_err(|_| {
            self.wrong(
                line,
                format!("expected a number, a list, a raster in quotes, a generator or `?`, found `{text}`"),
            )
        })?;
        Ok(Value::Number(number))
    }
}

/// Whether a value goes on in the next line: a bracket or quote is open.
fn open(value: &str) -> bool {
    let depth = value.bytes().fold(0i64, |d, b| match b {
        b'[' => d + 1,
        b']' => d - 1,
        _ => d,
    });
    depth > 0 || (value.bytes().filter(|b| *b == b'"').count() % 2 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_in_the_first_comments_of_a_model_is_read() {
        let text = "# A neuron.\n# test: two spikes\n# dim n = 2\n# steps = 3\n# input x = \"..1|\n#   1..\"\n\
                    # output y = [[0, 1],\n#   [2, 3]]\n# rtol = 1e-6\nnet A {}\n# steps = 9\n";
        let specs = read(Path::new("d/a.nd"), text).unwrap();
        assert_eq!(specs.len(), 1);
        let s = &specs[0];
        assert_eq!((s.name.as_str(), s.steps, s.rtol), ("two spikes", Some(3), 1e-6));
        assert_eq!(s.model, Path::new("d/a.nd"));
        assert_eq!(s.dims, [("n".to_owned(), 2)]);
        assert_eq!(s.inputs[0].value, Value::Raster("..1|1..".to_owned()));
        assert_eq!(s.outputs[0].value, Value::List(serde_json::json!([[0, 1], [2, 3]])));
        assert!(
            text[s.outputs[0].place.clone()].starts_with("[[0, 1],")
                && text[s.outputs[0].place.clone()].ends_with("]]")
        );
    }

    #[test]
    fn a_test_file_has_several_tests_of_a_model() {
        let text = "# comment\nmodel = \"m.nd\"\ntest one\n  expect = E0203 at 4:7\ntest two\n  input x = random(p = 0.5, seed = 1)\n\
                    output y = ?\nprobe P.v\nthreads = 1, 2\n";
        let specs = read(Path::new("d/m.test"), text).unwrap();
        assert_eq!(specs.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(specs[0].expect, [Expected { code: "E0203".to_owned(), at: Some((4, 7)) }]);
        assert_eq!(specs[0].model, Path::new("d/m.nd"));
        assert_eq!(specs[1].outputs[0].value, Value::Unknown);
        assert_eq!((specs[1].probes.clone(), specs[1].threads.clone()), (vec!["P.v".to_owned()], vec![1, 2]));
    }

    #[test]
    fn models_without_tests_have_none_and_slips_are_named() {
        assert_eq!(read(Path::new("a.nd"), "# A model = a thing\nnet A {}\n"), Ok(vec![]));
        for (text, part) in [
            ("test a\nmodel = \"m.nd\"\nstep = 3", "`step` is not a key"),
            ("test a", "names the model"),
            ("model = m.nd", "in quotes"),
            ("model = \"m\"\ntest a\nsteps = x", "not a number of ticks"),
            ("model = \"m\"\ntest a\noutput y = \"012\"", "found `0`"),
            ("model = \"m\"\ntest a\noutput y = [1, 2", "list cannot be read"),
            ("model = \"m\"\ntest a\nexpect = 12", "a code such as"),
            ("steps = 3", "before the first"),
        ] {
            let d = read(Path::new("x.test"), text).unwrap_err();
            assert!(d.code == "E0841" && d.message.contains(part), "{text:?}: {d}");
        }
    }
}
