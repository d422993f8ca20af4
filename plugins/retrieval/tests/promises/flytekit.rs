//! Tasks as flytekit compiles them.

use std::path::Path;
use std::process::Command;

use agenthost::contract::flyteidl::core::{LiteralMap, TaskTemplate};
use agenthost::testing::TestTask;
use agenthost::{Json, StructuredDataset};
use prost::Message;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::*;

fn compile(folder: &Path) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let venv = Command::new(here.join("../../scripts/venv")).arg("flytekit").output().expect("scripts/venv");
    assert!(venv.status.success(), "scripts/venv flytekit: {}", String::from_utf8_lossy(&venv.stderr));
    let made = Command::new(Path::new(String::from_utf8_lossy(&venv.stdout).trim()).join("python"))
        .arg(here.join("tests/promises/tasks.py"))
        .args([&*folder.to_string_lossy(), &data("airlines.csv")])
        .output()
        .expect("python");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[tokio::test]
async fn tasks_of_flytekit_run() {
    let folder = tempdir().unwrap();
    compile(folder.path());
    let compiled = |name: &str| {
        let template = std::fs::read(folder.path().join(name)).expect("a template");
        TestTask::of(TaskTemplate::decode(&*template).expect("a template"), LiteralMap::default())
    };
    let flights = || dataset(data("flights.parquet"));
    let client = reading(folder.path()).await;

    let far = succeed(&client, compiled("far").input("flights", flights()).input("least", 2000.0)).await;
    let (names, miles): (Vec<String>, Vec<f64>) = (far.output("name"), far.output("miles"));
    assert!(
        !names.is_empty() && names.len() == miles.len() && miles.iter().all(|m| *m >= 2000.),
        "{names:?} {miles:?}"
    );

    let rows = succeed(&client, compiled("rows").input("airlines", file(data("airlines.csv")))).await;
    let rows: Vec<Json<Value>> = rows.output("rows");
    let wanted = [
        json!({"carrier": "AA", "name": "American Airlines Inc."}),
        json!({"carrier": "UA", "name": "United Air Lines Inc."}),
    ];
    assert_eq!(rows.into_iter().map(|row| row.0).collect::<Vec<_>>(), wanted);

    let prefix = format!("{}/out", real(folder.path()));
    let written = succeed(&client, compiled("dataset").input("flights", flights()).output_prefix(&prefix)).await;
    assert_eq!(written.output::<StructuredDataset>("results").uri, format!("{prefix}/results/00000"));

    let plain = succeed(&client, compiled("plain").input("flights", flights()).input("least", 2000)).await;
    assert!(plain.output::<i64>("n") > 0);
}
