//! Calls by one stream, many in a message: each means the same as by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex};

use agenthost::contract::agenthost::plugin::v1::{
    Answer, Answers, Call, Calls, Header, call_service_client::CallServiceClient,
};
use agenthost::contract::flyteidl::admin::{
    CreateTaskRequest, DeleteTaskRequest, GetTaskMetricsRequest, GetTaskRequest, TaskCategory,
};
use agenthost::contract::flyteidl::core::TaskTemplate;
use agenthost::testing::{Client, run};
use agenthost::{
    AsyncAgent, Error, Finder, Job, Plugin, Resource, Result, SyncAgent, Task, async_trait, trace_headers,
};
use prost::Message;
use prost::bytes::{Buf, BufMut};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::{Code, Request, Status, Streaming};

const CREATE: &str = "/flyteidl.service.AsyncAgentService/CreateTask";
const GET: &str = "/flyteidl.service.AsyncAgentService/GetTask";
const DELETE: &str = "/flyteidl.service.AsyncAgentService/DeleteTask";
const METRICS: &str = "/flyteidl.service.AsyncAgentService/GetTaskMetrics";

/// Does what its jobs' metadata say.
#[derive(Clone, Default)]
struct Actor(Arc<Stage>);

#[derive(Default)]
struct Stage {
    /// Lets go of the polls that block their threads.
    open: Mutex<bool>,
    opened: Condvar,
    /// Hears of each poll that waits for ever, and then of its end.
    waits: Mutex<Option<mpsc::UnboundedSender<oneshot::Receiver<()>>>>,
}

#[async_trait]
impl AsyncAgent for Actor {
    type Meta = String;

    async fn create(&self, task: Task) -> Result<String> {
        let traced = trace_headers().into_iter().collect::<BTreeMap<_, _>>();
        Ok(format!("{} {traced:?} {}", task.idempotency_key, task.deadline.is_some()))
    }

    async fn get(&self, job: Job<String>) -> Result<Resource> {
        match job.meta.split_once(' ').unwrap_or((&job.meta, "")) {
            ("missing", _) => Err(Error::not_found("no such job")),
            ("panics", _) => panic!("out of order"),
            ("large", size) => Ok(Resource::succeeded([("much", "x".repeat(size.parse()?))])),
            ("blocks", _) => {
                let open = self.0.open.lock().unwrap();
                drop(self.0.opened.wait_while(open, |open| !*open).unwrap());
                Ok(Resource::running("let go"))
            }
            ("waits", _) => {
                let (_here, end) = oneshot::channel();
                self.0.waits.lock().unwrap().as_ref().unwrap().send(end)?;
                std::future::pending().await
            }
            _ => {
                tokio::task::yield_now().await;
                Ok(Resource::running(job.meta))
            }
        }
    }

    async fn delete(&self, _: Job<String>) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Finder for Actor {
    async fn find(&self, task: Task) -> Result<String> {
        Err(Error::not_found(format!("no job of {}", task.idempotency_key)))
    }

    async fn abandon(&self, _: Task) -> Result<()> {
        Ok(())
    }
}

struct Sync;

#[async_trait]
impl SyncAgent for Sync {
    async fn execute(&self, _: Task) -> Result<Resource> {
        Ok(Resource::succeeded(agenthost::Outputs::new()))
    }
}

fn plugin(actor: &Actor) -> Plugin {
    Plugin::new("test", "1.0.0").finding_agent("acts", actor.clone()).sync_agent("sync", Sync)
}

fn category() -> Option<TaskCategory> {
    Some(TaskCategory { name: "acts".into(), version: 0 })
}

fn poll(meta: &str) -> Vec<u8> {
    poll_of("acts", meta)
}

fn poll_of(category: &str, meta: &str) -> Vec<u8> {
    let task_category = Some(TaskCategory { name: category.into(), version: 0 });
    let resource_meta = serde_json::to_vec(meta).unwrap();
    GetTaskRequest { task_category, resource_meta, ..Default::default() }.encode_to_vec()
}

fn creation() -> Vec<u8> {
    let template = TaskTemplate { r#type: "acts".into(), ..Default::default() };
    CreateTaskRequest { template: Some(template), ..Default::default() }.encode_to_vec()
}

/// A stream of calls.
struct Exchange {
    calls: mpsc::Sender<Calls>,
    answers: Streaming<Answers>,
    methods: Vec<String>,
    ready: Vec<Answer>,
    last: u64,
}

impl Exchange {
    async fn open(client: &Client) -> Self {
        let (calls, sent) = mpsc::channel(16);
        let mut service = CallServiceClient::new(client.channel()).max_decoding_message_size(usize::MAX);
        let mut answers = service.exchange(ReceiverStream::new(sent)).await.unwrap().into_inner();
        let greeting = answers.message().await.unwrap().expect("a greeting");
        assert_eq!((greeting.answers.len(), greeting.last), (0, None));
        Exchange { calls, answers, methods: greeting.methods, ready: Vec::new(), last: 0 }
    }

    fn call(&mut self, method: &str, request: Vec<u8>) -> Call {
        self.last += 1;
        Call { id: self.last, method: method.into(), request, ..Default::default() }
    }

    async fn send(&self, calls: Vec<Call>) {
        self.calls.send(Calls { calls, canceled: Vec::new() }).await.unwrap();
    }

    async fn cancel(&self, id: u64) {
        self.calls.send(Calls { calls: Vec::new(), canceled: vec![id] }).await.unwrap();
    }

    /// The next answer.
    async fn answer(&mut self) -> Answer {
        while self.ready.is_empty() {
            self.ready = self.answers.message().await.unwrap().expect("more answers").answers;
        }
        self.ready.remove(0)
    }

    /// The answer to a single call.
    async fn make(&mut self, call: Call) -> Answer {
        let id = call.id;
        self.send(vec![call]).await;
        let answer = self.answer().await;
        assert_eq!(answer.id, id, "{answer:?}");
        answer
    }
}

/// A google.rpc.Status.
#[derive(Clone, PartialEq, Message)]
struct Failure {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// How a call went: its answer, or its code, message and trailers.
type Outcome = Result<Vec<u8>, (Code, String, BTreeMap<String, Vec<u8>>)>;

fn outcome(answer: Answer) -> Outcome {
    assert_eq!(answer.oversize, 0);
    let trailers: BTreeMap<_, _> = answer.trailers.into_iter().map(|header| (header.name, header.value)).collect();
    if answer.status.is_empty() {
        assert_eq!(trailers, BTreeMap::new());
        return Ok(answer.message);
    }
    let failure = Failure::decode(&*answer.status).unwrap();
    Err((failure.code.into(), failure.message, trailers))
}

fn code(answer: Answer) -> Code {
    outcome(answer).expect_err("an error").0
}

/// Messages as the bytes that they are.
#[derive(Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Bytes
    }
    fn decoder(&mut self) -> Self {
        Bytes
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

/// The same call by itself.
async fn alone(client: &Client, call: &Call) -> Outcome {
    let mut request = Request::new(call.request.clone());
    for header in &call.headers {
        let value = std::str::from_utf8(&header.value).unwrap().parse().unwrap();
        request.metadata_mut().append(header.name.parse::<tonic::metadata::AsciiMetadataKey>().unwrap(), value);
    }
    if call.timeout > 0 {
        request.set_timeout(std::time::Duration::from_micros(call.timeout));
    }
    let mut grpc = Grpc::new(client.channel());
    grpc.ready().await.unwrap();
    let outcome = grpc.unary(request, call.method.parse::<PathAndQuery>().unwrap(), Bytes).await;
    outcome.map(|answer| answer.into_inner()).map_err(|status| {
        let trailers = own(status.metadata());
        (status.code(), status.message().into(), trailers)
    })
}

/// What a plugin has put there, and not a library.
fn own(metadata: &MetadataMap) -> BTreeMap<String, Vec<u8>> {
    let own = metadata.iter().filter_map(|entry| match entry {
        KeyAndValueRef::Ascii(name, value) if !["content-type", "date", "content-length"].contains(&name.as_str()) => {
            Some((name.to_string(), value.as_encoded_bytes().to_vec()))
        }
        _ => None,
    });
    own.collect()
}

fn header(name: &str, value: &str) -> Header {
    Header { name: name.into(), value: value.into() }
}

#[tokio::test]
async fn it_begins_with_the_methods_that_it_takes() {
    let client = run(plugin(&Actor::default())).await;
    assert_eq!(Exchange::open(&client).await.methods, [CREATE, GET, DELETE, METRICS]);
}

#[tokio::test]
async fn many_polls_of_one_message_are_each_answered_once() {
    let client = run(plugin(&Actor::default())).await;
    let mut exchange = Exchange::open(&client).await;
    for _ in 0..3 {
        let calls: Vec<_> = (0..500).map(|_| exchange.call(GET, poll("job"))).collect();
        let mut open: BTreeSet<_> = calls.iter().map(|call| call.id).collect();
        let alone = alone(&client, &calls[0]).await;
        exchange.send(calls).await;
        while !open.is_empty() {
            let answer = exchange.answer().await;
            assert!(open.remove(&answer.id), "{answer:?}");
            assert_eq!(outcome(answer), alone);
        }
    }
}

#[tokio::test]
async fn a_call_is_answered_as_by_itself() {
    let client = run(plugin(&Actor::default())).await;
    let mut exchange = Exchange::open(&client).await;
    let job = DeleteTaskRequest { task_category: category(), resource_meta: b"\"job\"".into(), ..Default::default() };
    let measured = GetTaskMetricsRequest { task_category: category(), ..Default::default() };
    for (method, request, want) in [
        (GET, poll("job"), Code::Ok),
        (GET, poll("missing"), Code::NotFound),
        (GET, poll("panics"), Code::Internal),
        (GET, poll_of("unknown", "job"), Code::NotFound),
        (GET, poll_of("sync", "job"), Code::FailedPrecondition),
        (GET, Vec::new(), Code::NotFound),
        (GET, b"\xff\xff\xff".into(), Code::Internal),
        (GET, b"\x0a\x05of".into(), Code::Internal),
        (CREATE, creation(), Code::Ok),
        (CREATE, b"\x0a\x01\x08".into(), Code::Internal),
        (DELETE, job.encode_to_vec(), Code::Ok),
        (METRICS, measured.encode_to_vec(), Code::InvalidArgument),
    ] {
        let call = exchange.call(method, request);
        let alone = alone(&client, &call).await;
        assert_eq!(alone.as_ref().map_or_else(|error| error.0, |_| Code::Ok), want, "{call:?}: {alone:?}");
        assert_eq!(outcome(exchange.make(call.clone()).await), alone, "{call:?}");
    }
}

#[tokio::test]
async fn a_call_has_its_metadata_and_deadline() {
    let client = run(plugin(&Actor::default())).await;
    let mut exchange = Exchange::open(&client).await;
    let key = || header("agenthost-idempotency-key", &"5".repeat(64));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let second = header("traceparent", "the second value of a name");
    for headers in [
        vec![],
        vec![key(), header("traceparent", trace), second, header("baggage", "a=1"), header("other", "1")],
        vec![key(), header("agenthost-find-only", "1")],
        vec![key(), header("agenthost-abandon", "1")],
    ] {
        for timeout in [0, 60_000_000] {
            let call = Call { headers: headers.clone(), timeout, ..exchange.call(CREATE, creation()) };
            let alone = alone(&client, &call).await;
            assert_eq!(outcome(exchange.make(call.clone()).await), alone, "{call:?}");
        }
    }
}

#[tokio::test]
async fn a_call_that_blocks_its_thread_holds_up_no_other() {
    let actor = Actor::default();
    let client = run(plugin(&actor)).await;
    let mut exchange = Exchange::open(&client).await;
    let blocked: Vec<_> = (0..8).map(|_| exchange.call(GET, poll("blocks"))).collect();
    let others: Vec<_> = (0..8).map(|_| exchange.call(GET, poll("job"))).collect();
    let ids = |calls: &[Call]| calls.iter().map(|call| call.id).collect::<BTreeSet<_>>();
    let (first, then) = (ids(&others), ids(&blocked));
    exchange.send([blocked, others].concat()).await;
    for expected in [first, then] {
        let mut answered = BTreeSet::new();
        for _ in 0..8 {
            let answer = exchange.answer().await;
            answered.insert(answer.id);
            outcome(answer).unwrap();
        }
        assert_eq!(answered, expected);
        *actor.0.open.lock().unwrap() = true;
        actor.0.opened.notify_all();
    }
}

/// Hears of the polls that wait for ever.
fn waits(actor: &Actor) -> mpsc::UnboundedReceiver<oneshot::Receiver<()>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    *actor.0.waits.lock().unwrap() = Some(sender);
    receiver
}

#[tokio::test]
async fn a_call_that_is_cancelled_ends_and_has_no_answer() {
    let actor = Actor::default();
    let mut waits = waits(&actor);
    let client = run(plugin(&actor)).await;
    let mut exchange = Exchange::open(&client).await;
    let call = exchange.call(GET, poll("waits"));
    let id = call.id;
    exchange.send(vec![call]).await;
    let end = waits.recv().await.unwrap();
    exchange.cancel(id).await;
    exchange.cancel(1000).await; // which is no call's
    end.await.unwrap_err(); // it was dropped
    let other = exchange.call(GET, poll("job"));
    exchange.make(other).await;
}

#[tokio::test]
async fn a_call_ends_when_its_time_is_over() {
    let actor = Actor::default();
    let mut waits = waits(&actor);
    let client = run(plugin(&actor)).await;
    let mut exchange = Exchange::open(&client).await;
    let later = Call { timeout: 3_600_000_000, ..exchange.call(GET, poll("waits")) };
    let now = Call { timeout: 20_000, ..exchange.call(GET, poll("waits")) };
    let id = now.id;
    exchange.send(vec![later, now]).await;
    let answer = exchange.answer().await;
    assert_eq!((answer.id, code(answer)), (id, Code::DeadlineExceeded));
    // One of the two was dropped, unless its time was over before it began.
    let ends = [waits.recv().await, waits.try_recv().ok()].into_iter().flatten();
    assert!(ends.count() >= 1);
    let most = Call { timeout: u64::MAX, ..exchange.call(GET, poll("job")) };
    outcome(exchange.make(most).await).unwrap();
}

#[tokio::test]
async fn an_answer_with_more_than_it_may_have_is_told_by_its_size() {
    let client = run(plugin(&Actor::default())).await;
    let mut exchange = Exchange::open(&client).await;
    let whole = exchange.call(GET, poll("large 10000"));
    let size = outcome(exchange.make(whole).await).unwrap().len() as u64;
    for (max_answer, want) in [(size, 0), (size - 1, size)] {
        let call = Call { max_answer, ..exchange.call(GET, poll("large 10000")) };
        let answer = exchange.make(call).await;
        assert_eq!((answer.oversize, answer.message.is_empty(), answer.status.len()), (want, want > 0, 0));
    }
}

#[tokio::test]
async fn large_answers_leave_in_messages_of_their_own() {
    let client = run(plugin(&Actor::default())).await;
    let mut exchange = Exchange::open(&client).await;
    let calls: Vec<_> = (0..10).map(|i| exchange.call(GET, poll(&format!("large {}", i * 100_000)))).collect();
    exchange.send(calls).await;
    let mut answered = 0;
    while answered < 10 {
        let answers = exchange.answers.message().await.unwrap().expect("more answers").answers;
        let size: usize = answers.iter().map(|answer| answer.message.len()).sum();
        assert!(answers.len() == 1 || size <= 256 << 10, "{} answers have {size} bytes", answers.len());
        answered += answers.len();
    }
    let larger = exchange.call(GET, poll("large 1000000"));
    assert!(outcome(exchange.make(larger).await).unwrap().len() > 1_000_000);
}

#[tokio::test]
async fn a_method_that_it_does_not_take_is_an_error_of_that_call() {
    let client = run(plugin(&Actor::default())).await;
    let mut exchange = Exchange::open(&client).await;
    for method in ["/flyteidl.service.AsyncAgentService/GetTaskLogs", "/unknown.Service/Method", "GetTask", ""] {
        let call = exchange.call(method, poll("job"));
        assert_eq!(code(exchange.make(call).await), Code::Unimplemented);
    }
    let call = exchange.call(GET, poll("job"));
    outcome(exchange.make(call).await).unwrap();
}

#[tokio::test]
async fn calls_end_with_their_stream() {
    let actor = Actor::default();
    let mut waits = waits(&actor);
    let client = run(plugin(&actor)).await;
    let mut exchange = Exchange::open(&client).await;
    let call = exchange.call(GET, poll("waits"));
    exchange.send(vec![call]).await;
    let end = waits.recv().await.unwrap();
    drop(exchange);
    end.await.unwrap_err(); // it was dropped
}

#[tokio::test]
async fn a_stream_that_the_host_closes_ends_after_the_answers() {
    let client = run(plugin(&Actor::default())).await;
    let mut exchange = Exchange::open(&client).await;
    let calls = (0..50).map(|_| exchange.call(GET, poll("job"))).collect();
    exchange.send(calls).await;
    let Exchange { calls, mut answers, .. } = exchange;
    drop(calls);
    let mut answered = 0;
    while let Some(message) = answers.message().await.unwrap() {
        answered += message.answers.len();
    }
    assert_eq!(answered, 50);
}
