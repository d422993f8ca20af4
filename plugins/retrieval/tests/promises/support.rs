//! What the tests share.

use std::path::PathBuf;

use agenthost::contract::flyteidl::core::{BlobType, LiteralType, SimpleType, literal_type::Type};
use agenthost::testing::{Client, TestResult, TestTask, run};
use agenthost::{File, Phase, StructuredDataset};
use serde_json::{Value, json};

/// Real public data: a month of flights, and airlines' names.
pub fn data(name: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../demo/data").join(name);
    file.canonicalize().unwrap_or_else(|e| panic!("{}: {e}", file.display())).to_string_lossy().into_owned()
}

/// The plugin in process, with a configuration.
pub async fn configured(config: Value) -> Client {
    let client = run(retrieval::plugin()).await;
    let errors = client.configure(config).await.expect("an answer");
    assert!(errors.is_empty(), "{errors:?}");
    client
}

/// The plugin in process, which may read the demo's data and a folder.
pub async fn reading(folder: &std::path::Path) -> Client {
    let allowed = [data("."), real(folder)];
    configured(json!({"allowed": allowed, "destinations": [real(folder)]})).await
}

pub fn real(folder: &std::path::Path) -> String {
    folder.canonicalize().expect("a folder").to_string_lossy().into_owned()
}

pub fn task(sql: &str) -> TestTask {
    TestTask::new("data_retrieval").sql(sql)
}

pub fn dataset(uri: impl Into<String>) -> StructuredDataset {
    StructuredDataset { uri: uri.into(), format: "parquet".into(), columns: Vec::new() }
}

pub fn file(uri: impl Into<String>) -> File {
    File { uri: uri.into(), ..File::default() }
}

pub fn typed(kind: Type) -> LiteralType {
    LiteralType { r#type: Some(kind), ..LiteralType::default() }
}

pub fn simple(simple: SimpleType) -> LiteralType {
    typed(Type::Simple(simple.into()))
}

pub fn list_of(item: LiteralType) -> LiteralType {
    typed(Type::CollectionType(Box::new(item)))
}

pub fn a_dataset() -> LiteralType {
    typed(Type::StructuredDatasetType(Default::default()))
}

pub fn a_file(format: &str) -> LiteralType {
    typed(Type::Blob(BlobType { format: format.into(), ..BlobType::default() }))
}

/// Runs a task that must succeed.
pub async fn succeed(client: &Client, task: TestTask) -> TestResult {
    let result = client.execute(task).await.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(result.phase(), Phase::Succeeded, "{}", result.message());
    result
}

/// Runs a task that must fail for good, and returns its message, which begins with its code.
pub async fn fail(client: &Client, task: TestTask) -> String {
    let result = client.execute(task).await.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(result.phase(), Phase::Failed, "{}", result.message());
    let code = result.0.agent_error.as_ref().map(|e| e.code.clone()).unwrap_or_default();
    assert!(!code.is_empty() && result.message().starts_with(&code), "{:?}", result.0);
    result.message().to_string()
}
