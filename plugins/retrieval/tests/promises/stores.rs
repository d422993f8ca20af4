//! Object stores: S3 as moto serves it, and how the others are spoken to. The plugin runs as the program that it is.

use std::process::Command;

use agenthost::contract::flyteidl::core::SimpleType;
use agenthost::testing::{Client, TestTask, command};
use agenthost::{File, Phase, StructuredDataset};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};

use crate::emulators;
use crate::support::*;

const ID: &str = "AKIAIOSFODNN7EXAMPLE";
const KEY: &str = "swordfish/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// The program with secrets, and what it logs.
async fn program(secrets: &[(&str, &str)], config: Value) -> (Client, std::path::PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let mut plugin = Command::new(env!("CARGO_BIN_EXE_retrieval"));
    plugin.env("RUST_LOG", "debug").stderr(std::fs::File::create(&log).expect("a file"));
    for (name, value) in secrets {
        plugin.env(format!("_FSEC_{}", name.to_uppercase()), value);
    }
    let client = command(plugin).await;
    let errors = client.configure(config).await.expect("an answer");
    assert!(errors.is_empty(), "{errors:?}");
    (client, log, folder)
}

fn s3(endpoint: &str) -> Value {
    json!({"s3": {"endpoint": endpoint, "allow_http": true, "region": "us-east-1"}})
}

fn count(uri: &str) -> TestTask {
    task("select count(*) as n from t").input("t", dataset(uri)).output_type("n", simple(SimpleType::Integer))
}

const KEYS: [(&str, &str); 2] = [("aws_access_key_id", ID), ("aws_secret_access_key", KEY)];

/// Reads tables from a bucket, a file and a folder, and writes one to it. `store` leads to the bucket, too.
async fn reads_and_writes(client: &Client, bucket: &str, store: &impl ObjectStore) {
    let put = async |key: &str, content: Vec<u8>| {
        store.put(&key.into(), content.into()).await.expect("an object");
    };
    let flights = std::fs::read(data("flights.parquet")).unwrap();
    put("in/table/00000", flights.clone()).await;
    put("in/table/_SUCCESS", b"x".to_vec()).await;
    put("in/airlines 2024.csv", std::fs::read(data("airlines.csv")).unwrap()).await;

    let query = "select a.name, count(*) as n from flights f join airlines a on a.carrier = f.carrier group by a.name";
    let result = succeed(
        client,
        task(query)
            .input("flights", dataset(format!("{bucket}/in/table")))
            .input("airlines", file(format!("{bucket}/in/airlines 2024.csv")))
            .output_type("results", a_dataset())
            .output_prefix(&format!("{bucket}/out")),
    )
    .await;
    let info = result.info();
    assert_eq!(info["files"], 2);
    assert!(info["bytes_scanned"].as_u64().unwrap() < flights.len() as u64, "{info}");
    let written: StructuredDataset = result.output("results");
    assert_eq!(written.uri, format!("{bucket}/out/results/00000"));
    let again = succeed(client, count(&written.uri)).await;
    assert_eq!(again.output::<i64>("n"), info["rows"].as_i64().unwrap());
    let list = [format!("{bucket}/in/table/00000"), format!("{bucket}/out/results/00000")];
    let list = task("select count(*) as n from t")
        .input("t", list.into_iter().map(file).collect::<Vec<_>>())
        .output_type("n", simple(SimpleType::Integer));
    let both = succeed(client, list).await.output::<i64>("n");
    let all = succeed(client, count(&format!("{bucket}/in/table/"))).await.output::<i64>("n");
    assert_eq!(both, again.output::<i64>("n") + all);

    let gone = fail(client, count(&format!("{bucket}/in/gone"))).await;
    assert!(gone.starts_with(&format!("NotFound: {bucket}/in/gone is not there")), "{gone}");
}

#[tokio::test]
async fn s3_is_read_and_written() {
    let server = emulators::s3().await;
    let store = AmazonS3Builder::new()
        .with_endpoint(&server.endpoint)
        .with_bucket_name("bucket")
        .with_access_key_id("any")
        .with_secret_access_key("any")
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .build()
        .expect("a store");
    let (client, log, _folder) = program(&KEYS, json!({"storage": s3(&server.endpoint)})).await;
    reads_and_writes(&client, "s3://bucket", &store).await;
    let gone = fail(&client, count("s3://nobucket/in/gone")).await;
    assert!(gone.starts_with("NotFound: s3://nobucket/in/gone is not there"), "{gone}");
    let said = std::fs::read_to_string(log).unwrap();
    assert!(said.contains("bytes read in"), "{said}");
    assert!(!said.contains(KEY) && !said.contains(ID), "{said}");
    client.stop().await;
}

#[tokio::test]
async fn google_cloud_storage_is_read() {
    let read = |name: &str| std::fs::read(data(name)).unwrap();
    let objects = [("in/table/00000", read("flights.parquet")), ("in/airlines.csv", read("airlines.csv"))];
    let server = emulators::google(&objects).await;
    let gs = json!({"endpoint": server.endpoint, "allow_http": true, "anonymous": true});
    let (client, ..) = program(&[], json!({"storage": {"gs": gs}})).await;
    let query = "select count(distinct a.name) as n from flights f join airlines a on a.carrier = f.carrier";
    let query = task(query)
        .input("flights", dataset("gs://bucket/in/table"))
        .input("airlines", file("gs://bucket/in/airlines.csv"))
        .output_type("n", simple(SimpleType::Integer));
    let result = succeed(&client, query).await;
    assert_eq!((result.output::<i64>("n"), &result.info()["files"]), (16, &json!(2)));
    assert!(result.info()["bytes_scanned"].as_u64().unwrap() < objects[0].1.len() as u64, "{}", result.info());
    let gone = fail(&client, count("gs://bucket/in/gone")).await;
    assert!(gone.starts_with("NotFound: gs://bucket/in/gone is not there"), "{gone}");
}

#[tokio::test]
async fn what_is_written_anonymously_has_no_token_of_anybody() {
    let server = serve(|asked| {
        let anonymous = asked.authorization.trim() == "Bearer" || asked.authorization.is_empty();
        Answer::of(if anonymous { "200 OK" } else { "403 Forbidden" }, "")
    })
    .await;
    let gs = json!({"endpoint": server, "allow_http": true, "anonymous": true});
    let (client, ..) = program(&[], json!({"storage": {"gs": gs}, "retry": {"attempts": 0}})).await;
    let query = task("select 1 as one").output_type("results", a_file("csv")).output_prefix("gs://bucket/out");
    assert_eq!(succeed(&client, query).await.output::<File>("results").uri, "gs://bucket/out/results/00000");
}

#[tokio::test]
async fn a_result_that_cannot_be_written_says_why() {
    let server = serve(|asked| match asked.path.split('/').nth(2) {
        Some("closed") => Answer::of("403 Forbidden", "no writing here"),
        _ => Answer::of("503 Slow Down", "later"),
    })
    .await;
    let (client, ..) = program(&KEYS, json!({"storage": s3(&server), "retry": {"attempts": 0}})).await;
    for format in ["csv", "json", "parquet"] {
        for sql in ["select 1 as one", "select value, repeat('x', 1000) as x from generate_series(1, 20000)"] {
            let write =
                |to: &str| task(sql).output_type("results", a_file(format)).output_prefix(&format!("s3://bucket/{to}"));
            let closed = fail(&client, write("closed")).await;
            assert!(
                closed.starts_with("AccessDenied: writing s3://bucket/closed/results/00000: "),
                "{format}: {closed}"
            );
            let busy = client.execute(write("busy")).await.unwrap();
            assert_eq!(busy.phase(), Phase::RetryableFailed, "{format}: {}", busy.message());
            assert!(busy.message().starts_with("StorageUnavailable: writing s3://bucket/busy"), "{}", busy.message());
        }
    }
}

#[tokio::test]
async fn azure_is_read_and_written() {
    let server = emulators::azure().await;
    let store = MicrosoftAzureBuilder::new()
        .with_endpoint(server.endpoint.clone())
        .with_account(emulators::ACCOUNT)
        .with_access_key(emulators::ACCOUNT_KEY)
        .with_container_name("container")
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .build()
        .expect("a store");
    let azure = json!({"endpoint": server.endpoint, "allow_http": true});
    let secrets = [("azure_storage_account", emulators::ACCOUNT), ("azure_storage_key", emulators::ACCOUNT_KEY)];
    let (client, log, _folder) = program(&secrets, json!({"storage": {"azure": azure}})).await;
    reads_and_writes(&client, "azure://container", &store).await;
    assert!(!std::fs::read_to_string(log).unwrap().contains(emulators::ACCOUNT_KEY));
}

#[tokio::test]
async fn projects_have_secrets_and_rules_of_their_own() {
    let server = serve(|asked| Answer::of("403 Forbidden", asked.authorization)).await;
    let config = json!({
        "storage": s3(&server),
        "retry": {"attempts": 0},
        "projects": [
            {"project": "", "domain": "elsewhere", "secrets": "other"},
            {"project": "", "secrets": "research", "allowed": ["s3://research/"]},
        ],
    });
    let secrets = [
        ("aws_access_key_id", ID),
        ("aws_secret_access_key", KEY),
        ("research_aws_access_key_id", "RESEARCHKEYID"),
        ("research_aws_secret_access_key", KEY),
    ];
    let (client, log, _folder) = program(&secrets, config).await;
    let message = fail(&client, count("s3://research/a")).await;
    assert!(message.starts_with("AccessDenied: s3://research/a"), "{message}");
    assert!(!message.contains("RESEARCHKEYID") && !message.contains(ID), "{message}");
    assert!(fail(&client, count("s3://bucket/a")).await.starts_with("NotAllowed: "));
    let said = std::fs::read_to_string(log).unwrap();
    assert!(!said.contains(KEY) && !said.contains(ID) && !said.contains("RESEARCHKEYID"), "{said}");
}

#[tokio::test]
async fn secrets_are_in_no_error_and_no_log() {
    // The worst server: it says back what it was sent.
    let server =
        serve(|asked| Answer::of("400 Bad Request", format!("{} {} {ID} {KEY}", asked.path, asked.authorization)))
            .await;
    let sas = "sv=2024&sig=swordfish%2Fsignature%3D&se=2030";
    let azure = json!({"endpoint": format!("{server}/account"), "allow_http": true, "account": "account"});
    let config = json!({"storage": {"s3": s3(&server)["s3"], "azure": azure}, "retry": {"attempts": 0}});
    let mut secrets = KEYS.to_vec();
    secrets.push(("azure_storage_sas_token", sas));
    let (client, log, _folder) = program(&secrets, config).await;
    for uri in ["s3://bucket", "azure://container"] {
        let result = client.execute(count(uri)).await.unwrap();
        assert!(result.phase() == Phase::Failed && result.message().contains("[secret]"), "{}", result.message());
        let text = format!("{:?}{}", result.0, std::fs::read_to_string(&log).unwrap());
        for secret in [ID, KEY, "swordfish"] {
            assert!(!text.contains(secret), "{uri}: {secret} in {text}");
        }
    }
}

#[tokio::test]
async fn azure_and_google_are_spoken_to_as_they_ask() {
    let airlines = std::fs::read(data("airlines.csv")).unwrap();
    let size = airlines.iter().filter(|byte| **byte == b'\n').count() as i64 - 1;
    let server = serve(move |asked| {
        let shared_key = asked.authorization.starts_with("SharedKey account:");
        match asked.path.replace("%2E", ".").split('?').next().unwrap() {
            "/account/container/airlines.csv" if shared_key => Answer::file(&asked, &airlines),
            "/bucket/airlines.csv" if asked.authorization.is_empty() => Answer::file(&asked, &airlines),
            _ => Answer::of("403 Forbidden", "not so"),
        }
    })
    .await;
    let config = json!({
        "storage": {
            "azure": {"endpoint": format!("{server}/account"), "allow_http": true},
            "gs": {"endpoint": server, "allow_http": true, "anonymous": true},
        },
        "retry": {"attempts": 0},
    });
    let secrets = [("azure_storage_account", "account"), ("azure_storage_key", "c3dvcmRmaXNo")];
    let (client, ..) = program(&secrets, config).await;
    for uri in [
        "azure://container/airlines.csv",
        "abfss://container@account.dfs.core.windows.net/airlines.csv",
        "gs://bucket/airlines.csv",
    ] {
        let query = task("select count(*) as n from t").input("t", uri).output_type("n", simple(SimpleType::Integer));
        assert_eq!(succeed(&client, query).await.output::<i64>("n"), size, "{uri}");
    }
}
