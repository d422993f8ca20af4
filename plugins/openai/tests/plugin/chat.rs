//! Chats and embeddings: what is asked, what comes of it, and calls that fail.

use std::time::{Duration, Instant};

use agenthost::Phase;
use agenthost::testing::{Client, TestTask};
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
        (json!({"model": "m", "seed": (1_u64 << 60) as f64}), "chatgpt_config.seed is"),
        (
            json!({"model": "m", "stop": [{"at": 9_007_199_254_740_992.0}]}),
            "chatgpt_config.stop[0].at is 9007199254740992",
        ),
    ] {
        let result = client.execute(chat("hello").custom(json!({"chatgpt_config": config}))).await.unwrap();
        assert_eq!(result.phase(), Phase::Failed, "{config}");
        assert!(result.message().contains(want), "{want:?} is not in {}", result.message());
    }
    assert!(server.calls("").is_empty());
}

/// Lets the server answer with a body of one's own, and the status of success.
fn answers(server: &Server, body: Value) {
    server.trouble(Trouble { call: "POST", status: 200, body: body.to_string(), ..Default::default() });
}

/// How a chat ends whose answer has this message and reason for its end: with its text and what is said of it.
async fn ended(server: &Server, client: &Client, message: Value, finish: Value) -> (Phase, Option<String>, String) {
    answers(server, json!({"choices": [{"message": message, "finish_reason": finish}]}));
    let result = client.execute(chat("tell")).await.unwrap();
    let text = (result.phase() == Phase::Succeeded).then(|| result.output("o0"));
    (result.phase(), text, result.message().to_string())
}

#[tokio::test]
async fn a_text_comes_out_as_it_is() {
    let (server, client) = both().await;
    let cut = "the model's answer was cut off at the most tokens that it may have";
    let part = |kind: &str, text: &str| json!({"type": kind, "text": text});
    for (message, finish, text, note) in [
        (json!({"content": "Paris"}), json!("stop"), "Paris", ""),
        (
            json!({"content": " \u{0}\u{2028}\u{1F600}\n", "refusal": null}),
            json!("stop"),
            " \u{0}\u{2028}\u{1F600}\n",
            "",
        ),
        (json!({"content": "Paris", "refusal": "", "tool_calls": []}), Value::Null, "Paris", ""),
        (json!({"content": "Paris", "reasoning_content": "France? Its capital."}), json!("stop"), "Paris", ""),
        (
            json!({"content": [part("text", "Pa"), part("text", ""), part("output_text", "ris")]}),
            json!("stop"),
            "Paris",
            "",
        ),
        (json!({"content": ["Pa", {"text": "ris"}]}), json!("stop"), "Paris", ""),
        (
            json!({"content": [{"type": "thinking", "thinking": [part("text", "France?")]}, part("text", "Paris")]}),
            json!("stop"),
            "Paris",
            "",
        ),
        (json!({"content": ""}), json!("stop"), "", "the model's answer is empty"),
        (json!({"content": "once upon"}), json!("length"), "once upon", cut),
        (json!({"content": "once upon"}), json!("max_tokens"), "once upon", cut),
    ] {
        let got = ended(&server, &client, message.clone(), finish).await;
        assert_eq!(got, (Phase::Succeeded, Some(text.to_string()), note.to_string()), "{message}");
    }
}

#[tokio::test]
async fn an_answer_without_its_text_fails_and_says_why() {
    let (server, client) = both().await;
    let call = json!([{"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]);
    for (message, finish, want) in [
        (json!({"content": null, "refusal": "I must not."}), json!("stop"), "refusal: the model refuses: I must not."),
        (
            json!({"content": "Well,", "refusal": "I must not."}),
            json!("stop"),
            "refusal: the model refuses: I must not.",
        ),
        (json!({"content": [{"type": "refusal", "refusal": "No."}]}), json!("stop"), "refusal: the model refuses: No."),
        (json!({"content": null}), json!("stop"), "no_text: the answer has no text (finish_reason \"stop\")"),
        (json!({}), Value::Null, "no_text: the answer has no text (finish_reason \"\")"),
        (json!({"content": []}), json!("stop"), "no_text: the answer has no text (finish_reason \"stop\")"),
        (
            json!({"content": "", "reasoning_content": "Hm."}),
            json!("stop"),
            "no_text: the answer has reasoning and no text (finish_reason \"stop\")",
        ),
        (
            json!({"content": null, "reasoning": "Hm."}),
            json!("stop"),
            "no_text: the answer has reasoning and no text (finish_reason \"stop\")",
        ),
        (
            json!({"content": [{"type": "thinking", "thinking": "Hm."}]}),
            json!("stop"),
            "no_text: the answer has reasoning and no text (finish_reason \"stop\")",
        ),
        (
            json!({"content": "", "reasoning_content": "Hm."}),
            json!("length"),
            "no_text: the most tokens that the answer may have ended it before its text began (finish_reason \"length\")",
        ),
        (
            json!({"content": null}),
            json!("tool_calls"),
            "no_text: the answer calls tools, which no task does (finish_reason \"tool_calls\")",
        ),
        (
            json!({"content": null, "tool_calls": call}),
            json!("stop"),
            "no_text: the answer calls weather, which no task does (finish_reason \"stop\")",
        ),
        (
            json!({"content": "Let me see.", "tool_calls": call}),
            json!("tool_calls"),
            "no_text: the answer calls weather, which no task does (finish_reason \"tool_calls\")",
        ),
        (
            json!({"function_call": {"name": "f"}}),
            json!("function_call"),
            "no_text: the answer calls f, which no task does (finish_reason \"function_call\")",
        ),
        (
            json!({"content": ""}),
            json!("content_filter"),
            "content_filter: the server's filter keeps back the answer (finish_reason \"content_filter\")",
        ),
        (
            json!({"content": "once"}),
            json!("content_filter"),
            "content_filter: the server's filter keeps back a part of the answer (finish_reason \"content_filter\")",
        ),
        (
            json!({"content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:"}}]}),
            json!("stop"),
            "unexpected_answer: part 1 of the answer's content is \"image_url\", which is no text",
        ),
        (
            json!({"content": {"text": "Paris"}}),
            json!("stop"),
            "unexpected_answer: the answer's content is neither a text nor a list of parts",
        ),
    ] {
        let got = ended(&server, &client, message.clone(), finish).await;
        assert_eq!(got, (Phase::Failed, None, want.to_string()), "{message}");
    }
    let broken = ended(&server, &client, json!({"content": "once"}), json!("error")).await;
    assert_eq!((broken.0, broken.1), (Phase::RetryableFailed, None));
}

#[tokio::test]
async fn only_reasoning_is_no_text_also_where_its_tokens_alone_tell_of_it() {
    let (server, client) = both().await;
    let choice = json!({"message": {"content": ""}, "finish_reason": "stop"});
    let usage = json!({"completion_tokens": 64, "completion_tokens_details": {"reasoning_tokens": 64}});
    answers(&server, json!({"choices": [choice], "usage": usage}));
    let result = client.execute(chat("tell")).await.unwrap();
    assert_eq!(result.phase(), Phase::Failed);
    assert!(result.message().contains("reasoning and no text"), "{}", result.message());
}

#[tokio::test]
async fn the_first_of_several_choices_counts_and_the_others_are_told_of() {
    let (server, client) = both().await;
    let choice =
        |index: u64, text: &str| json!({"index": index, "message": {"content": text}, "finish_reason": "stop"});
    answers(&server, json!({"choices": [choice(1, "Lyon"), choice(0, "Paris"), choice(2, "Nice")]}));
    let result = client.execute(chat("tell")).await.unwrap();
    assert_eq!((result.output::<String>("o0").as_str(), result.message()), ("Paris", "of 3 choices the first counts"));
}

#[tokio::test]
async fn an_error_with_the_status_of_success_fails_with_the_servers_words() {
    let (server, client) = both().await;
    let broken = json!({"message": {"content": "once"}, "finish_reason": "error", "error": {"code": 502, "message": "upstream died"}});
    for (body, phase, calls, want) in [
        (
            json!({"error": {"message": "no such model", "type": "invalid_request_error", "code": "model_not_found"}}),
            Phase::Failed,
            1,
            "model_not_found: POST",
        ),
        (json!({"error": {"message": "no such model", "code": 404}}), Phase::Failed, 1, "no such model (HTTP 200"),
        (json!({"error": "out of tokens"}), Phase::Failed, 1, "out of tokens"),
        (
            json!({"object": "error", "message": "bad temperature", "type": "BadRequestError", "code": 400}),
            Phase::Failed,
            1,
            "bad temperature",
        ),
        (
            json!({"error": {"message": "is loading", "type": "server_error", "code": 503}}),
            Phase::RetryableFailed,
            3,
            "is loading",
        ),
        (
            json!({"error": {"message": "too many", "code": "rate_limit_exceeded"}}),
            Phase::RetryableFailed,
            3,
            "too many",
        ),
        (json!({"error": {"message": format!("the key {KEY} is new")}}), Phase::Failed, 1, "the key [secret] is new"),
        (json!({"choices": [broken]}), Phase::RetryableFailed, 1, "upstream died"),
        (json!({"choices": []}), Phase::Failed, 1, "the answer has no choices"),
        (json!({"detail": "Not here"}), Phase::Failed, 1, "{\"detail\":\"Not here\"}"),
    ] {
        let before = server.calls("POST").len();
        for _ in 0..calls {
            answers(&server, body.clone());
        }
        let result = client.execute(chat("tell")).await.unwrap();
        assert_eq!((result.phase(), server.calls("POST").len() - before), (phase, calls), "{body}");
        assert!(result.message().contains(want), "{want:?} is not in {}", result.message());
    }
    answers(&server, json!({"error": {"message": "no such file", "code": "file_not_found"}}));
    let refused = client.create(crate::support::batch()).await.unwrap_err();
    assert!(refused.message().contains("file_not_found: ") && refused.message().contains("no such file"), "{refused}");
    let told = json!({"error": {"message": "no such file", "code": 400}});
    answers(&server, told);
    let failed = client.create(crate::support::batch()).await.unwrap().get().await.unwrap();
    assert_eq!(
        (failed.phase(), failed.message().contains("no such file")),
        (Phase::Failed, true),
        "{}",
        failed.message()
    );
    let fine =
        json!({"error": null, "choices": [{"error": null, "message": {"content": "Paris"}, "finish_reason": "stop"}]});
    answers(&server, fine);
    assert_eq!(client.execute(chat("tell")).await.unwrap().output::<String>("o0"), "Paris");
}

#[tokio::test]
async fn numbers_keep_their_digits_or_are_refused() {
    let (server, client) = both().await;
    let choice = json!({"message": {"content": "\\\"18446744073709551616"}, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": u64::MAX, "completion_tokens": 9_007_199_254_740_993_u64});
    answers(&server, json!({"choices": [choice], "usage": usage}));
    let info = client.execute(chat("tell")).await.unwrap().info();
    assert_eq!(
        (&info["input_tokens"], &info["output_tokens"]),
        (&json!("18446744073709551615"), &json!("9007199254740993"))
    );
    let body = r#"{"choices": [], "usage": {"total_tokens": -9223372036854775809}}"#;
    server.trouble(Trouble { call: "POST", status: 200, body: body.into(), ..Default::default() });
    let refused = client.execute(chat("tell")).await.unwrap();
    assert_eq!(refused.phase(), Phase::Failed);
    assert!(
        refused.message().contains("the number -9223372036854775809, which 64 bits do not hold"),
        "{}",
        refused.message()
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
    assert_eq!((refused.phase(), server.calls("").len()), (Phase::Failed, 0), "it will have no other certificate");
    assert!(refused.message().starts_with("untrusted_certificate: "), "{}", refused.message());
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

/// The bytes of floats as servers send them that were asked for base64.
fn base64(floats: &[f32]) -> String {
    use base64::Engine;
    let bytes: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test]
async fn embeddings_are_the_numbers_that_the_server_sent() {
    let (server, client) = both().await;
    // The first is one that a careless parser misses by its last digit.
    let numbers = [31.245270191439438, -0.0, 5e-324, 0.1, f64::MAX, -1.5, 9_007_199_254_740_992.0];
    answers(&server, json!({"data": [{"index": 0, "embedding": numbers}]}));
    let got = client.execute(embeddings().input("text", "a")).await.unwrap().output::<Vec<f64>>("embedding");
    assert_eq!(got.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), numbers.map(f64::to_bits));
    let floats = [0.1_f32, -0.0, f32::MIN_POSITIVE / 2.0];
    answers(&server, json!({"data": [{"embedding": base64(&floats)}]}));
    let got = client.execute(embeddings().input("text", "a")).await.unwrap().output::<Vec<f64>>("embedding");
    assert_eq!(got.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), floats.map(|x| f64::from(x).to_bits()));
}

#[tokio::test]
async fn embeddings_that_are_not_all_there_fail() {
    let (server, client) = both().await;
    for (data, want) in [
        (json!([{"index": 1, "embedding": [1]}]), "there is no vector for text 0"),
        (json!([{"index": 0, "embedding": [1]}, {"index": 9, "embedding": [1]}]), "there is a vector 9 for 2 texts"),
        (json!([{"index": -1, "embedding": [1]}, {"index": 1, "embedding": [1]}]), "there is a vector -1"),
        (json!([{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [2]}]), "there are two vectors 0"),
        (json!([{"embedding": [1]}, {"embedding": [1, 2]}]), "vector 1 has 2 numbers, and vector 0 has 1"),
        (json!([{"embedding": []}, {"embedding": []}]), "vector 0 has no numbers"),
        (json!([{"embedding": [1, null]}]), "vector 0 has null at 1, which is no float"),
        (json!([{"embedding": [1, "NaN"]}]), "vector 0 has \"NaN\" at 1, which is no float"),
        (json!([{"embedding": [9_007_199_254_740_993_i64]}]), "vector 0 has 9007199254740993 at 0, which is no float"),
        (json!([{"embedding": [u64::MAX]}]), "vector 0 has 18446744073709551615 at 0, which is no float"),
        (json!([{"embedding": [[1]]}]), "vector 0 has [1] at 0, which is no float"),
        (json!([{"embedding": {"float": [1]}}]), "vector 0 is no list of numbers"),
        (json!([{"embedding": base64(&[1.0, f32::NAN])}]), "vector 0 has NaN at 1"),
        (json!([{"embedding": base64(&[f32::INFINITY])}]), "vector 0 has inf at 0"),
        (json!([{"embedding": "AACAPwA="}]), "vector 0 has 5 bytes, which are no 32-bit floats"),
        (json!([{"embedding": "?"}]), "vector 0 is text, but no base64"),
        (Value::Null, "the answer has no data"),
    ] {
        answers(&server, json!({"data": data}));
        let result = client.execute(embeddings().input("texts", vec!["a".to_string(), "b".to_string()])).await.unwrap();
        assert_eq!(result.phase(), Phase::Failed);
        assert!(result.message().contains(want), "{want:?} is not in {}", result.message());
    }
    for body in [r#"{"data": [{"embedding": [NaN]}]}"#, r#"{"data": [{"embedding": [1e999]}]}"#] {
        server.trouble(Trouble { call: "POST", status: 200, body: body.into(), ..Default::default() });
        let result = client.execute(embeddings().input("text", "a")).await.unwrap();
        assert_eq!(result.phase(), Phase::Failed);
        assert!(result.message().contains("the answer is no JSON"), "{}", result.message());
    }
    let neither = client.execute(embeddings()).await.unwrap();
    assert_eq!(neither.phase(), Phase::Failed);
    assert!(neither.message().contains("one of the inputs"), "{}", neither.message());
}
