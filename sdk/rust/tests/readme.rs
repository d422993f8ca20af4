//! What README.md shows is code that is compiled, and what it names is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use agenthost::{Json, Result, StructuredDataset, Task};
use regex_lite::Regex;
use serde::Deserialize;

#[derive(Deserialize)]
struct Place {}
#[derive(Deserialize)]
struct Query {}
#[derive(Deserialize)]
struct Settings {}

/// What the page shows of inputs. It only has to be compiled.
#[allow(dead_code, unused_variables)]
#[rustfmt::skip] // as the page has them, one below the other
fn every_input(task: &Task) -> Result<()> {
    let limit: i64 = task.input("limit")?;                 // also f64, bool, String, DateTime<Utc>, Vec<_>, HashMap<String, _>
    let table: StructuredDataset = task.input("table")?;   // uri, format, columns; also File and Directory
    let region: Option<String> = task.input("region")?;    // absent or None
    let retries = task.input_or("retries", 3)?;            // the same: 3
    let Json(place) = task.input::<Json<Place>>("place")?; // a dataclass or a dict, by serde
    let query: Query = task.inputs_as()?;                  // all of them, into a type that derives Deserialize
    let values = task.inputs()?;                           // as they are, by name
    let settings: Settings = task.custom()?;               // the template's custom part
    let statement = task.sql();
    let deadline = task.deadline;                          // when the caller stops waiting, if it says so
    Ok(())
}

const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");

fn page() -> String {
    fs::read_to_string(Path::new(PACKAGE).join("README.md")).unwrap()
}

/// The text of the Rust files below a folder.
fn sources(folder: &Path) -> Vec<String> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: std::path::PathBuf| match path.extension() {
        _ if path.is_dir() => sources(&path),
        Some(extension) if extension == "rs" => vec![fs::read_to_string(path).unwrap()],
        _ => vec![],
    };
    paths.flat_map(below).collect()
}

/// Code without what a page or a formatter puts around its lines.
fn unindented(code: &str) -> String {
    let lines = code.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    format!("\n{}\n", lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn what_the_page_shows_is_code_that_is_compiled() {
    let code: Vec<_> =
        ["examples", "tests"].iter().flat_map(|folder| sources(&Path::new(PACKAGE).join(folder))).collect();
    let code: Vec<_> = code.iter().map(|source| unindented(source)).collect();
    let page = page();
    let blocks: Vec<_> = page.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() > 7, "the page shows {} pieces of code", blocks.len());
    for block in blocks {
        assert!(
            code.iter().any(|source| source.contains(&unindented(block))),
            "no program has what the page shows:\n{block}"
        );
    }
}

#[test]
fn what_the_page_names_is_there() {
    let code = sources(&Path::new(PACKAGE).join("src")).join("\n");
    let span = Regex::new("`[^`\n]+`").unwrap();
    let path = Regex::new(r"\b(?:agenthost|storage|testing|[A-Z]\w+)::(\w+)").unwrap();
    let method = Regex::new(r"(?:\b(?:task|job|client)|[`)])\.(\w+)").unwrap();
    let page = page().replace(".await", ""); // no name of ours
    let spans = span.find_iter(&page).map(|found| found.as_str());
    let names: BTreeSet<_> = spans
        .flat_map(|code| path.captures_iter(code).chain(method.captures_iter(code)).map(|found| found[1].to_string()))
        .collect();
    assert!(names.len() > 25, "{names:?}");
    let item = r"\bpub (?:async )?(?:(?:fn|mod|struct|enum|trait) )?(\w+)|\bfn (\w+)";
    let declared = Regex::new(&format!(r"(?m){item}|^ +(\w+)[,({{]")).unwrap(); // or a variant
    let declared: BTreeSet<_> = declared
        .captures_iter(&code)
        .filter_map(|found| found.iter().skip(1).flatten().next())
        .map(|name| name.as_str())
        .collect();
    for name in names {
        assert!(declared.contains(name.as_str()), "{name} is no name of the crate");
    }
}
