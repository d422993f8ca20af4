//! What the tests share: a configured plugin, and tasks for it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;

use agenthost::testing::{Client, TestTask, run};
use serde_json::{Value, json};

use crate::server::{KEY, OTHER_KEY, Server};

/// Gives this process the secrets, as the host gives them to the program.
fn secrets() {
    static ONCE: Once = Once::new();
    // SAFETY: it happens once, before any plugin of this process is there, and the standard library guards its own reads.
    ONCE.call_once(|| unsafe {
        std::env::set_var("_FSEC_FLYTE_OPENAI_API_KEY", KEY);
        std::env::set_var("_FSEC_PRODUCTION_KEY", OTHER_KEY);
        std::env::set_var("_FSEC_WRONG_KEY", "sk-wrong-5Tz8");
    });
}

/// A plugin in this process, with a configuration for the server.
pub async fn client(root: &str, more: Value) -> Client {
    secrets();
    let client = run(openai::plugin()).await;
    assert_eq!(client.configure(config(root, more)).await.unwrap(), []);
    client
}

/// A configuration with short pauses.
pub fn config(root: &str, more: Value) -> Value {
    let mut config = json!({"base_url": root, "retry": {"attempts": 3, "first_pause": "1ms", "longest_pause": "2s"}});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

/// A server, and a plugin for it.
pub async fn both() -> (Server, Client) {
    let server = Server::start().await;
    let client = client(&server.root, json!({})).await;
    (server, client)
}

pub fn chat(message: &str) -> TestTask {
    let custom = json!({"openai_organization": null, "chatgpt_config": {"model": "gpt-4o", "temperature": 0.5}});
    TestTask::new("chatgpt").custom(custom).input("message", message).output_like("o0", "")
}

pub fn batch() -> TestTask {
    TestTask::new("openai-batch")
        .custom(json!({"openai_organization": "org-7", "config": {"metadata": {"team": "search"}}}))
        .input("input_file_id", "file-in")
}

/// The programs of a virtual environment, which is made where it is not there.
pub fn programs(venv: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/venv");
    let output = Command::new(script).arg(venv).stderr(Stdio::inherit()).output().expect("scripts/venv runs");
    assert!(output.status.success(), "scripts/venv {venv} failed");
    String::from_utf8(output.stdout).unwrap().trim().into()
}
