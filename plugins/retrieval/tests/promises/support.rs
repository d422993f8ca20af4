//! What the tests share.

use std::path::PathBuf;

use agenthost::contract::flyteidl::core::{
    BlobType, LiteralType, SimpleType, StructuredDatasetType, literal_type::Type,
};
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

pub fn a_csv_dataset() -> LiteralType {
    typed(Type::StructuredDatasetType(StructuredDatasetType { format: "csv".into(), ..Default::default() }))
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

/// What a test's server is asked.
pub struct Asked {
    /// The path with its query.
    pub path: String,
    pub range: Option<std::ops::Range<usize>>,
    pub authorization: String,
}

/// What it answers.
#[derive(Clone)]
pub struct Answer {
    pub status: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn of(status: &'static str, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, headers: Vec::new(), body: body.into() }
    }

    /// A file, or the part of it that is asked for.
    pub fn file(asked: &Asked, content: &[u8]) -> Answer {
        match &asked.range {
            Some(range) => {
                let end = range.end.min(content.len());
                let said = format!("bytes {}-{}/{}", range.start, end - 1, content.len());
                Answer {
                    headers: vec![("Content-Range", said)],
                    ..Answer::of("206 Partial Content", &content[range.start..end])
                }
            }
            None => Answer::of("200 OK", content),
        }
    }
}

/// Serves HTTP on loopback until the test ends, and says at which address.
pub async fn serve(answer: impl Fn(Asked) -> Answer + Send + Sync + 'static) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let answer = std::sync::Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move { one(stream, &*answer).await });
        }
    });
    format!("http://{address}")
}

/// Answers one request, and closes the connection.
async fn one(mut stream: tokio::net::TcpStream, answer: &(impl Fn(Asked) -> Answer + ?Sized)) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split_whitespace().map(str::to_string);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let header = |wanted: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.to_string())
            .unwrap_or_default()
    };
    let range = header("range").strip_prefix("bytes=").and_then(|range| {
        let (first, last) = range.split_once('-')?;
        Some(first.parse().ok()?..last.parse::<usize>().ok()? + 1)
    });
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    let said = answer(Asked { path, range, authorization: header("authorization") });
    let mut out = format!("HTTP/1.1 {}\r\nContent-Length: {}\r\nConnection: close\r\n", said.status, said.body.len());
    for (name, value) in &said.headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str("ETag: \"1\"\r\nLast-Modified: Mon, 06 May 2024 07:08:09 GMT\r\n\r\n");
    let mut out = out.into_bytes();
    if method != "HEAD" {
        out.extend(&said.body);
    }
    let _ = stream.write_all(&out).await; // the client may have left
    let _ = stream.shutdown().await;
}
