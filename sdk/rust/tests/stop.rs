//! How a stream of calls ends when its plugin stops. This program is also the plugin, which it starts as the host does.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use agenthost::contract::agenthost::plugin::v1::{
    Answer, Answers, Call, Calls, call_service_client::CallServiceClient,
};
use agenthost::contract::flyteidl::admin::{GetTaskRequest, TaskCategory};
use agenthost::contract::flyteidl::service::async_agent_service_client::AsyncAgentServiceClient;
use agenthost::contract::plugin::{Empty, grpc_controller_client::GrpcControllerClient};
use agenthost::testing::{Client, command};
use agenthost::{AsyncAgent, Job, Plugin, Resource, Result, Task, async_trait};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

/// Its jobs end when there is a file.
struct Patient;

#[async_trait]
impl AsyncAgent for Patient {
    type Meta = String;

    async fn create(&self, _: Task) -> Result<String> {
        Ok(String::new())
    }

    async fn get(&self, job: Job<String>) -> Result<Resource> {
        while !job.meta.is_empty() && !Path::new(&job.meta).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Resource::running("there"))
    }

    async fn delete(&self, _: Job<String>) -> Result<()> {
        Ok(())
    }
}

fn main() {
    if std::env::var_os("AGENTHOST_PLUGIN").is_some() {
        Plugin::new("patient", "1.0.0").agent("patient", Patient).serve();
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(ends_with_the_last_call());
    runtime.block_on(ends_at_once_where_nothing_is_under_way());
    println!("test result: ok. 2 passed");
}

fn request(file: &str) -> GetTaskRequest {
    GetTaskRequest {
        task_category: Some(TaskCategory { name: "patient".into(), version: 0 }),
        resource_meta: serde_json::to_vec(file).unwrap(),
        ..Default::default()
    }
}

/// A call that ends when there is a file, or at once where that has no name.
fn poll(id: u64, file: &str) -> Calls {
    let method = "/flyteidl.service.AsyncAgentService/GetTask".into();
    let call = Call { id, method, request: request(file).encode_to_vec(), ..Default::default() };
    Calls { calls: vec![call], canceled: Vec::new() }
}

/// Opens a stream to a plugin that runs.
async fn open() -> (Client, mpsc::Sender<Calls>, Streaming<Answers>) {
    let client = command(Command::new(std::env::current_exe().unwrap())).await;
    let (calls, sent) = mpsc::channel(16);
    let exchange = CallServiceClient::new(client.channel()).exchange(ReceiverStream::new(sent)).await;
    let mut answers = exchange.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().answers, []);
    (client, calls, answers)
}

async fn answer(answers: &mut Streaming<Answers>) -> Answer {
    let Answers { answers, last, .. } = answers.message().await.unwrap().expect("more answers");
    assert_eq!((answers.len(), last), (1, None), "{answers:?}");
    answers.into_iter().next().unwrap()
}

async fn ends_with_the_last_call() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("there");
    let (client, calls, mut answers) = open().await;
    calls.send(poll(1, file.to_str().unwrap())).await.unwrap();
    calls.send(poll(2, "")).await.unwrap();
    assert_eq!(answer(&mut answers).await.id, 2); // so that the first call is under way
    GrpcControllerClient::new(client.channel()).shutdown(Empty {}).await.unwrap();

    // While a call is under way, others are refused as they are by themselves.
    let mut last = 2;
    let refused = loop {
        last += 1;
        calls.send(poll(last, "")).await.unwrap();
        let answer = answer(&mut answers).await;
        assert_eq!(answer.id, last);
        if !answer.status.is_empty() {
            break answer;
        }
    };
    let alone = AsyncAgentServiceClient::new(client.channel()).get_task(request("")).await.unwrap_err();
    let trailers: Vec<_> = refused.trailers.iter().map(|trailer| (&*trailer.name, &*trailer.value)).collect();
    assert_eq!(trailers, [("agenthost-not-taken", &b"1"[..])]);
    assert_eq!(alone.metadata().get("agenthost-not-taken").unwrap(), "1");
    assert_eq!(alone.code(), Code::Unavailable);
    assert!(String::from_utf8_lossy(&refused.status).contains(alone.message()), "{refused:?}");

    std::fs::write(&file, "").unwrap();
    let answered = answer(&mut answers).await;
    assert_eq!((answered.id, answered.status.len()), (1, 0));
    let end = answers.message().await.unwrap().expect("a last message");
    assert_eq!((end.answers.len(), end.last), (0, Some(last)));
    assert_eq!(answers.message().await.unwrap(), None);
    client.stop().await;
}

async fn ends_at_once_where_nothing_is_under_way() {
    let (client, calls, mut answers) = open().await;
    calls.send(poll(7, "")).await.unwrap();
    assert_eq!(answer(&mut answers).await.id, 7);
    let ended = tokio::spawn(async move {
        let end = answers.message().await.unwrap().expect("a last message");
        assert_eq!((end.answers.len(), end.last), (0, Some(7)));
        assert_eq!(answers.message().await.unwrap(), None);
    });
    client.stop().await;
    ended.await.unwrap();
    drop(calls); // the host's side was open until then
}
