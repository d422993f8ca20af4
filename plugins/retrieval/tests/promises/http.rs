//! Files on HTTP servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agenthost::Phase;
use agenthost::contract::flyteidl::core::SimpleType;
use agenthost::testing::TestTask;
use serde_json::json;

use crate::support::*;

fn count(uri: impl Into<String>) -> TestTask {
    task("select count(*) as n from t where distance > 500")
        .input("t", uri.into())
        .output_type("n", simple(SimpleType::Integer))
}

const QUICK: &str = "1ms";

#[tokio::test]
async fn parquet_is_read_in_parts_and_whole_where_a_server_gives_no_parts() {
    let flights = Arc::new(std::fs::read(data("flights.parquet")).unwrap());
    let content = flights.clone();
    let server = serve(move |mut asked| {
        if asked.path.starts_with("/whole") {
            asked.range = None;
        }
        match asked.path.as_str() {
            "/flights.parquet" | "/whole/flights.parquet" | "/signed/flights.parquet?signature=swordfish" => {
                Answer::file(&asked, &content)
            }
            _ => Answer::of("404 Not Found", "no such file"),
        }
    })
    .await;
    let client = configured(json!({"allowed": [server]})).await;
    let parts = succeed(&client, count(format!("{server}/flights.parquet"))).await;
    let whole = succeed(&client, count(format!("{server}/whole/flights.parquet"))).await;
    let signed = succeed(&client, count(format!("{server}/signed/flights.parquet?signature=swordfish"))).await;
    assert!(parts.output::<i64>("n") > 0);
    assert_eq!(parts.output::<i64>("n"), whole.output::<i64>("n"));
    assert_eq!(parts.output::<i64>("n"), signed.output::<i64>("n"));
    assert!(parts.info()["bytes_scanned"].as_u64().unwrap() < flights.len() as u64, "one column is read");
    assert_eq!(whole.info()["bytes_scanned"].as_u64().unwrap(), flights.len() as u64);

    let gone = fail(&client, count(format!("{server}/gone.parquet?signature=swordfish"))).await;
    assert_eq!(gone, format!("NotFound: {server}/gone.parquet is not there"));
    let small = configured(json!({"allowed": [server], "memory_limit": "1KiB"})).await;
    let large = fail(&small, count(format!("{server}/whole/flights.parquet"))).await;
    assert!(large.starts_with("MemoryLimit: ") && large.contains("answers no ranges"), "{large}");
}

#[tokio::test]
async fn a_redirect_leads_nowhere_that_is_not_allowed() {
    let inside = serve(|asked| Answer::file(&asked, b"distance\n1000\n")).await;
    let reached = Arc::new(AtomicUsize::new(0));
    let hits = reached.clone();
    let secret = serve(move |_| {
        hits.fetch_add(1, Ordering::Relaxed);
        Answer::of("200 OK", "distance\nswordfish\n")
    })
    .await;
    let (good, bad) = (inside.clone(), secret.clone());
    let server = serve(move |asked| {
        let to = match asked.path.as_str() {
            "/good.csv" => format!("{good}/a.csv"),
            "/bad.csv" => format!("{bad}/a.csv"),
            _ => "http://169.254.169.254/latest/meta-data/a.csv".to_string(),
        };
        Answer { headers: vec![("Location", to)], ..Answer::of("302 Found", "") }
    })
    .await;
    let retry = json!({"attempts": 0});
    let client = configured(json!({"allowed": [server, inside, "http://"], "retry": retry})).await;
    assert_eq!(succeed(&client, count(format!("{server}/good.csv"))).await.output::<i64>("n"), 1);
    for name in ["bad.csv", "metadata.csv"] {
        let message = fail(&client, count(format!("{server}/{name}"))).await;
        assert!(message.starts_with("NotAllowed: ") && !message.contains("swordfish"), "{message}");
    }
    assert_eq!(reached.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_name_of_a_private_network_must_be_named() {
    let server = serve(|asked| Answer::file(&asked, b"distance\n1000\n")).await;
    let port = server.rsplit(':').next().unwrap();
    let uri = format!("http://localhost:{port}/a.csv");
    let open = configured(json!({"allowed": ["http://"], "retry": {"attempts": 0}})).await;
    let message = fail(&open, count(&uri)).await;
    assert!(message.starts_with("NotAllowed: ") && message.contains("localhost"), "{message}");
    let named = configured(json!({"allowed": [format!("http://localhost:{port}/")]})).await;
    assert_eq!(succeed(&named, count(&uri)).await.output::<i64>("n"), 1);
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_then_left_to_flyte() {
    let asked_for = Arc::new(AtomicUsize::new(0));
    let n = asked_for.clone();
    let server = serve(move |asked| {
        let before = n.fetch_add(1, Ordering::Relaxed);
        match asked.path.as_str() {
            "/slow.csv" if before < 2 => Answer::of("429 Too Many Requests", "slow down"),
            "/slow.csv" => Answer::file(&asked, b"distance\n1000\n"),
            "/busy.csv" => Answer::of("503 Service Unavailable", "come back later"),
            // It is there, but its parts are not.
            "/parts.parquet" if asked.range.is_none() => Answer::file(&asked, &[0; 1000]),
            "/parts.parquet" => Answer::of("500 Internal Server Error", "oh"),
            "/secret.csv" => Answer::of("403 Forbidden", "not you"),
            _ => Answer::of("400 Bad Request", "what?"),
        }
    })
    .await;
    let retry = json!({"attempts": 3, "first_pause": QUICK, "longest_pause": QUICK});
    let client = configured(json!({"allowed": [server], "retry": retry})).await;
    assert_eq!(succeed(&client, count(format!("{server}/slow.csv"))).await.output::<i64>("n"), 1);

    asked_for.store(0, Ordering::Relaxed);
    let busy = client.execute(count(format!("{server}/busy.csv"))).await.unwrap();
    assert_eq!(busy.phase(), Phase::RetryableFailed);
    assert!(busy.message().starts_with(&format!("StorageUnavailable: {server}/busy.csv: ")), "{}", busy.message());
    assert!(busy.message().contains("503"), "{}", busy.message());
    assert_eq!(asked_for.load(Ordering::Relaxed), 4);

    let denied = fail(&client, count(format!("{server}/secret.csv"))).await;
    assert!(denied.starts_with("AccessDenied: "), "{denied}");
    assert!(fail(&client, count(format!("{server}/other.csv"))).await.starts_with("StorageError: "));

    let broken = client.execute(count(format!("{server}/parts.parquet"))).await.unwrap();
    assert_eq!(broken.phase(), Phase::RetryableFailed, "{}", broken.message());
    assert!(
        broken.message().starts_with(&format!("StorageUnavailable: {server}/parts.parquet: ")),
        "{}",
        broken.message()
    );

    let down = configured(json!({"allowed": ["http://127.0.0.1:1"], "retry": {"attempts": 0}})).await;
    let down = down.execute(count("http://127.0.0.1:1/a.csv")).await.unwrap();
    assert_eq!(down.phase(), Phase::RetryableFailed, "{}", down.message());
}
