//! Batches: one for each attempt, every state, their log, their end.

use std::sync::Arc;

use agenthost::Phase;
use agenthost::contract::flyteidl::core::{
    NodeExecutionIdentifier, TaskExecutionIdentifier, WorkflowExecutionIdentifier,
};
use agenthost::testing::{Client, TestJob, TestTask};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tonic::Code;

use crate::server::{KEY, Server, Trouble};
use crate::support::{batch, both, client};

async fn created() -> (Server, Client, TestJob, String) {
    let (server, client) = both().await;
    let job = client.create(batch()).await.unwrap();
    let id = id(&job);
    (server, client, job, id)
}

fn id(job: &TestJob) -> String {
    let meta: Value = serde_json::from_slice(&job.meta).unwrap();
    meta["batch_id"].as_str().unwrap().to_string()
}

#[tokio::test]
async fn a_batch_is_created_as_flytekits_agent_creates_it() {
    let (server, _client, job, id) = created().await;
    let call = &server.calls("POST /v1/batches")[0];
    assert_eq!(call.body["input_file_id"], "file-in");
    assert_eq!(call.body["completion_window"], "24h");
    assert_eq!(call.body["endpoint"], "/v1/chat/completions");
    assert_eq!(call.body["metadata"]["team"], "search");
    assert_eq!(call.header("openai-organization"), "org-7");
    assert_eq!(call.header("authorization"), format!("Bearer {KEY}"));
    assert_eq!(call.header("idempotency-key"), call.body["metadata"]["agenthost_key"]);
    let meta: Value = serde_json::from_slice(&job.meta).unwrap();
    assert_eq!(meta, json!({"batch_id": id, "openai_org": "org-7", "account": ""}));
}

#[tokio::test]
async fn the_same_attempt_twice_is_one_batch_also_for_another_process() {
    let (server, first) = both().await;
    let second = client(&server.root, json!({})).await;
    let task = batch().idempotency_key(&"a".repeat(64));
    let one = first.create(task.clone()).await.unwrap();
    server.others(150, 0); // so that it stands on the second page
    let two = second.create(task).await.unwrap();
    assert_eq!(id(&one), id(&two));
    let other = second.create(batch().idempotency_key(&"b".repeat(64))).await.unwrap();
    assert_ne!(id(&one), id(&other));
}

#[tokio::test]
async fn the_same_attempt_at_once_is_one_batch() {
    let (server, client) = both().await;
    let task = batch().idempotency_key(&"c".repeat(64));
    let (a, b, c) = tokio::join!(client.create(task.clone()), client.create(task.clone()), client.create(task));
    assert_eq!((id(&a.unwrap()), server.batches().len()), (id(&b.unwrap()), 1));
    assert_eq!(id(&c.unwrap()), server.batches()[0]["id"].as_str().unwrap());
}

/// Flyte gives the tasks of a subworkflow that is used twice equal ids: they differ in output prefix and inputs only.
#[tokio::test]
async fn each_use_of_a_subworkflow_has_a_batch() {
    let (server, client) = both().await;
    let execution = WorkflowExecutionIdentifier { name: "f1".into(), ..Default::default() };
    let node = NodeExecutionIdentifier { node_id: "n0".into(), execution_id: Some(execution) };
    let id_of_all = TaskExecutionIdentifier { node_execution_id: Some(node), ..Default::default() };
    let mut jobs = Vec::new();
    for (prefix, input) in [
        ("s3://b/f1-n0-0-n0-0", "file-1"),
        ("s3://b/f1-n1-0-n0-0", "file-2"),
        ("s3://b/f1-n0-1-n0-0", "file-3"), // the first use, repeated
    ] {
        server.file(input, "{}");
        let task = batch().input("input_file_id", input).attempt(id_of_all.clone()).output_prefix(prefix);
        let job = client.create(task.clone()).await.unwrap();
        assert_eq!(id(&job), id(&client.create(task).await.unwrap()), "{prefix}");
        jobs.push((job, input));
    }
    jobs[0].0.delete().await.unwrap();
    for (job, input) in &jobs {
        let made = server.batches().into_iter().find(|batch| batch["id"] == id(job)).unwrap();
        let cancelled = made["status"].as_str().unwrap().starts_with("cancel");
        assert_eq!((&made["input_file_id"], cancelled), (&json!(input), *input == "file-1"));
    }
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_is_not_repeated() {
    let (server, client) = both().await;
    server.trouble(Trouble {
        call: "POST /v1/batches",
        status: 502,
        after: true,
        body: "bad gateway".into(),
        ..Default::default()
    });
    let job = client.create(batch()).await.unwrap();
    assert_eq!((server.batches().len(), id(&job)), (1, "batch_000".into()));
}

fn attempt(letter: &str) -> TestTask {
    batch().idempotency_key(&letter.repeat(64))
}

/// The codes with which find and create are refused.
async fn refusals(client: &Client, task: &TestTask) -> [Option<Code>; 2] {
    let found = client.find(task.clone()).await.err().map(|e| e.code());
    [found, client.create(task.clone()).await.err().map(|e| e.code())]
}

const ABANDONED: [Option<Code>; 2] = [Some(Code::Aborted), Some(Code::Aborted)];

#[tokio::test]
async fn an_attempts_batch_is_found_by_another_process_and_none_is_created() {
    let (server, first) = both().await;
    let second = client(&server.root, json!({})).await;
    assert_eq!(first.find(attempt("a")).await.err().unwrap().code(), Code::NotFound);
    assert!(server.batches().is_empty());
    let made = first.create(attempt("a")).await.unwrap();
    server.others(150, 0); // so that it stands on the second page
    assert_eq!(second.find(attempt("a")).await.unwrap().meta, made.meta);
    assert_eq!(server.batches().len(), 151);
}

#[tokio::test]
async fn an_abandoned_attempt_gets_no_batch_from_any_process() {
    let (server, first) = both().await;
    let second = client(&server.root, json!({})).await;
    for _ in 0..2 {
        first.abandon(attempt("a")).await.unwrap();
        assert_eq!(refusals(&first, &attempt("a")).await, ABANDONED);
        assert_eq!(refusals(&second, &attempt("a")).await, ABANDONED);
    }
    assert!(server.batches().is_empty());
    assert_eq!(server.calls("POST /v1/files").len(), 1, "one file says so");
    second.create(attempt("b")).await.unwrap();
}

#[tokio::test]
async fn the_batch_of_an_abandoned_attempt_is_cancelled() {
    let (server, first) = both().await;
    let second = client(&server.root, json!({})).await;
    first.create(attempt("a")).await.unwrap();
    second.abandon(attempt("a")).await.unwrap();
    assert_eq!(server.batches()[0]["status"], "cancelling");
    assert_eq!(refusals(&first, &attempt("a")).await, ABANDONED);
    assert_eq!(server.batches().len(), 1);
}

/// The creation has looked, and found nothing, when the other process abandons the attempt and finds no batch.
#[tokio::test]
async fn a_creation_that_the_abandonment_did_not_see_takes_its_batch_back() {
    let (server, first) = both().await;
    let second = client(&server.root, json!({})).await;
    let go_on = Arc::new(Notify::new());
    server.trouble(Trouble { call: "POST /v1/batches", until: Some(go_on.clone()), ..Default::default() });
    let creating = tokio::spawn(async move { first.create(attempt("a")).await });
    while server.calls("POST /v1/batches").is_empty() {
        tokio::task::yield_now().await;
    }
    second.abandon(attempt("a")).await.unwrap();
    assert!(server.batches().is_empty());
    go_on.notify_one();
    assert_eq!(creating.await.unwrap().err().unwrap().code(), Code::Aborted);
    assert_eq!(server.batches()[0]["status"], "cancelling");
}

#[tokio::test]
async fn a_batch_needs_no_list_of_files() {
    let (server, client) = both().await;
    for status in [403, 404, 405, 501] {
        server.trouble(Trouble { call: "GET /v1/files", status, body: "{}".into(), ..Default::default() });
    }
    client.create(attempt("a")).await.unwrap();
    client.create(attempt("b")).await.unwrap();
    assert_eq!(server.batches().len(), 2);
}

#[tokio::test]
async fn what_the_server_does_not_list_is_not_abandoned_yet() {
    let (server, client) = both().await;
    for _ in 0..6 {
        server.trouble(Trouble { call: "GET /v1/files", status: 404, body: "{}".into(), ..Default::default() });
    }
    assert_eq!(client.abandon(attempt("a")).await.err().unwrap().code(), Code::Unavailable);
}

#[tokio::test]
async fn the_search_ends_with_what_is_too_old() {
    let (server, client) = both().await;
    server.others(250, 49 * 3600);
    client.create(batch()).await.unwrap();
    assert_eq!(server.calls("GET /v1/batches").len(), 1);
}

#[tokio::test]
async fn every_state_has_its_phase() {
    let (server, _client, job, id) = created().await;
    let counts = json!({"total": 10, "completed": 4, "failed": 1});
    for (status, phase, message) in [
        ("validating", Phase::Initializing, "validating the input file"),
        ("in_progress", Phase::Running, "in_progress, 4 of 10 requests, 1 failed"),
        ("finalizing", Phase::Running, "finalizing, 4 of 10 requests, 1 failed"),
        ("cancelling", Phase::Running, "cancelling, 4 of 10 requests, 1 failed"),
        ("paused_for_maintenance", Phase::Running, "paused_for_maintenance, 4 of 10 requests, 1 failed"),
        ("completed", Phase::Succeeded, "completed, 4 of 10 requests, 1 failed"),
        (
            "expired",
            Phase::RetryableFailed,
            "expired: the completion window ended first, 4 of 10 requests, 1 failed; the answers until then are in file-out",
        ),
        ("cancelled", Phase::Aborted, "cancelled, 4 of 10 requests, 1 failed; the answers until then are in file-out"),
        ("failed", Phase::Failed, "batch_failed: the server does not say why"),
    ] {
        server.set(&id, json!({"status": status, "request_counts": counts, "output_file_id": "file-out"}));
        let result = job.get().await.unwrap();
        assert_eq!((result.phase(), result.message()), (phase, message), "{status}");
        assert_eq!(result.info()["status"], status);
    }
}

#[tokio::test]
async fn a_failed_batch_says_why_and_what_passes_may_be_repeated() {
    let (server, _client, job, id) = created().await;
    let error = |code: &str, line: Value| json!({"code": code, "message": "no good", "param": null, "line": line});
    let fail = async |errors: Vec<Value>| {
        server.set(&id, json!({"status": "failed", "errors": {"object": "list", "data": errors}}));
        let result = job.get().await.unwrap();
        (result.phase(), result.message().to_string())
    };
    let wrong = fail(vec![error("invalid_json_line", json!(3)), error("duplicate_custom_id", json!(5))]).await;
    assert_eq!(
        wrong,
        (Phase::Failed, "invalid_json_line: no good (line 3); duplicate_custom_id: no good (line 5)".into())
    );
    let full = fail(vec![error("token_limit_exceeded", Value::Null)]).await;
    assert_eq!(full, (Phase::RetryableFailed, "token_limit_exceeded: no good".into()));
    let mixed = fail(vec![error("token_limit_exceeded", Value::Null), error("invalid_json_line", json!(1))]).await;
    assert_eq!(mixed.0, Phase::Failed);
}

#[tokio::test]
async fn the_result_is_the_batch_with_its_usage_and_cost() {
    let server = Server::start().await;
    let prices = json!({"prices": {"gpt-4o": {"input": 2.5, "output": 10}, "gpt": {"input": 1}}});
    let client = client(&server.root, prices).await;
    let job = client.create(batch()).await.unwrap();
    let usage = json!({"input_tokens": 1_000_000, "output_tokens": 100_000, "total_tokens": 1_100_000});
    server.set(&id(&job), json!({"status": "completed", "created_at": 1000, "completed_at": 1090, "model": "gpt-4o-2024-08-06", "usage": usage, "output_file_id": "file-out"}));
    let result = job.get().await.unwrap();
    let agenthost::Json(batch) = result.output::<agenthost::Json<Value>>("result");
    let mut kept = server.batches()[0].clone();
    let key = kept["metadata"].as_object_mut().unwrap().remove("agenthost_key");
    assert_eq!((batch, key.is_some()), (kept, true), "all but our own key");
    let info = result.info();
    assert_eq!(
        (&info["input_tokens"], &info["output_tokens"], &info["latency_ms"]),
        (&json!(1_000_000), &json!(100_000), &json!(90_000))
    );
    assert_eq!((&info["model"], &info["cost_estimate"]), (&json!("gpt-4o-2024-08-06"), &json!(1.75)));
    assert_eq!(info["output_file_id"], "file-out");
}

#[tokio::test]
async fn deleting_cancels_and_leaves_alone_what_has_ended_or_is_unknown() {
    let (server, client, job, id) = created().await;
    job.delete().await.unwrap();
    assert_eq!(server.batches()[0]["status"], "cancelling");
    job.delete().await.unwrap();
    server.set(&id, json!({"status": "completed"}));
    job.delete().await.unwrap();
    assert_eq!(server.calls("POST /v1/batches/batch_000/cancel").len(), 1);
    client.job("openai-batch", r#"{"batch_id": "batch_999"}"#).delete().await.unwrap();
}

#[tokio::test]
async fn a_batch_that_ends_while_it_is_cancelled_is_deleted() {
    let (server, _client, job, _) = created().await;
    let refused =
        Trouble { call: "POST /v1/batches/batch_000/cancel", status: 400, body: "no".into(), ..Default::default() };
    server.trouble(refused.clone());
    assert_eq!(job.delete().await.unwrap_err().code(), Code::InvalidArgument, "it goes on");
    server.trouble(Trouble { meanwhile: Some("completed"), ..refused });
    job.delete().await.unwrap();
}

#[tokio::test]
async fn an_unknown_batch_is_not_found() {
    let (_server, client) = both().await;
    let gone = client.job("openai-batch", r#"{"batch_id": "batch_999"}"#).get().await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    assert!(
        gone.message()
            .contains("No batch found with id 'batch_999'. (HTTP 404, type invalid_request_error, request req_42)"),
        "{gone}"
    );
    let elsewhere = client.job("openai-batch", r#"{"batch_id": "../files/file-in/content"}"#).get().await.unwrap_err();
    assert_eq!(elsewhere.code(), Code::NotFound, "an id stays within the batches: {elsewhere}");
    for id in ["", ".", ".."] {
        let none = client.job("openai-batch", json!({"batch_id": id}).to_string()).get().await.unwrap_err();
        assert_eq!(none.code(), Code::InvalidArgument, "{none}");
    }
}

#[tokio::test]
async fn a_pickle_is_read_and_never_run() {
    let (server, client) = both().await;
    let gone = std::env::temp_dir().join(format!("openai-pickle-{}", std::process::id()));
    let call = format!("cos\nmkdir\n(V{}\ntR.", gone.display());
    for pickle in [
        [b"\x80\x02", call.as_bytes()].concat(), // os.mkdir(…), were it run
        b"\x80\x05\x95\x42flytekitplugins.openai.batch.connector".to_vec(), // cut off
        b"\x80\x04}(\x8c\x03jobK\x07u.".to_vec(), // {"job": 7}
    ] {
        let job = client.job("openai-batch", pickle);
        for error in [job.get().await.unwrap_err(), job.delete().await.unwrap_err()] {
            assert_eq!(error.code(), Code::InvalidArgument);
            assert!(error.message().contains("a Python pickle, but none of a batch"), "{error}");
        }
    }
    assert!(!gone.exists() && server.calls("").is_empty());
}

#[tokio::test]
async fn what_cannot_be_created_is_said_before_or_by_the_server() {
    let (server, client) = both().await;
    let with = |config: Value| batch().custom(json!({"openai_organization": null, "config": config}));
    let many: serde_json::Map<_, _> = (0..16).map(|i| (format!("k{i}"), json!("v"))).collect();
    for (config, want) in [
        (json!({"metadata": many}), "more than 15 entries of metadata"),
        (json!({"metadata": "team"}), "metadata that is no mapping: \"team\""),
        (json!({"input_file_id": "file-x"}), "has an input_file_id, which is the task's input"),
        (json!({"window": "24h"}), "invalid_parameter: POST"),
        (json!({"metadata": {"n": [9_007_199_254_740_992.0]}}), "config.metadata.n[0] is 9007199254740992"),
        (json!({"completion_window": "1h"}), "Unknown or invalid parameter: 'completion_window'"),
    ] {
        let job = client.create(with(config)).await.unwrap();
        let result = job.get().await.unwrap();
        assert_eq!(result.phase(), Phase::Failed, "an error would be repeated by Flyte");
        assert!(result.message().contains(want), "{want:?} is not in {}", result.message());
        job.delete().await.unwrap();
        assert_eq!(job.logs().await.unwrap(), Vec::<String>::new());
    }
    let missing = client.create(batch().input("input_file_id", "file-none")).await.unwrap().get().await.unwrap();
    let said = missing.message();
    assert!(said.contains("file_not_found") && said.contains("file-none"), "{said}");
    assert!(server.batches().is_empty());
}

#[tokio::test]
async fn the_log_has_what_happened_and_which_requests_failed() {
    let (server, _client, job, id) = created().await;
    server.file("file-err", concat!(
        r#"{"id":"r1","custom_id":"q-1","response":{"status_code":400,"body":{"error":{"message":"too long","code":"context_length_exceeded"}}},"error":null}"#, "\n",
        r#"{"id":"r2","custom_id":"q-2","response":null,"error":{"code":"batch_expired","message":"not in time"}}"#, "\n",
        r#"{"id":"r3","custom_id":"q-3","response":{"status_code":500,"body":"upstream died"},"error":null}"#, "\n",
        r#"{"id":"r4","custom_id":"q-4","response":{"status_code":400,"body":{"object":"error","message":"bad","code":400}}}"#, "\n",
        r#"{"id":"r5","custom_id":"q-5","response":null,"error":"cut off"}"#, "\n",
        r#"{"id":"r6","custom_id":"q-6","response":null,"error":null}"#, "\n",
    ));
    server.set(&id, json!({
        "status": "completed", "created_at": 1000, "in_progress_at": 1010, "completed_at": 1090, "error_file_id": "file-err",
        "errors": {"data": [{"code": "odd_line", "message": "skipped", "line": 7}]},
    }));
    assert_eq!(
        job.logs().await.unwrap(),
        [
            "created",
            "in progress",
            "completed",
            "odd_line: skipped (line 7)",
            "request q-1: HTTP 400: context_length_exceeded: too long",
            "request q-2: batch_expired: not in time",
            "request q-3: HTTP 500: upstream died",
            "request q-4: HTTP 400: 400: bad",
            "request q-5: cut off",
            "request q-6: the server does not say why",
        ]
    );
}
