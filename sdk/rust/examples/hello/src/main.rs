//! The smallest Flyte agent: its tasks greet whom their input names.
use agenthost::{AsyncAgent, Job, Plugin, Resource, Result, Task, async_trait};

struct Hello;

#[async_trait]
impl AsyncAgent for Hello {
    type Meta = String;

    async fn create(&self, task: Task) -> Result<String> {
        task.input("name")
    }

    async fn get(&self, job: Job<String>) -> Result<Resource> {
        Ok(Resource::succeeded([("greeting", format!("Hello, {}", job.meta))]))
    }

    async fn delete(&self, _: Job<String>) -> Result<()> {
        Ok(())
    }
}

fn main() {
    Plugin::new("hello", "1.0.0").agent("hello", Hello).serve()
}
