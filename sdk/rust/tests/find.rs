//! What an agent that finds jobs by their key promises the host.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use agenthost::testing::{Client, TestTask, run};
use agenthost::{AsyncAgent, Error, Finder, Job, Plugin, Registration, Resource, Result, Task, async_trait};
use tonic::Code;

/// Has an entry for each attempt: its job, or none where the attempt was given up.
#[derive(Default)]
struct Ledger(Arc<Mutex<HashMap<String, Option<String>>>>);

#[async_trait]
impl AsyncAgent for Ledger {
    type Meta = String;

    async fn create(&self, task: Task) -> Result<String> {
        let mut jobs = self.0.lock().unwrap();
        let job = jobs.entry(task.idempotency_key.clone()).or_insert(Some(format!("job of {}", task.idempotency_key)));
        job.clone().ok_or_else(|| Error::abandoned("no job is made for it any more"))
    }

    async fn get(&self, _: Job<String>) -> Result<Resource> {
        Err(Error::internal("nobody polls it"))
    }

    async fn delete(&self, _: Job<String>) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Finder for Ledger {
    async fn find(&self, task: Task) -> Result<String> {
        match self.0.lock().unwrap().get(&task.idempotency_key) {
            None => Err(Error::not_found("no job has this key")),
            Some(None) => Err(Error::abandoned("it was given up")),
            Some(Some(job)) => Ok(job.clone()),
        }
    }

    async fn abandon(&self, task: Task) -> Result<()> {
        self.0.lock().unwrap().insert(task.idempotency_key, None);
        Ok(())
    }
}

fn attempt() -> TestTask {
    TestTask::new("ledger").idempotency_key("a")
}

/// The codes with which the calls are refused.
async fn refusals(client: &Client) -> (Option<Code>, Option<Code>) {
    let found = client.find(attempt()).await.err().map(|e| e.code());
    (found, client.create(attempt()).await.err().map(|e| e.code()))
}

#[tokio::test]
async fn a_finder_answers_for_the_attempt_and_makes_nothing() {
    let client = run(Plugin::new("p", "1").finding_agent("ledger", Ledger::default())).await;
    assert_eq!(client.describe().await.unwrap().capabilities, ["find_by_key"]);
    for _ in 0..2 {
        assert_eq!(client.find(attempt()).await.err().unwrap().code(), Code::NotFound);
    }
    let made = client.create(attempt()).await.unwrap();
    assert_eq!(client.find(attempt()).await.unwrap().meta, made.meta);
    for _ in 0..2 {
        client.abandon(attempt()).await.unwrap();
        assert_eq!(refusals(&client).await, (Some(Code::Aborted), Some(Code::Aborted)));
    }
}

#[tokio::test]
async fn an_agent_that_cannot_find_says_so_and_makes_nothing() {
    let ledger = Ledger::default();
    let jobs = ledger.0.clone();
    let client = run(Plugin::new("p", "1").agent("ledger", ledger).finding_agent("finder", Ledger::default())).await;
    let said = client.describe().await.unwrap();
    assert!(said.capabilities.is_empty(), "{:?}", said.capabilities);
    let [finder] = &said.category_capabilities[..] else { panic!("{:?}", said.category_capabilities) };
    assert_eq!((finder.name.as_str(), &finder.capabilities[..]), ("finder", &["find_by_key".to_string()][..]));
    assert_eq!(client.find(attempt()).await.err().unwrap().code(), Code::Unimplemented);
    assert_eq!(client.abandon(attempt()).await.err().unwrap().code(), Code::Unimplemented);
    assert!(jobs.lock().unwrap().is_empty(), "a job was made by a call that must make none");
}

#[tokio::test]
async fn promises_of_one_agent_stand_together() {
    let both = Registration::new("ledger").idempotent_create();
    let plugin = Plugin::new("p", "1").agent("other", Ledger::default()).finding_agent(both, Ledger::default());
    let said = run(plugin).await.describe().await.unwrap();
    assert_eq!(said.category_capabilities[0].capabilities, ["idempotent_create", "find_by_key"]);
}
