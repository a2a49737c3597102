//! One file for each rule: a graph, and the graph that saturation makes of it, which it does not make without the rule.
//! With `UPDATE_EXPECT=1` a file is written anew; a rule without a file gets one from its instances.

use super::{Maker, Rule, Way, all};
use crate::pipeline::{Math, Options};
use nc_ir::graph::{Module, text};
use std::path::PathBuf;

const ARROW: &str = "\n// becomes\n\n";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/saturate/rules/tests/files")
}

/// What saturation makes of a module, as text, with all rules or without one.
fn saturated(m: &Module, math: Math, without: Option<&Rule>) -> String {
    let without = without.map(|r| r.name.to_owned()).into_iter().collect();
    let options = Options { math, without, ..Options::default() };
    let mut m = m.clone();
    crate::saturate::run(&mut m, &options, &mut Default::default()).expect("a sound graph");
    text::print(&m)
}

fn math(rule: &Rule) -> Math {
    if rule.exact { Math::Strict } else { Math::Fast }
}

/// The first instance of a rule that it makes a difference to.
fn telling(rule: &Rule) -> Option<Module> {
    (0..400).find_map(|seed| {
        let mut maker = Maker::new(seed, rule.exact);
        let made = match rule.way {
            Way::Pattern { .. } if seed % 2 == 1 => maker.both_sides(rule),
            _ => maker.instance(rule),
        };
        made?;
        let m = maker.module;
        (saturated(&m, math(rule), None) != saturated(&m, math(rule), Some(rule))).then_some(m)
    })
}

#[test]
fn every_rule_makes_the_difference_of_its_file() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    for rule in all() {
        let path = folder().join(format!("{}.graph", rule.name));
        let Ok(file) = std::fs::read_to_string(&path) else {
            match telling(rule) {
                Some(m) if update => {
                    let all = format!("{}{ARROW}{}", text::print(&m), saturated(&m, math(rule), None));
                    std::fs::write(&path, all).expect("the folder can be written");
                }
                Some(_) => wrong.push(format!("{} has no file", rule.name)),
                None => wrong.push(format!("{} makes no difference", rule.name)),
            }
            continue;
        };
        let Some((before, after)) = file.split_once(ARROW) else {
            wrong.push(format!("{}: no line `{}`", rule.name, ARROW.trim()));
            continue;
        };
        let m = text::parse(before).expect("a graph");
        let got = saturated(&m, math(rule), None);
        if got != after && update {
            std::fs::write(&path, format!("{before}{ARROW}{got}")).expect("the folder can be written");
        } else if got != after {
            wrong.push(format!("{}:\n{got}", rule.name));
        }
        if saturated(&m, math(rule), Some(rule)) == after {
            wrong.push(format!("{} makes no difference to its file", rule.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
