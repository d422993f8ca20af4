//! Tasks as real flytekit compiles them, beside flytekit's own connectors on the same server.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use agenthost::Json;
use agenthost::contract::flyteidl::core::{LiteralMap, TaskTemplate};
use agenthost::testing::TestTask;
use prost::Message;
use serde_json::{Value, json};

use crate::server::KEY;
use crate::support::{both, programs};

/// Runs one of the scripts beside these tests, and returns what it prints.
fn script(name: &str, arguments: &[&str]) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flytekit").join(name);
    let output = Command::new(programs("connectors").join("python"))
        .arg(file)
        .args(arguments)
        .env("_FSEC_FLYTE_OPENAI_API_KEY", KEY)
        .stderr(Stdio::inherit())
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{name} failed");
    output.stdout
}

/// The compiled tasks, each in its folder.
fn compiled() -> &'static Path {
    static COMPILED: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, tasks) = COMPILED.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let tasks = dir.path().join("tasks");
        script("compile.py", &[tasks.to_str().unwrap()]);
        (dir, tasks)
    });
    tasks
}

/// A task that flytekit compiled, with its inputs.
pub fn task(name: &str) -> TestTask {
    let inputs = std::fs::read(compiled().join(name).join("inputs.pb")).unwrap();
    task_with(name, LiteralMap::decode(&*inputs).unwrap())
}

/// A task that flytekit compiled, with other inputs.
pub fn task_with(name: &str, inputs: LiteralMap) -> TestTask {
    let template = std::fs::read(compiled().join(name).join("template.pb")).unwrap();
    TestTask::of(TaskTemplate::decode(&*template).unwrap(), inputs)
}

#[tokio::test]
async fn flytekits_chat_task_runs_unchanged() {
    let (server, client) = both().await;
    let result = client.execute(task("chat")).await.unwrap();
    assert_eq!(result.output::<String>("o0"), "user: hello");
    let call = &server.calls("POST /v1/chat/completions")[0];
    assert_eq!(call.header("openai-organization"), "org-7");
    let asked = json!({
        "model": "gpt-4o", "max_tokens": 64, "temperature": 0.25, "logit_bias": {"50256": -100},
        "messages": [{"role": "user", "content": "hello"}],
    });
    assert_eq!(call.body, asked, "whole numbers stay whole");
}

#[tokio::test]
async fn flytekits_batch_tasks_run_unchanged() {
    let (server, client) = both().await;
    client.create(task("batch")).await.unwrap();
    client.create(task("batch_plain")).await.unwrap();
    let bodies: Vec<_> = server.calls("POST /v1/batches").into_iter().map(|call| call.body).collect();
    assert_eq!((&bodies[0]["endpoint"], &bodies[0]["metadata"]["team"]), (&json!("/v1/embeddings"), &json!("search")));
    assert_eq!(
        (&bodies[1]["endpoint"], &bodies[1]["completion_window"]),
        (&json!("/v1/chat/completions"), &json!("24h"))
    );
}

#[tokio::test]
async fn both_connectors_say_the_same() {
    let (server, client) = both().await;
    let chat = client.execute(task("chat")).await.unwrap();
    let job = client.create(task("batch")).await.unwrap();
    let counts = json!({"total": 3, "completed": 3, "failed": 0});
    server.set("batch_000", json!({"status": "completed", "output_file_id": "file-out", "request_counts": counts}));
    let batch = job.get().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let literals = dir.path().join("outputs.pb");
    std::fs::write(&literals, batch.0.outputs.clone().unwrap().encode_to_vec()).unwrap();
    let (root, tasks) = (server.root.clone(), compiled().to_str().unwrap());
    let printed =
        tokio::task::spawn_blocking(move || script("connector.py", &[&root, tasks, literals.to_str().unwrap()]));
    let theirs: Value = serde_json::from_slice(&printed.await.unwrap()).unwrap();

    assert_eq!(theirs["chat"], json!({"phase": chat.phase() as i32, "outputs": {"o0": chat.output::<String>("o0")}}));
    assert_eq!(theirs["batch"]["phase"], batch.phase() as i32);
    let mut flytekits = theirs["batch"]["result"].clone();
    flytekits["metadata"].as_object_mut().unwrap().remove("agenthost_key"); // which its own batches do not have
    assert_eq!(flytekits, theirs["ours"], "the same batch comes out as the same Python value");
    let [ours, flytekits] = [0, 1].map(|i| {
        let mut body = server.calls("POST /v1/batches")[i].body.clone();
        body["metadata"].as_object_mut().unwrap().remove("agenthost_key");
        body
    });
    assert_eq!(ours, flytekits, "the same task orders the same batch, but for our key");
    let [ours, flytekits] = [0, 1].map(|i| server.calls("POST /v1/chat/completions")[i].body.clone());
    assert_eq!(ours["messages"], flytekits["messages"]);
    // On its way a task's whole numbers become floats, which flytekit's connector sends as they are: 64.0, which servers refuse.
    assert_eq!((&ours["max_tokens"], flytekits["max_tokens"].as_f64()), (&json!(64), Some(64.0)));

    let meta = theirs["meta"].as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8);
    let taken_over = client.job("openai-batch", meta.collect::<Vec<_>>());
    server.set("batch_001", json!({"status": "completed"}));
    let Json(batch) = taken_over.get().await.unwrap().output::<Json<Value>>("result");
    assert_eq!(batch["id"], theirs["created"]);
    assert_eq!(server.calls("GET /v1/batches/batch_001")[0].header("openai-organization"), "org-7");
}
