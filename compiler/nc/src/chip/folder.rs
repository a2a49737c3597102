//! Bundles on disk.

use nc_ir::Diagnostic;
use nc_spinnaker2::bundle::{Bundle, MANIFEST, Manifest, table_bytes, table_text};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Most bytes of a manifest.
const MAX_MANIFEST: u64 = 256 << 20;
/// Most bytes of any other file.
const MAX_FILE: u64 = 64 << 20;

/// True for a folder that holds a manifest.
pub fn is_bundle(path: &Path) -> bool {
    path.join(MANIFEST).is_file()
}

fn file(path: &Path, most: u64) -> Result<Vec<u8>, Diagnostic> {
    let unread = |e: &dyn std::fmt::Display| {
        Diagnostic::error_nowhere("E0857", format!("{} cannot be read: {e}", path.display()))
            .with_hint("write the bundle anew with `nc compile --target spinnaker2`")
    };
    let mut bytes = Vec::new();
    let f = std::fs::File::open(path).map_err(|e| unread(&e))?;
    f.take(most + 1).read_to_end(&mut bytes).map_err(|e| unread(&e))?;
    if bytes.len() as u64 > most {
        return Err(unread(&format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

/// Reads a bundle to run it: its manifest and images, without the graphs of its pieces.
///
/// # Errors
/// E0857.
pub fn read(path: &Path) -> Result<Bundle, Diagnostic> {
    let at = path.join(MANIFEST);
    let wrong = |e: String| Diagnostic::error_nowhere("E0857", format!("{} is not a manifest: {e}", at.display()));
    let text = String::from_utf8(file(&at, MAX_MANIFEST)?).map_err(|e| wrong(e.to_string()))?;
    let manifest = Manifest::parse(&text).map_err(wrong)?;
    let mut files = BTreeMap::new();
    for c in &manifest.cores {
        for name in std::iter::once(&c.image).chain(&c.graph) {
            // Names only, so that a manifest cannot reach outside its folder.
            if name.contains(['/', '\\']) || name.starts_with('.') {
                return Err(wrong(format!("{name:?} is no name of a file")));
            }
            if *name == c.image {
                files.insert(name.clone(), file(&path.join(name), MAX_FILE)?);
            }
        }
    }
    Ok(Bundle { manifest, files })
}

/// Removes what another bundle left in a folder: images, graphs and routing tables that are not among `files`.
///
/// # Errors
/// E0630 for a file that cannot be removed.
pub fn tidy(dir: &Path, files: &[(String, Vec<u8>)]) -> Result<(), Diagnostic> {
    let failed = |path: &Path, e: &std::io::Error| {
        Diagnostic::error_nowhere("E0630", format!("{} cannot be removed: {e}", path.display()))
    };
    for entry in std::fs::read_dir(dir).map_err(|e| failed(dir, &e))? {
        let entry = entry.map_err(|e| failed(dir, &e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_of_a_core(&name) && !files.iter().any(|(n, _)| *n == name) {
            std::fs::remove_file(entry.path()).map_err(|e| failed(&entry.path(), &e))?;
        }
    }
    Ok(())
}

/// True for the names that a bundle gives to files of cores and chips.
fn is_of_a_core(name: &str) -> bool {
    let number = |x: &str| !x.is_empty() && x.bytes().all(|b| b.is_ascii_digit());
    let Some((stem, end)) = name.rsplit_once('.') else { return false };
    match (stem.strip_prefix("core-"), stem.strip_prefix("routes-")) {
        (Some(place), _) => {
            matches!(end, "elf" | "graph") && place.split_once('-').is_some_and(|(a, b)| number(a) && number(b))
        }
        (_, Some(chip)) => matches!(end, "txt" | "bin") && number(chip),
        _ => false,
    }
}

/// The files of a bundle with their names: the manifest, images, graphs, routing tables, the load specification and the
/// report.
///
/// # Errors
/// E0857 for a manifest that JSON cannot hold.
pub fn files(bundle: &Bundle) -> Result<Vec<(String, Vec<u8>)>, Diagnostic> {
    let m = &bundle.manifest;
    let mut all: Vec<(String, Vec<u8>)> = bundle.files.iter().map(|(n, b)| (n.clone(), b.clone())).collect();
    for (chip, table) in m.tables.iter().enumerate() {
        all.push((format!("routes-{chip}.txt"), table_text(table).into_bytes()));
        all.push((format!("routes-{chip}.bin"), table_bytes(table, m.machine.core.count.value)));
    }
    let unwritten = |name: &str, e: String| Diagnostic::error_nowhere("E0857", format!("{name} is not written: {e}"));
    let load = nc_spinnaker2::report::load_spec(m).map_err(|e| unwritten("load.json", e))?;
    all.push(("load.json".to_owned(), load.into_bytes()));
    all.push(("report.html".to_owned(), nc_spinnaker2::report::html(m).into_bytes()));
    let text = m.text().map_err(|e| unwritten(MANIFEST, e))?;
    all.push((MANIFEST.to_owned(), text.into_bytes()));
    Ok(all)
}
