//! An agent that blocks its threads for ever stops nothing else. This program is also the plugin, which it starts as the host does.

use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use agenthost::testing::{Client, TestTask, command};
use agenthost::{AsyncAgent, Job, Plugin, Resource, Result, Task, async_trait};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// How many threads are blocked.
static BLOCKED: AtomicI64 = AtomicI64::new(0);

/// Long enough for any answer, and shorter than the time after which the host gives a plugin up.
const PROMPTLY: Duration = Duration::from_secs(15);

fn block_for_ever() {
    BLOCKED.fetch_add(1, Ordering::SeqCst);
    loop {
        std::thread::park();
    }
}

/// Blocks as its task says.
struct Stuck;

#[async_trait]
impl AsyncAgent for Stuck {
    type Meta = String;

    async fn create(&self, task: Task) -> Result<String> {
        match task.input::<String>("how")?.as_str() {
            "in the call" => block_for_ever(),
            "after a while" => {
                tokio::time::sleep(Duration::from_millis(1)).await; // then it is polled by another thread than at first
                block_for_ever();
            }
            "in tasks" => {
                for _ in 0..256 {
                    tokio::spawn(async { block_for_ever() });
                }
            }
            _ => {}
        }
        Ok("a job".into())
    }

    async fn get(&self, _: Job<String>) -> Result<Resource> {
        tokio::time::sleep(Duration::from_millis(1)).await; // needs a driver that nobody blocks
        Ok(Resource::succeeded([("blocked", BLOCKED.load(Ordering::SeqCst))]))
    }

    async fn delete(&self, _: Job<String>) -> Result<()> {
        Ok(())
    }

    async fn close(&self) {
        block_for_ever();
    }
}

fn plugin() -> Plugin {
    Plugin::new("blocking", "1.0.0").agent("stuck", Stuck).agent("drowned", Stuck).agent("fine", Stuck)
}

fn main() {
    if std::env::var_os("AGENTHOST_PLUGIN").is_some() {
        plugin().serve();
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(answered());
    runtime.block_on(ends());
    println!("test result: ok. 2 passed");
}

async fn started() -> Client {
    let client = command(Command::new(std::env::current_exe().unwrap())).await;
    assert_eq!(blocked(&client, "fine").await, 0);
    client
}

/// How many threads are blocked, by a poll of an agent.
async fn blocked(client: &Client, agent: &str) -> i64 {
    let polled = tokio::time::timeout(PROMPTLY, client.job(agent, r#""a job""#).get()).await;
    polled.unwrap_or_else(|_| panic!("a poll of {agent} is not answered")).unwrap().output("blocked")
}

async fn block(client: &Client, agent: &str, how: &str) {
    let task = TestTask::new(agent).input("how", how).timeout(Duration::from_millis(500));
    match client.create(task).await {
        Ok(_) if how == "in tasks" => {}
        Ok(_) => panic!("a call that blocks has an answer"),
        Err(status) => {
            assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{how}: {status}");
        }
    }
}

async fn answered() {
    let client = started().await;
    for how in ["in the call", "after a while"] {
        tokio::join!(block(&client, "stuck", how), block(&client, "stuck", how), block(&client, "stuck", how));
    }
    assert_eq!(blocked(&client, "fine").await, 6);
    assert_eq!(blocked(&client, "stuck").await, 6); // its own calls go on, too
    block(&client, "drowned", "in tasks").await; // which takes its workers, and the driver of what it waits for
    assert!(blocked(&client, "fine").await > 6);

    let health = HealthClient::new(client.channel())
        .check(HealthCheckRequest { service: "plugin".into() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(health.status(), ServingStatus::Serving);
    let job = client.create(TestTask::new("fine").input("how", "not at all")).await.unwrap();
    job.delete().await.unwrap();
}

async fn ends() {
    let client = started().await;
    block(&client, "stuck", "in the call").await;
    let begun = Instant::now();
    client.stop().await;
    assert!(begun.elapsed() < PROMPTLY, "it took {:?} to end", begun.elapsed());
}
