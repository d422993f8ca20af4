//! Makes an author's mistakes, each in the creation of a task type of its own.

use std::collections::HashMap;

use agenthost::{AsyncAgent, Error, Job, Plugin, Resource, Result, Task, async_trait, secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

fn main() {
    Plugin::new("mistakes", "1.0.0")
        .agent("wrong_type", Mistaken(|task| Ok(Made { name: task.input::<i64>("name")?.to_string() })))
        .agent("metadata", Mistaken(|_| Ok(Wired { results: HashMap::from([((0, 0), 0.5)]) })))
        .agent("null", Mistaken(|_| Ok(None::<Made>)))
        .agent("panic", Mistaken(|_| pick(&[])))
        .agent("block", Mistaken(|_| block()))
        .agent("secret", Mistaken(|_| Ok(Made { name: secret("token")?.to_string() })))
        .agent("exit", Mistaken(|_| exit()))
        .configure(|_: Config| async { Ok(()) })
        .serve()
}

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code)] // what it is checked against is what matters
struct Config {
    greeting: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Made {
    name: String,
}

#[derive(Serialize, Deserialize)]
struct Wired {
    results: HashMap<(i64, i64), f64>,
}

fn pick(names: &[String]) -> Result<Made> {
    Ok(Made { name: names[3].clone() })
}

fn block() -> Result<Made> {
    loop {
        std::thread::park();
    }
}

fn exit() -> Result<Made> {
    println!("no license found");
    std::process::exit(1)
}

/// An agent whose creations go wrong.
struct Mistaken<M>(fn(Task) -> Result<M>);

#[async_trait]
impl<M: Serialize + for<'de> Deserialize<'de> + Send + Sync + 'static> AsyncAgent for Mistaken<M> {
    type Meta = M;

    async fn create(&self, task: Task) -> Result<M> {
        (self.0)(task)
    }

    async fn get(&self, _: Job<M>) -> Result<Resource> {
        Err(Error::unimplemented("no creation succeeds"))
    }

    async fn delete(&self, _: Job<M>) -> Result<()> {
        Ok(())
    }
}
