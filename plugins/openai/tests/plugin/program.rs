//! The plugin as the program that it is.

use std::fs::File;
use std::process::Command;

use agenthost::Phase;
use agenthost::testing::{Client, command};
use serde_json::{Value, json};

use crate::server::{KEY, OTHER_KEY, Server, Trouble};
use crate::support::{batch, chat, config};

/// Starts the program with its secrets, everything of its log going to a file.
async fn started(server: &Server, log: &File) -> Client {
    let mut program = Command::new(env!("CARGO_BIN_EXE_openai"));
    program
        .env("_FSEC_FLYTE_OPENAI_API_KEY", KEY)
        .env("_FSEC_PRODUCTION_KEY", OTHER_KEY)
        .env("_FSEC_WRONG_KEY", "sk-wrong-5Tz8");
    program.env("RUST_LOG", "trace").stderr(log.try_clone().unwrap());
    let client = command(program).await;
    let accounts = json!({"accounts": [
        {"name": "wrong", "domain": "wrong", "secret": "wrong_key"},
        {"name": "production", "domain": "production", "secret": "production_key"},
    ]});
    assert_eq!(client.configure(config(&server.root, accounts)).await.unwrap(), []);
    client
}

#[tokio::test]
async fn a_batch_outlives_the_process_that_created_it() {
    let (server, log) = (Server::start().await, tempfile::tempfile().unwrap());
    let first = started(&server, &log).await;
    let task = batch().execution("p", "production").idempotency_key(&"d".repeat(64));
    let job = first.create(task.clone()).await.unwrap();
    drop(first); // killed
    let second = started(&server, &log).await;
    assert_eq!(second.create(task).await.unwrap().meta, job.meta);
    server.set("batch_000", json!({"status": "completed"}));
    let result = second.job("openai-batch", job.meta).get().await.unwrap();
    assert_eq!((result.phase(), server.batches().len()), (Phase::Succeeded, 1));
    let last = server.calls("GET /v1/batches/batch_000").pop().unwrap();
    assert_eq!(last.header("authorization"), format!("Bearer {OTHER_KEY}"), "the job remembers its account");
    second.stop().await;
}

#[tokio::test]
async fn the_log_has_faults_and_no_keys() {
    let server = Server::start().await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let client = started(&server, log.as_file()).await;
    let told = json!({"error": {"message": format!("{KEY} calls too often"), "code": "slow_down"}}).to_string();
    server.trouble(Trouble { call: "POST", status: 429, body: told, ..Default::default() });
    assert_eq!(client.execute(chat("hello")).await.unwrap().phase(), Phase::Succeeded);
    assert_eq!(client.execute(chat("hello").execution("p", "wrong")).await.unwrap().phase(), Phase::Failed);
    client.create(batch().execution("p", "wrong")).await.unwrap_err();
    client.stop().await;
    let written = std::fs::read_to_string(log.path()).unwrap();
    let again = written.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let again = again.filter(|line| line["@message"].as_str().unwrap_or_default().contains("[secret] calls too often"));
    assert_eq!(again.count(), 1, "{written}");
    for key in [KEY, OTHER_KEY, "sk-wrong-5Tz8"] {
        assert!(!written.contains(key), "{key} is in {written}");
    }
}
