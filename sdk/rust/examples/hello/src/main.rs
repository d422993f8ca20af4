//! The smallest Flyte agent: its tasks greet whom their input names.
use agenthost::{AsyncAgent, Job, Plugin, Resource, Result, Task, async_trait};

struct Hello;
#[derive(serde::Serialize, serde::Deserialize)]
struct Greeting(String);

#[async_trait]
impl AsyncAgent for Hello {
    type Meta = Greeting;
    async fn create(&self, task: Task) -> Result<Greeting> {
        Ok(Greeting(task.input("name")?))
    }
    async fn get(&self, job: Job<Greeting>) -> Result<Resource> {
        Ok(Resource::succeeded([(
            "greeting",
            format!("Hello, {}", job.meta.0),
        )]))
    }
    async fn delete(&self, _: Job<Greeting>) -> Result<()> {
        Ok(())
    }
}

fn main() {
    Plugin::new("hello", "1.0.0").agent("hello", Hello).serve()
}
