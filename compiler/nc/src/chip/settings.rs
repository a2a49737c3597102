//! What a model's `target spinnaker2` block says.

use crate::args::{self, ChipArgs, Duration};
use nc_ir::Diagnostic;
use nc_nd::sema::{Setting, SettingValue, TargetSettings, TargetSpec};
use std::path::Path;

/// Name of the target.
const NAME: &str = "spinnaker2";
/// Its settings. Each is an option of the command line as well.
const KEYS: &[&str] = &[
    "machine",
    "performance",
    "dead",
    "pieces",
    "*.neurons_per_core",
    "placement",
    "activity",
    "tick",
    "pipeline",
    "arrange",
];

/// The target with its settings.
pub fn spec() -> TargetSpec {
    TargetSpec { name: NAME.to_owned(), keys: KEYS.iter().map(|k| (*k).to_owned()).collect() }
}

/// Reads the blocks of a model. Files are relative to `folder`, where the model lies. What is wrong is added to
/// `wrong`, each with its place.
pub fn read(blocks: &[TargetSettings], folder: &Path, wrong: &mut Vec<Diagnostic>) -> ChipArgs {
    let mut chip = ChipArgs::default();
    let mut seen: Vec<&str> = Vec::new();
    for s in blocks.iter().filter(|b| b.name == NAME).flat_map(|b| &b.settings) {
        if seen.contains(&s.path.as_str()) {
            wrong.push(refused(s, "it is set twice", "a second value"));
        } else if let Err(expected) = set(&mut chip, s, folder) {
            let text = format!("`{}` is {expected}", s.path);
            wrong.push(Diagnostic::error("E0862", s.span, text).labelled("a value that it cannot have"));
        }
        seen.push(&s.path);
    }
    chip
}

fn refused(s: &Setting, why: &str, label: &str) -> Diagnostic {
    Diagnostic::error("E0862", s.span, format!("`{}`: {why}", s.path)).labelled(label)
}

/// Takes a setting.
///
/// # Errors
/// What was expected.
fn set(chip: &mut ChipArgs, s: &Setting, folder: &Path) -> Result<(), String> {
    let text = || match &s.value {
        SettingValue::Text(t) | SettingValue::Word(t) => Some(t.as_str()),
        _ => None,
    };
    let whole = |lo: u64, hi: u64| match s.value {
        SettingValue::Int(x) => u64::try_from(x).ok().filter(|x| (lo..=hi).contains(x)),
        _ => None,
    };
    match s.path.as_str() {
        "machine" => {
            let name = text().ok_or("the name of a machine or of a .toml file")?;
            let file = name.ends_with(".toml").then(|| folder.join(name).display().to_string());
            chip.machine = Some(file.unwrap_or_else(|| name.to_owned()));
        }
        "performance" => chip.performance = Some(text().ok_or("the name of a performance level")?.to_owned()),
        "dead" => {
            let cores = "text with cores, each CHIP:CORE, with commas between them";
            let list = text().ok_or(cores)?.split(',').map(|x| args::core(x.trim()));
            chip.dead = list.collect::<Result<_, _>>().map_err(|_| cores)?;
        }
        "pieces" => chip.parts = Some(whole(1, 100_000).ok_or("a whole number from 1 to 100000")?),
        "placement" => chip.placement = Some(whole(0, u64::MAX).ok_or("a whole number that is not negative")?),
        "activity" => {
            let x = match s.value {
                SettingValue::Int(x) => Some(x as f64),
                SettingValue::Real(x) => Some(x),
                _ => None,
            };
            chip.activity = Some(x.filter(|x| *x > 0.0 && *x <= 1.0).ok_or("a share above 0 and at most 1")?);
        }
        "tick" => match s.value {
            SettingValue::Time(ms) if ms > 0.0 => {
                chip.tick = Some(Duration { seconds: ms * 1e-3, text: format!("{ms}ms") });
            }
            _ => return Err("a length of time such as 2 ms".to_owned()),
        },
        "pipeline" => match s.value {
            SettingValue::Bool(x) => chip.pipeline = Some(x),
            _ => return Err("true or false".to_owned()),
        },
        "arrange" => match s.value {
            SettingValue::Bool(x) => chip.arrange = Some(x),
            _ => return Err("true or false".to_owned()),
        },
        path => {
            let name = path.strip_suffix(".neurons_per_core").ok_or("not a setting")?;
            chip.neurons.push((name.to_owned(), whole(1, u64::MAX).ok_or("a whole number above 0")?));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_taken() {
        for key in KEYS {
            let path = key.replace('*', "P");
            for value in [
                SettingValue::Int(1),
                SettingValue::Time(1.0),
                SettingValue::Bool(true),
                SettingValue::Text("0:1".to_owned()),
            ] {
                let s = Setting { path: path.clone(), value, span: nc_ir::Span::default() };
                let taken = set(&mut ChipArgs::default(), &s, Path::new("."));
                assert_ne!(taken, Err("not a setting".to_owned()), "{key}");
            }
            let docs = include_str!("../../../../docs/language.md");
            assert!(docs.contains(&format!("\n| `{path}` |")), "docs/language.md does not say what {path} is");
        }
    }
}
