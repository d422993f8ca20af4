//! Chats and embeddings: what is asked, what comes of it, and calls that fail.

use std::time::{Duration, Instant};

use agenthost::Phase;
use agenthost::testing::TestTask;
use serde_json::{Value, json};
use tonic::Code;

use crate::server::{KEY, OTHER_KEY, Server, Trouble};
use crate::support::{both, chat, client};

#[tokio::test]
async fn the_answer_is_the_output_and_its_use_is_in_the_info() {
    let server = Server::start().await;
    let client = client(&server.root, json!({"prices": {"gpt-4o": {"input": 2, "output": 10}}})).await;
    let result = client.execute(chat("hello").idempotency_key("k1")).await.unwrap();
    assert_eq!((result.phase(), result.output::<String>("o0").as_str()), (Phase::Succeeded, "user: hello"));
    let mut info = result.info();
    assert!(info["latency_ms"].take().is_number());
    assert_eq!(
        info,
        json!({
            "model": "gpt-4o-2024-08-06", "input_tokens": 1000, "output_tokens": 200, "total_tokens": 1200, "cost_estimate": 0.004,
            "finish_reason": "stop", "request_id": "req_42", "latency_ms": null,
        })
    );
    let call = &server.calls("POST /v1/chat/completions")[0];
    assert_eq!(
        call.body,
        json!({"model": "gpt-4o", "temperature": 0.5, "messages": [{"role": "user", "content": "hello"}]})
    );
    assert_eq!((call.header("idempotency-key"), call.header("openai-organization")), ("k1", ""));
}

#[tokio::test]
async fn messages_of_the_config_come_first() {
    let (_server, client) = both().await;
    let custom = json!({"openai_organization": null, "chatgpt_config": {"model": "m", "messages": [{"role": "system", "content": "be brief"}]}});
    let result = client.execute(chat("hello").custom(custom)).await.unwrap();
    assert_eq!(result.output::<String>("o0"), "system: be brief\nuser: hello");
}

#[tokio::test]
async fn a_task_that_makes_no_sense_is_refused_before_it_is_sent() {
    let (server, client) = both().await;
    for (config, want) in [
        (json!({}), "needs a model, by name"),
        (json!({"model": "m", "stream": true}), "asks for a stream"),
        (json!({"model": "m", "messages": "hi"}), "has messages that are no list"),
    ] {
        let error = client.execute(chat("hello").custom(json!({"chatgpt_config": config}))).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains(want), "{want:?} is not in {error}");
    }
    assert!(server.calls("").is_empty());
}

fn said(content: Value, refusal: Value, finish: &str) -> Trouble {
    let choice = json!({"message": {"content": content, "refusal": refusal}, "finish_reason": finish});
    Trouble { call: "POST", status: 200, body: json!({"choices": [choice]}).to_string(), ..Default::default() }
}

#[tokio::test]
async fn an_answer_without_text_fails_and_a_short_one_is_named() {
    let (server, client) = both().await;
    server.trouble(said(Value::Null, "I must not.".into(), "stop"));
    server.trouble(said(Value::Null, Value::Null, "tool_calls"));
    server.trouble(said("once upon".into(), Value::Null, "length"));
    let mut results = Vec::new();
    for _ in 0..3 {
        let result = client.execute(chat("tell")).await.unwrap();
        results.push((result.phase(), result.message().to_string()));
    }
    assert_eq!(
        results,
        [
            (Phase::Failed, "refusal: the model refuses: I must not.".into()),
            (Phase::Failed, "no_text: the answer has no text (finish_reason \"tool_calls\")".into()),
            (Phase::Succeeded, "the model's answer was cut off at the most tokens that it may have".into()),
        ]
    );
}

fn error(status: u16, code: &str) -> Trouble {
    let body =
        json!({"error": {"message": "no good", "type": "some_type", "param": "model", "code": code}}).to_string();
    Trouble { call: "POST", status, body, ..Default::default() }
}

#[tokio::test]
async fn what_passes_is_repeated_and_then_retryable() {
    let (server, client) = both().await;
    server.trouble(error(503, "overloaded"));
    server.trouble(error(429, "rate_limit_exceeded"));
    assert_eq!(client.execute(chat("hello")).await.unwrap().phase(), Phase::Succeeded);
    for _ in 0..3 {
        server.trouble(error(429, "rate_limit_exceeded"));
    }
    let result = client.execute(chat("hello")).await.unwrap();
    assert_eq!(result.phase(), Phase::RetryableFailed);
    let want = format!(
        "rate_limit_exceeded: POST {}/chat/completions: no good (HTTP 429, type some_type, param model, request req_42)",
        server.root
    );
    assert_eq!(result.message(), want);
    assert_eq!(server.calls("POST").len(), 6);
}

#[tokio::test]
async fn what_does_not_pass_is_not_repeated() {
    let (server, client) = both().await;
    let told = Trouble { headers: vec![("x-should-retry", "false".into())], ..error(500, "server_error") };
    for (trouble, code) in [
        (error(400, "context_length_exceeded"), "context_length_exceeded"),
        (error(404, "model_not_found"), "model_not_found"),
        (error(429, "insufficient_quota"), "insufficient_quota"),
        (told, "server_error"),
        (
            Trouble {
                call: "POST",
                status: 301,
                headers: vec![("location", "http://127.0.0.1:9/".into())],
                ..Default::default()
            },
            "http_301",
        ),
        (Trouble { call: "POST", status: 200, body: "<html>".into(), ..Default::default() }, "unexpected_answer"),
    ] {
        let before = server.calls("POST").len();
        server.trouble(trouble);
        let result = client.execute(chat("hello")).await.unwrap();
        assert_eq!((result.phase(), server.calls("POST").len()), (Phase::Failed, before + 1), "{code}");
        assert!(result.message().starts_with(code), "{}", result.message());
    }
}

#[tokio::test]
async fn the_server_says_how_long_to_wait() {
    let (server, client) = both().await;
    server.trouble(Trouble { headers: vec![("retry-after", "1".into())], ..error(429, "slow_down") });
    let began = Instant::now();
    assert_eq!(client.execute(chat("hello")).await.unwrap().phase(), Phase::Succeeded);
    assert!(began.elapsed() >= Duration::from_secs(1));
    server.trouble(Trouble { headers: vec![("retry-after", "3600".into())], ..error(429, "slow_down") });
    let result = client.execute(chat("hello")).await.unwrap();
    assert_eq!((result.phase(), server.calls("POST").len()), (Phase::RetryableFailed, 3), "an hour is not waited for");
}

#[tokio::test]
async fn a_server_that_is_silent_or_gone_is_a_passing_fault() {
    let server = Server::start().await;
    let impatient = client(&server.root, json!({"call_timeout": "100ms", "retry": {"attempts": 1}})).await;
    server.trouble(Trouble { call: "POST", pause: Duration::from_secs(20), ..Default::default() });
    let silent = impatient.execute(chat("hello")).await.unwrap();
    assert_eq!(silent.phase(), Phase::RetryableFailed);
    assert!(silent.message().starts_with("timeout: POST http"), "{}", silent.message());
    let gone = client("http://127.0.0.1:9/v1", json!({})).await.execute(chat("hello")).await.unwrap();
    assert_eq!(gone.phase(), Phase::RetryableFailed);
    assert!(
        gone.message().starts_with("connection_error: POST http://127.0.0.1:9/v1/chat/completions"),
        "{}",
        gone.message()
    );
}

#[tokio::test]
async fn projects_and_domains_have_accounts_of_their_own() {
    let server = Server::start().await;
    let accounts = json!({"organization": "org-common", "accounts": [
        {"name": "research", "project": "research", "domain": "production", "organization": "org-research", "openai_project": "proj-1"},
        {"name": "production", "domain": "production", "secret": "production_key"},
    ]});
    let client = client(&server.root, accounts).await;
    for (project, domain) in [("research", "production"), ("sales", "production"), ("sales", "staging")] {
        client.execute(chat("hello").execution(project, domain)).await.unwrap();
    }
    let own = chat("hello").custom(json!({"openai_organization": "org-task", "chatgpt_config": {"model": "m"}}));
    client.execute(own.execution("research", "production")).await.unwrap();
    let who = |call: &crate::server::Call| {
        ["authorization", "openai-organization", "openai-project"].map(|name| call.header(name).replace("Bearer ", ""))
    };
    let calls: Vec<_> = server.calls("POST").iter().map(who).collect();
    assert_eq!(
        calls,
        [
            [KEY, "org-research", "proj-1"],
            [OTHER_KEY, "org-common", ""],
            [KEY, "org-common", ""],
            [KEY, "org-task", "proj-1"],
        ]
    );
}

#[tokio::test]
async fn a_key_is_never_told_even_where_the_server_tells_it() {
    let server = Server::start().await;
    let client =
        client(&server.root, json!({"accounts": [{"name": "wrong", "domain": "wrong", "secret": "wrong_key"}]})).await;
    let result = client.execute(chat("hello").execution("p", "wrong")).await.unwrap();
    assert_eq!(result.phase(), Phase::Failed);
    assert!(result.message().starts_with("invalid_api_key"), "{}", result.message());
    assert!(result.message().contains("Incorrect API key provided: [secret]."), "{}", result.message());
    assert!(!format!("{result:?}").contains("5Tz8"));
    let error = client.create(crate::support::batch().execution("p", "wrong")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    assert!(!format!("{error:?}").contains("5Tz8"), "{error:?}");
    let job = client.create(crate::support::batch()).await.unwrap();
    assert!(!String::from_utf8(job.meta).unwrap().contains(KEY));
}

#[tokio::test]
async fn a_server_without_keys_gets_none() {
    let server = Server::start().await;
    let client = client(&server.root, json!({"anonymous": true})).await;
    client.execute(chat("hello")).await.unwrap();
    assert_eq!(server.calls("POST")[0].header("authorization"), "");
}

#[tokio::test]
async fn a_server_is_trusted_by_its_certificate() {
    let (server, pem) = Server::start_with_tls().await;
    let stranger = client(&server.root, json!({"retry": {"attempts": 1}})).await;
    let refused = stranger.execute(chat("hello")).await.unwrap();
    assert_eq!((refused.phase(), server.calls("").len()), (Phase::RetryableFailed, 0));
    assert!(refused.message().contains("certificate"), "{}", refused.message());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    let friend = client(&server.root, json!({"ca_file": file.path()})).await;
    assert_eq!(friend.execute(chat("hello")).await.unwrap().phase(), Phase::Succeeded);
}

fn embeddings() -> TestTask {
    TestTask::new("openai-embeddings").custom(json!({"embeddings_config": {"model": "small", "dimensions": 2}}))
}

#[tokio::test]
async fn a_text_has_an_embedding_and_texts_have_theirs_in_order() {
    let (server, client) = both().await;
    let one = client.execute(embeddings().input("text", "abc")).await.unwrap();
    assert_eq!(one.output::<Vec<f64>>("embedding"), [3.0, 0.5]);
    let texts: Vec<String> = (0..3000).map(|i| "x".repeat(i % 7)).collect();
    let many = client.execute(embeddings().input("texts", texts.clone())).await.unwrap();
    let vectors = many.output::<Vec<Vec<f64>>>("embeddings");
    assert!(vectors.iter().zip(&texts).all(|(vector, text)| vector[0] == text.len() as f64));
    assert_eq!(
        (vectors.len(), &many.info()["input_tokens"], &many.info()["texts"]),
        (3000, &json!(3000), &json!(3000))
    );
    let calls = server.calls("POST /v1/embeddings");
    let sizes: Vec<_> = calls.iter().map(|call| call.body["input"].as_array().unwrap().len()).collect();
    assert_eq!(
        (sizes, &calls[0].body["dimensions"], &calls[0].body["encoding_format"]),
        (vec![1, 2048, 952], &json!(2), &json!("float"))
    );
    let keys: std::collections::BTreeSet<_> = calls.iter().map(|call| call.header("idempotency-key")).collect();
    assert_eq!(keys.len(), 3, "different calls have different keys");
    let none = client.execute(embeddings().input("texts", Vec::<String>::new())).await.unwrap();
    assert_eq!((none.output::<Vec<Vec<f64>>>("embeddings").len(), server.calls("POST").len()), (0, 3));
}

#[tokio::test]
async fn embeddings_that_are_not_all_there_fail() {
    let (server, client) = both().await;
    for (data, want) in [
        (json!([{"index": 1, "embedding": [1]}]), "there is no vector for text 0"),
        (json!([{"index": 0, "embedding": [1]}, {"index": 9, "embedding": [1]}]), "there is a vector 9 for 2 texts"),
        (json!([{"index": 0, "embedding": "AACAPw=="}]), "a vector is no list of numbers"),
        (Value::Null, "the answer has no data"),
    ] {
        server.trouble(Trouble {
            call: "POST",
            status: 200,
            body: json!({"data": data}).to_string(),
            ..Default::default()
        });
        let result = client.execute(embeddings().input("texts", vec!["a".to_string(), "b".to_string()])).await.unwrap();
        assert_eq!(result.phase(), Phase::Failed);
        assert!(result.message().contains(want), "{want:?} is not in {}", result.message());
    }
    let neither = client.execute(embeddings()).await.unwrap_err();
    assert!(neither.message().contains("one of the inputs"), "{neither}");
}
