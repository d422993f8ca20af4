//! Where tasks may go and what they may do.

use agenthost::Phase;
use agenthost::contract::flyteidl::core::SimpleType;
use serde_json::json;
use tempfile::tempdir;

use crate::support::*;

#[tokio::test]
async fn sql_only_queries() {
    let folder = tempdir().unwrap();
    let to = format!("{}/stolen.csv", real(folder.path()));
    let client = reading(folder.path()).await;
    for sql in [
        format!("copy (select 1) to '{to}' stored as csv"),
        format!("copy flights to '{to}'"),
        format!("create external table x (a int) stored as csv location '{to}'"),
        "create table x as select 1".to_string(),
        "create view x as select 1".to_string(),
        "set datafusion.execution.batch_size = 1".to_string(),
        "reset datafusion.execution.batch_size".to_string(),
        "show all".to_string(),
        "explain analyze select 1".to_string(),
        "describe flights".to_string(),
        "insert into flights values (1)".to_string(),
        "delete from flights".to_string(),
        "update flights set distance = 1".to_string(),
        "drop table flights".to_string(),
        "prepare p as select 1".to_string(),
        "begin".to_string(),
    ] {
        let query = task(&sql).input("flights", dataset(data("flights.parquet")));
        let message = fail(&client, query).await;
        assert!(message.starts_with("NotAllowed: a task may only query"), "{sql}: {message}");
    }
    for sql in [
        format!("select 1; copy (select 1) to '{to}'"),
        format!("select * into '{to}' from flights"),
        "with t as (insert into flights values (1) returning *) select * from t".to_string(),
    ] {
        fail(&client, task(&sql).input("flights", dataset(data("flights.parquet")))).await;
    }
    assert!(!std::path::Path::new(&to).exists());
}

#[tokio::test]
async fn sql_reaches_no_file_by_itself() {
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), "n\nswordfish\n").unwrap();
    let file = format!("{}/a.csv", real(folder.path()));
    let client = reading(folder.path()).await;
    for sql in [
        format!("select * from '{file}'"),
        format!("select * from \"{file}\""),
        format!("select * from \"file://{file}\""),
        format!("select * from read_csv('{file}')"),
        "select * from '/etc/passwd'".to_string(),
        "select * from information_schema.tables".to_string(),
    ] {
        let message = fail(&client, task(&sql)).await;
        assert!(message.starts_with("BadSQL: ") && !message.contains("swordfish"), "{sql}: {message}");
    }
}

#[tokio::test]
async fn disk_and_http_are_closed_unless_opened() {
    let closed = configured(json!({})).await;
    let folder = tempdir().unwrap();
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(folder.path().join("outside.csv"), "n\nswordfish\n").unwrap();
    std::fs::write(inside.join("a.csv"), "n\n1\n").unwrap();
    std::os::unix::fs::symlink(folder.path().join("outside.csv"), inside.join("link.csv")).unwrap();
    std::os::unix::fs::symlink(folder.path(), inside.join("up")).unwrap();
    let open = configured(json!({"allowed": [real(&inside), "https://", "http://", "/proc"]})).await;
    let linked = folder.path().join("linked");
    std::os::unix::fs::symlink(&inside, &linked).unwrap();
    let linked = format!("{}/linked", real(folder.path()));
    let through = configured(json!({"allowed": [linked]})).await;
    let inside = real(&inside);

    let query =
        |uri: &str| task("select * from t").input("t", uri).output_type("n", list_of(simple(SimpleType::String)));
    let metadata = "http://169.254.169.254/latest/meta-data/iam/security-credentials/role.csv";
    for uri in ["/etc/passwd", &format!("{inside}/a.csv"), metadata, "https://example.org/a.csv"] {
        let message = fail(&closed, query(uri)).await;
        assert!(message.starts_with("NotAllowed: ") && message.contains("allowed"), "{message}");
    }
    let outside = format!("{}/outside.csv", real(folder.path()));
    for uri in [
        "/etc/passwd",
        "file:///etc/passwd",
        outside.as_str(),
        &format!("{inside}/link.csv"),
        &format!("{inside}/up/outside.csv"),
        &format!("{inside}/../outside.csv"),
        &format!("{inside}-other/a.csv"),
        "/proc/self/environ",
        metadata,
        "http://[::ffff:169.254.169.254]/latest/meta-data",
        "http://127.0.0.1:1/a.csv",
        "http://localhost:1/a.csv",
        "http://2130706433:1/a.csv",
    ] {
        let result = open.execute(query(uri)).await.unwrap();
        assert_ne!(result.phase(), Phase::Succeeded, "{uri}");
        assert!(!result.message().contains("swordfish") && !result.message().contains("root:"), "{}", result.message());
    }
    assert!(fail(&open, query(metadata)).await.starts_with("NotAllowed: "));
    for (client, folder) in [(&open, &inside), (&through, &linked)] {
        let fine = task("select n from t").input("t", format!("{folder}/a.csv"));
        let fine = succeed(client, fine.output_type("n", simple(SimpleType::Integer))).await;
        assert_eq!(fine.output::<i64>("n"), 1);
    }
}

#[tokio::test]
async fn limits_fail_the_task_and_say_what_to_do() {
    let limits = json!({
        "allowed": [data(".")], "inline_rows": 10, "inline_bytes": "1KiB", "memory_limit": "2MiB", "threads": 1, "scan_limit": "10kB",
    });
    let client = configured(limits).await;
    let many = || list_of(simple(SimpleType::Integer));
    let rows = fail(&client, task("select value as n from generate_series(1, 100)").output_type("n", many())).await;
    assert!(
        rows.starts_with("TooLarge: ") && rows.contains("inline_rows") && rows.contains("StructuredDataset"),
        "{rows}"
    );
    let bytes = fail(&client, task("select repeat('x', 5000) as n").output_type("n", simple(SimpleType::String))).await;
    assert!(bytes.starts_with("TooLarge: ") && bytes.contains("inline_bytes"), "{bytes}");
    let hungry = "select count(distinct concat(value, repeat('x', 100))) as n from generate_series(1, 200000)";
    let memory = fail(&client, task(hungry).output_type("n", simple(SimpleType::Integer))).await;
    assert!(memory.starts_with("MemoryLimit: ") && memory.contains("memory_limit"), "{memory}");
    let scan = task("select * from flights").input("flights", dataset(data("flights.parquet")));
    let scan = fail(&client, scan.output_type("n", many())).await;
    assert!(scan.starts_with("ScanLimit: ") && scan.contains("scan_limit"), "{scan}");
}

const ENDLESS: &str = "select count(*) as n from generate_series(1, 1000000) a, generate_series(1, 1000000) b where a.value * b.value % 7 = 3";

#[tokio::test]
async fn a_query_ends_with_its_time() {
    let client = configured(json!({"query_timeout": "300ms", "threads": 1, "max_concurrent": 1})).await;
    for _ in 0..2 {
        // The second one would wait for its turn forever if the first one went on.
        let message = fail(&client, task(ENDLESS)).await;
        assert!(message.starts_with("Timeout: ") && message.contains("query_timeout"), "{message}");
    }
    let one = task("select 1 as n").output_type("n", simple(SimpleType::Integer));
    succeed(&configured(json!({"max_concurrent": 1})).await, one).await;
}

#[tokio::test]
async fn a_query_ends_before_its_caller_leaves() {
    let client = configured(json!({"threads": 1, "max_concurrent": 1})).await;
    let result = client.execute(task(ENDLESS).timeout(std::time::Duration::from_secs(2))).await.unwrap();
    assert_eq!(result.phase(), Phase::RetryableFailed);
    assert!(result.message().starts_with("DeadlineExceeded: "), "{}", result.message());
    succeed(&client, task("select 1")).await; // its turn is free again
}

#[tokio::test]
async fn a_configuration_is_checked() {
    let client = agenthost::testing::run(retrieval::plugin()).await;
    let wrong = json!({"allowed": ["ftp://x"], "storage": {"s3": {"endpoint": "http://minio:9000"}}, "projects": [{"destinations": ["x"]}]});
    let keys: Vec<_> = client.configure(wrong).await.unwrap().into_iter().map(|e| e.key).collect();
    assert_eq!(keys, ["allowed[0]", "projects[0].destinations[0]", "storage.s3.endpoint"]);
    let errors = client.configure(json!({"alowed": [], "query_timeout": 5, "max_concurrent": 0})).await.unwrap();
    let keys: Vec<_> = errors.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(keys, ["alowed", "max_concurrent", "query_timeout"], "{errors:?}");
    let errors = client.configure(json!({"query_timeout": "soon"})).await.unwrap();
    assert!(errors[0].key == "query_timeout" && errors[0].message.contains("30s"), "{errors:?}");
    let schema: serde_json::Value = serde_json::from_str(&client.describe().await.unwrap().config_schema).unwrap();
    undocumented(&schema, "");
}

/// Every field has a description.
fn undocumented(schema: &serde_json::Value, at: &str) {
    if let Some(properties) = schema.get("properties").and_then(|p| p.as_object()) {
        for (name, property) in properties {
            assert!(property.get("description").is_some(), "{at}.{name} is not documented");
        }
    }
    for (name, inner) in schema.get("$defs").and_then(|d| d.as_object()).into_iter().flatten() {
        undocumented(inner, name);
    }
}
