//! Which failures may pass when they are tried again, and which do not: every class of answer that a server gives, and none.

use agenthost::Phase;
use serde_json::{Value, json};
use tonic::Code;

use crate::server::Trouble;
use crate::support::{batch, both, chat, client};

const PASSES: Phase = Phase::RetryableFailed;
const STAYS: Phase = Phase::Failed;

/// A status, or a status and the code of the error, how a chat ends by it, how a batch's creation does, and why. What is
/// INVALID_ARGUMENT there becomes a job that has failed.
const ENDS: [(u16, &str, Phase, Code, &str); 44] = [
    (301, "", STAYS, Code::Internal, "the API is elsewhere, where the key must not go"),
    (302, "", STAYS, Code::Internal, "the same"),
    (304, "", STAYS, Code::Internal, "nobody asked for news only"),
    (307, "", STAYS, Code::Internal, "as 301"),
    (308, "", STAYS, Code::Internal, "as 301"),
    (400, "invalid_request_error", STAYS, Code::InvalidArgument, "the request stays what it is"),
    (400, "context_length_exceeded", STAYS, Code::InvalidArgument, "the message does not get shorter"),
    (401, "invalid_api_key", STAYS, Code::Unauthenticated, "the key stays what it is"),
    (402, "", STAYS, Code::InvalidArgument, "waiting brings no money"),
    (403, "", STAYS, Code::PermissionDenied, "nobody grants anything meanwhile"),
    (404, "model_not_found", STAYS, Code::NotFound, "there is no such model"),
    (405, "", STAYS, Code::InvalidArgument, "the server does not do that"),
    (406, "", STAYS, Code::InvalidArgument, "the same"),
    (408, "", PASSES, Code::Unavailable, "it took too long this time"),
    (409, "", PASSES, Code::Unavailable, "what it conflicts with ends"),
    (410, "", STAYS, Code::InvalidArgument, "it is gone for good"),
    (411, "", STAYS, Code::InvalidArgument, "the request stays what it is"),
    (412, "", STAYS, Code::InvalidArgument, "the same"),
    (413, "", STAYS, Code::InvalidArgument, "the same"),
    (414, "", STAYS, Code::InvalidArgument, "the same"),
    (415, "", STAYS, Code::InvalidArgument, "the same"),
    (418, "", STAYS, Code::InvalidArgument, "the same"),
    (422, "", STAYS, Code::InvalidArgument, "the same"),
    (425, "", PASSES, Code::Unavailable, "it was too early"),
    (429, "rate_limit_exceeded", PASSES, Code::ResourceExhausted, "the minute ends"),
    (429, "insufficient_quota", STAYS, Code::FailedPrecondition, "waiting brings no money"),
    (429, "billing_hard_limit_reached", STAYS, Code::FailedPrecondition, "the same"),
    (431, "", STAYS, Code::InvalidArgument, "the request stays what it is"),
    (451, "", STAYS, Code::InvalidArgument, "laws stay"),
    (500, "server_error", PASSES, Code::Unavailable, "the server gets well"),
    (501, "", STAYS, Code::Internal, "the server does not learn it meanwhile"),
    (502, "", PASSES, Code::Unavailable, "what is behind the proxy comes back"),
    (503, "overloaded", PASSES, Code::Unavailable, "the load ends"),
    (504, "", PASSES, Code::Unavailable, "as 502"),
    (505, "", STAYS, Code::Internal, "the server speaks another HTTP"),
    (506, "", STAYS, Code::Internal, "the server is set up wrong"),
    (507, "", PASSES, Code::Unavailable, "somebody makes room"),
    (508, "", STAYS, Code::Internal, "as 506"),
    (510, "", STAYS, Code::Internal, "as 501"),
    (511, "", STAYS, Code::Internal, "a network wants a login, which nobody makes here"),
    (520, "", PASSES, Code::Unavailable, "Cloudflare's words for 502"),
    (522, "", PASSES, Code::Unavailable, "the same"),
    (524, "", PASSES, Code::Unavailable, "the same"),
    (529, "overloaded_error", PASSES, Code::Unavailable, "as 503"),
];

#[tokio::test]
async fn every_status_has_the_right_end() {
    let (server, client) = both().await;
    for (status, code, phase, refused, why) in ENDS {
        let error = json!({"error": {"message": "no good", "code": code}}).to_string();
        let trouble = |call: &'static str| Trouble { call, status, body: error.clone(), ..Default::default() };
        let tries = if phase == PASSES { 3 } else { 1 };
        for (call, is_chat) in [("POST /v1/chat", true), ("POST /v1/batches", false)] {
            let before = server.calls(call).len();
            for _ in 0..tries {
                server.trouble(trouble(call));
            }
            if is_chat {
                let result = client.execute(chat("hello")).await.unwrap();
                assert_eq!(result.phase(), phase, "HTTP {status} {code}: {why}");
            } else {
                let key = format!("{status}{code}{}", "k".repeat(64));
                match client.create(batch().idempotency_key(&key[..64])).await {
                    Ok(job) => {
                        assert_eq!(refused, Code::InvalidArgument, "HTTP {status} {code}: {why}");
                        assert_eq!(job.get().await.unwrap().phase(), STAYS, "HTTP {status} {code}: {why}");
                    }
                    Err(error) => assert_eq!(error.code(), refused, "HTTP {status} {code}: {why}"),
                }
            }
            assert_eq!(server.calls(call).len() - before, tries, "HTTP {status} {code}: {why}");
        }
    }
}

#[tokio::test]
async fn a_batch_that_failed_passes_only_where_every_error_does() {
    let (server, client) = both().await;
    let job = client.create(batch()).await.unwrap();
    for (code, phase, why) in [
        ("token_limit_exceeded", PASSES, "the queue of enqueued tokens empties"),
        ("rate_limit_exceeded", PASSES, "the minute ends"),
        ("server_error", PASSES, "the server gets well"),
        ("internal_error", PASSES, "the same"),
        ("service_unavailable", PASSES, "the same"),
        ("timeout", PASSES, "it took too long this time"),
        ("invalid_json_line", STAYS, "the file stays what it is"),
        ("duplicate_custom_id", STAYS, "the same"),
        ("mismatched_model", STAYS, "the same"),
        ("empty_file", STAYS, "the same"),
        ("too_many_tasks", STAYS, "the same"),
        ("model_not_found", STAYS, "there is no such model"),
        ("billing_hard_limit_reached", STAYS, "waiting brings no money"),
        ("a_code_of_tomorrow", STAYS, "nothing says that it passes"),
    ] {
        let fail = |codes: &[&str]| {
            let errors: Vec<Value> = codes.iter().map(|code| json!({"code": code, "message": "no good"})).collect();
            server.set("batch_000", json!({"status": "failed", "errors": {"object": "list", "data": errors}}));
        };
        fail(&[code]);
        assert_eq!(job.get().await.unwrap().phase(), phase, "{code}: {why}");
        fail(&[code, "invalid_json_line"]);
        assert_eq!(job.get().await.unwrap().phase(), STAYS, "{code} beside an error that stays");
    }
}

#[tokio::test]
async fn no_answer_passes_unless_the_server_is_a_stranger() {
    let gone = client("http://127.0.0.1:9/v1", json!({})).await;
    assert_eq!(gone.execute(chat("hello")).await.unwrap().phase(), PASSES);
    assert_eq!(gone.create(batch()).await.err().unwrap().code(), Code::Unavailable);
    let (server, _) = crate::server::Server::start_with_tls().await;
    let stranger = client(&server.root, json!({})).await;
    assert_eq!(stranger.execute(chat("hello")).await.unwrap().phase(), STAYS);
    assert_eq!(stranger.create(batch()).await.err().unwrap().code(), Code::FailedPrecondition);
}
