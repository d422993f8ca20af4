//! A server of the batch API, as strict as OpenAI's: it refuses what that refuses, and goes wrong on demand.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use axum::serve::Listener;
use axum::{Router, extract::State};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The keys that the server knows.
pub const KEY: &str = "sk-test-7Jq2";
pub const OTHER_KEY: &str = "sk-other-9Xw4";

/// A call as it came.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Value,
    /// The body as it came.
    text: String,
}

impl Call {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What goes wrong with the next call whose method and path begin with `call`.
#[derive(Clone, Default)]
pub struct Trouble {
    pub call: &'static str,
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// The call is carried out, and its answer lost.
    pub after: bool,
    /// The call is not carried out before this says so.
    pub until: Option<Arc<Notify>>,
    /// The answer takes this long.
    pub pause: Duration,
    /// The state that the batches get meanwhile.
    pub meanwhile: Option<&'static str>,
}

#[derive(Default)]
struct World {
    batches: Vec<Value>,
    files: BTreeMap<String, String>,
    /// What was uploaded, the oldest first.
    uploads: Vec<Value>,
    calls: Vec<Call>,
    troubles: VecDeque<Trouble>,
}

/// The server; it runs as long as the test.
#[derive(Clone)]
pub struct Server {
    world: Arc<Mutex<World>>,
    pub root: String,
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    /// The next connection whose handshake goes well: a client that does not trust the server is none.
    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, from) = Listener::accept(&mut self.listener).await;
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

type Refusal = (u16, Value);

fn refuse<T>(status: u16, code: &str, message: &str) -> Result<T, Refusal> {
    Err((status, json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": code}})))
}

impl Server {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = format!("http://{}/v1", listener.local_addr().unwrap());
        Self::on(listener, root)
    }

    /// Speaks TLS, with a certificate that nobody trusts but who is told to: it comes too, as PEM.
    pub async fn start_with_tls() -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = format!("https://localhost:{}/v1", listener.local_addr().unwrap().port());
        (Self::on(Tls { listener, acceptor: Arc::new(config).into() }, root), made.cert.pem())
    }

    fn on(listener: impl Listener<Addr = SocketAddr>, root: String) -> Self {
        let server = Server { world: Arc::default(), root };
        server.world().files.insert("file-in".into(), "{}".into());
        let router = Router::new().fallback(serve).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub fn trouble(&self, trouble: Trouble) {
        self.world().troubles.push_back(trouble);
    }

    /// The calls whose method and path begin so.
    pub fn calls(&self, start: &str) -> Vec<Call> {
        let is = |call: &&Call| format!("{} {}", call.method, call.path).starts_with(start);
        self.world().calls.iter().filter(is).cloned().collect()
    }

    pub fn batches(&self) -> Vec<Value> {
        self.world().batches.clone()
    }

    /// Puts fields of a batch to other values.
    pub fn set(&self, id: &str, fields: Value) {
        let mut world = self.world();
        let batch = world.batches.iter_mut().find(|b| b["id"] == id).expect("a batch");
        batch.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    }

    pub fn file(&self, id: &str, text: &str) {
        self.world().files.insert(id.into(), text.into());
    }

    /// Batches of others, newer than all before.
    pub fn others(&self, count: usize, age_seconds: i64) {
        let mut world = self.world();
        for _ in 0..count {
            let id = format!("batch_{:03}", world.batches.len());
            world
                .batches
                .push(json!({"id": id, "status": "completed", "metadata": null, "created_at": now() - age_seconds}));
        }
    }
}

fn now() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64
}

async fn serve(
    State(server): State<Server>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body_text: Bytes,
) -> Response<Body> {
    let body =
        if body_text.is_empty() { Value::Null } else { serde_json::from_slice(&body_text).unwrap_or(Value::Null) };
    let text = String::from_utf8_lossy(&body_text).into_owned();
    let query = uri.query().unwrap_or_default().to_string();
    let call = Call { method, path: uri.path().into(), query, headers, body, text };
    let trouble = {
        let mut world = server.world();
        world.calls.push(call.clone());
        let hit = format!("{} {}", call.method, call.path);
        let place = world.troubles.iter().position(|t| hit.starts_with(t.call));
        place.and_then(|place| world.troubles.remove(place))
    };
    if let Some(until) = trouble.as_ref().and_then(|t| t.until.as_ref()) {
        until.notified().await;
    }
    let carried_out = trouble.as_ref().is_none_or(|t| t.after || t.status == 0);
    let mut answer = if carried_out { answer(&server, &call) } else { Response::new(Body::empty()) };
    if let Some(trouble) = trouble {
        tokio::time::sleep(trouble.pause).await;
        if let Some(status) = trouble.meanwhile {
            server.world().batches.iter_mut().for_each(|batch| batch["status"] = status.into());
        }
        if trouble.status != 0 {
            answer = Response::new(Body::from(trouble.body));
            *answer.status_mut() = StatusCode::from_u16(trouble.status).unwrap();
        }
        for (name, value) in trouble.headers {
            answer.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    answer.headers_mut().insert("x-request-id", "req_42".parse().unwrap());
    answer
}

fn answer(server: &Server, call: &Call) -> Response<Body> {
    if call.path.starts_with("/v1/files/") && call.path.ends_with("/content") {
        let id = call.path.split('/').nth(3).unwrap();
        if let Some(text) = server.world().files.get(id) {
            return Response::new(Body::from(text.clone()));
        }
    }
    let (status, body) = match route(server, call) {
        Ok(body) => (200, body),
        Err((status, body)) => (status, body),
    };
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn route(server: &Server, call: &Call) -> Result<Value, Refusal> {
    let key = call.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
    if ![KEY, OTHER_KEY].contains(&key) {
        return refuse(
            401,
            "invalid_api_key",
            &format!("Incorrect API key provided: {key}. Find yours at your account."),
        );
    }
    let mut world = server.world();
    let path: Vec<_> = call.path.trim_start_matches("/v1/").split('/').collect();
    match (call.method.as_str(), path.as_slice()) {
        ("POST", ["chat", "completions"]) => chat(&call.body),
        ("POST", ["embeddings"]) => embeddings(&call.body),
        ("POST", ["batches"]) => create(&mut world, &call.body),
        ("GET", ["batches"]) => list(&world.batches, &call.query),
        ("POST", ["files"]) => upload(&mut world, call),
        ("GET", ["files"]) => list(&world.uploads, &call.query),
        ("GET", ["batches", id]) => find(&mut world, id).map(|batch| batch.clone()),
        ("POST", ["batches", id, "cancel"]) => cancel(find(&mut world, id)?),
        _ => refuse(404, "unknown_url", &format!("Unknown request URL: {} {}", call.method, call.path)),
    }
}

/// Says back what it was told, with the roles.
fn chat(body: &Value) -> Result<Value, Refusal> {
    let messages = body["messages"].as_array().expect("messages");
    let told: Vec<_> = messages
        .iter()
        .map(|m| format!("{}: {}", m["role"].as_str().unwrap(), m["content"].as_str().unwrap()))
        .collect();
    Ok(json!({
        "id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": told.join("\n")}}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200},
    }))
}

/// A vector of a text's length; the last text's comes first.
fn embeddings(body: &Value) -> Result<Value, Refusal> {
    let texts = body["input"].as_array().expect("a list of texts");
    if texts.is_empty() || texts.len() > 2048 {
        return refuse(400, "invalid_value", "'input' must have 1 to 2048 items");
    }
    let vector = |(i, text): (usize, &Value)| json!({"index": i, "embedding": [text.as_str().unwrap().len(), 0.5]});
    let data: Vec<_> = texts.iter().enumerate().map(vector).rev().collect();
    Ok(
        json!({"object": "list", "data": data, "model": "small", "usage": {"prompt_tokens": texts.len(), "total_tokens": texts.len()}}),
    )
}

fn create(world: &mut World, body: &Value) -> Result<Value, Refusal> {
    let Some(fields) = body.as_object() else {
        return refuse(400, "invalid_json", "the body is no JSON object");
    };
    for (field, value) in fields {
        match (field.as_str(), value) {
            ("input_file_id", Value::String(file)) if !world.files.contains_key(file) => {
                return refuse(400, "file_not_found", &format!("No such File object: {file}"));
            }
            ("input_file_id", Value::String(_)) => {}
            ("endpoint", Value::String(at))
                if ["/v1/chat/completions", "/v1/embeddings", "/v1/responses"].contains(&at.as_str()) => {}
            ("completion_window", Value::String(window)) if window == "24h" => {}
            ("metadata", Value::Object(entries)) if entries.len() <= 16 => {
                if !entries.iter().all(|(k, v)| k.len() <= 64 && v.as_str().is_some_and(|v| v.len() <= 512)) {
                    return refuse(400, "invalid_metadata", "metadata must be short strings");
                }
            }
            _ => return refuse(400, "invalid_parameter", &format!("Unknown or invalid parameter: '{field}'")),
        }
    }
    for wanted in ["input_file_id", "endpoint", "completion_window"] {
        if !fields.contains_key(wanted) {
            return refuse(400, "missing_required_parameter", &format!("Missing required parameter: '{wanted}'."));
        }
    }
    let id = format!("batch_{:03}", world.batches.len());
    let mut batch = json!({
        "id": id, "object": "batch", "errors": null, "status": "validating", "output_file_id": null, "error_file_id": null,
        "created_at": now(), "metadata": null, "request_counts": {"total": 0, "completed": 0, "failed": 0},
    });
    batch.as_object_mut().unwrap().extend(fields.clone());
    world.batches.push(batch.clone());
    Ok(batch)
}

/// The newest first.
fn list(entries: &[Value], query: &str) -> Result<Value, Refusal> {
    let asked: BTreeMap<_, _> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let limit: usize = asked.get("limit").map_or(20, |n| n.parse().unwrap());
    if !(1..=100).contains(&limit) {
        return refuse(400, "invalid_limit", "limit must be between 1 and 100");
    }
    let newest: Vec<_> = entries.iter().rev().collect();
    let start = match asked.get("after") {
        None => 0,
        Some(after) => match newest.iter().position(|b| b["id"] == *after) {
            Some(place) => place + 1,
            None => return refuse(404, "not_found", "No such batch to go on after"),
        },
    };
    let end = newest.len().min(start + limit);
    Ok(json!({"object": "list", "data": newest[start..end], "has_more": end < newest.len()}))
}

/// Takes a form with a purpose and a named file.
fn upload(world: &mut World, call: &Call) -> Result<Value, Refusal> {
    let Some(boundary) = call.header("content-type").strip_prefix("multipart/form-data; boundary=") else {
        return refuse(400, "invalid_request", "Expected a multipart form");
    };
    let parts: Vec<_> = call.text.split(&format!("--{boundary}")).collect();
    let [_, purpose, file, end] = parts[..] else { return refuse(400, "invalid_request", "Expected purpose and file") };
    let name = file.split("filename=\"").nth(1).and_then(|rest| rest.split('"').next());
    let (Some(name), "--\r\n", true) = (name, end, purpose.ends_with("\r\n\r\nuser_data\r\n")) else {
        return refuse(400, "invalid_request", "Expected a purpose and a named file");
    };
    let id = format!("file-up-{}", world.uploads.len());
    let made = json!({"id": id, "object": "file", "filename": name, "purpose": "user_data", "created_at": now()});
    world.uploads.push(made.clone());
    Ok(made)
}

fn find<'a>(world: &'a mut World, id: &str) -> Result<&'a mut Value, Refusal> {
    match world.batches.iter_mut().find(|batch| batch["id"] == id) {
        Some(batch) => Ok(batch),
        None => refuse(404, "not_found", &format!("No batch found with id '{id}'.")),
    }
}

fn cancel(batch: &mut Value) -> Result<Value, Refusal> {
    let status = batch["status"].as_str().unwrap().to_string();
    if !["validating", "in_progress", "finalizing"].contains(&status.as_str()) {
        return refuse(409, "invalid_state", &format!("Cannot cancel a batch with status '{status}'."));
    }
    batch["status"] = "cancelling".into();
    Ok(batch.clone())
}
