//! Reports for continuous integration.

use super::Case;
use std::fmt::Write;

/// Cases as JUnit XML, one suite per file.
pub fn report(cases: &[Case]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let failures = |c: &[&Case]| c.iter().filter(|c| c.failure.is_some()).count();
    let all: Vec<&Case> = cases.iter().collect();
    let _ = writeln!(out, "<testsuites tests=\"{}\" failures=\"{}\">", all.len(), failures(&all));
    let mut files: Vec<&str> = cases.iter().map(|c| c.file.as_str()).collect();
    files.dedup();
    for file in files {
        let own: Vec<&Case> = cases.iter().filter(|c| c.file == file).collect();
        let (name, time) = (escaped(file), own.iter().map(|c| c.time).sum::<f64>());
        let (n, failed) = (own.len(), failures(&own));
        let _ = writeln!(out, "  <testsuite name=\"{name}\" tests=\"{n}\" failures=\"{failed}\" time=\"{time:.6}\">");
        for c in own {
            let title = escaped(&c.name);
            let _ = write!(out, "    <testcase classname=\"{name}\" name=\"{title}\" time=\"{:.6}\"", c.time);
            let _ = match &c.failure {
                None => writeln!(out, "/>"),
                Some(f) => {
                    let first = escaped(f.lines().next().unwrap_or_default());
                    writeln!(out, "><failure message=\"{first}\">{}</failure></testcase>", escaped(f))
                }
            };
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// Text as XML allows it.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_and_text_is_escaped() {
        let case = |name: &str, failure: Option<&str>| Case {
            file: "a.nd".to_owned(),
            name: name.to_owned(),
            failure: failure.map(str::to_owned),
            time: 0.5,
        };
        let xml = report(&[case("one <&>", None), case("two", Some("x < y\n\"\u{1}\""))]);
        for part in [
            "<testsuites tests=\"2\" failures=\"1\">",
            "name=\"one &lt;&amp;&gt;\" time=\"0.500000\"/>",
            "<failure message=\"x &lt; y\">x &lt; y\n&quot;\u{fffd}&quot;</failure>",
        ] {
            assert!(xml.contains(part), "{part}\n{xml}");
        }
    }
}
