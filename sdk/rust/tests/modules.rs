//! The order of the crate's modules: each uses only those before it, so that they can be read, and understood, one by one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const ORDER: &[&str] = &[
    // What everything speaks of.
    "contract",
    "attempt",
    "error",
    "secret",
    "connection",
    "category",
    "packed",
    "exact",
    "value",
    "literal",
    "outputtypes",
    // What an author's methods take and give.
    "task",
    "resource",
    "schema",
    "config",
    "agent",
    "context",
    "retry",
    "jobstore",
    "storage",
    // What a program is put together from.
    "trace",
    "apart",
    "registry",
    "plugin",
    // How it is served.
    "calls",
    "hostlog",
    "tls",
    "service",
    "exchange",
    "serve",
    "testing",
];

/// The modules that a source file names, but for its documentation.
fn used(source: &str) -> BTreeSet<String> {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let names = code.flat_map(|line| line.split("crate::").skip(1).map(str::to_string).collect::<Vec<_>>());
    names.map(|name| name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()).collect()
}

#[test]
fn each_module_uses_only_those_before_it() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeSet::from(["contract".to_string()]); // generated
    for entry in fs::read_dir(&sources).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_string_lossy().into_owned();
        if module == "lib" || path.is_dir() {
            continue;
        }
        let place = ORDER.iter().position(|name| **name == module);
        let place = place.unwrap_or_else(|| panic!("{module} has no place in the order"));
        for name in used(&fs::read_to_string(&path).unwrap()) {
            assert!(
                ORDER[..place].contains(&name.as_str()),
                "{module} uses {name:?}, which is no module before it in the order"
            );
        }
        found.insert(module);
    }
    assert_eq!(found, ORDER.iter().map(ToString::to_string).collect());
}
