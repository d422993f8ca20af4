//! The configurations of sdk/testdata/config.json, good and bad: all SDKs read them alike, and say the same of what is wrong.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};

use agenthost::contract::agenthost::plugin::v1::{ConfigureRequest, plugin_service_client::PluginServiceClient};
use agenthost::testing::run;
use agenthost::{
    ByteSize, ConfigDuration, ConfigError, Outputs, Plugin, Resource, Result, SecretRef, SyncAgent, Task, async_trait,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize, JsonSchema)]
struct Config {
    region: Region,
    #[serde(default = "agenthost")]
    name: String,
    #[serde(default = "three")]
    retries: i64,
    rate: Option<f64>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default = "minute")]
    timeout: ConfigDuration,
    memory: Option<ByteSize>,
    limits: Option<Limits>,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    pools: Vec<Pool>,
    #[serde(default)]
    weights: BTreeMap<String, i64>,
    token: Option<SecretRef>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Region {
    Eu,
    Us,
}

#[derive(Deserialize, JsonSchema)]
struct Limits {
    cpu: Option<i64>,
    memory: Option<ByteSize>,
}

#[derive(Deserialize, JsonSchema)]
struct Pool {
    name: String,
    size: Option<ByteSize>,
}

fn agenthost() -> String {
    "agenthost".into()
}

fn three() -> i64 {
    3
}

fn minute() -> ConfigDuration {
    ConfigDuration(std::time::Duration::from_secs(60))
}

impl Config {
    fn read(self) -> Value {
        let bytes = |size: Option<ByteSize>| size.map(|size| size.0);
        json!({
            "region": match self.region { Region::Eu => "eu", Region::Us => "us" },
            "name": self.name,
            "retries": self.retries,
            "rate": self.rate,
            "dry_run": self.dry_run,
            "timeout": self.timeout.0.as_secs_f64(),
            "memory": bytes(self.memory),
            "limits": self.limits.map(|limits| json!({"cpu": limits.cpu, "memory": bytes(limits.memory)})),
            "hosts": self.hosts,
            "pools": self.pools.into_iter().map(|pool| json!({"name": pool.name, "size": bytes(pool.size)})).collect::<Vec<_>>(),
            "weights": self.weights,
            "token": self.token.map(|token| token.get().unwrap().reveal().to_string()),
        })
    }
}

struct Nothing;

#[async_trait]
impl SyncAgent for Nothing {
    async fn execute(&self, _: Task) -> Result<Resource> {
        Ok(Resource::succeeded(Outputs::new()))
    }
}

/// What a plugin has against a block, and what it has read.
async fn configure(block: &Value) -> (Vec<Value>, Option<Value>) {
    let read = Arc::new(Mutex::new(None));
    let got = read.clone();
    let plugin = Plugin::new("golden", "1").sync_agent("nothing", Nothing).configure(move |config: Config| {
        *got.lock().unwrap() = Some(config.read());
        async { Ok::<(), Vec<ConfigError>>(()) }
    });
    let config = block.as_str().map_or_else(|| block.to_string(), str::to_string);
    let mut client = PluginServiceClient::new(run(plugin).await.channel());
    let errors = client.configure(ConfigureRequest { config }).await.unwrap().into_inner().errors;
    let read = read.lock().unwrap().take();
    (errors.into_iter().map(|e| json!({"key": e.key, "message": e.message})).collect(), read)
}

/// Numbers are compared as such: 2 is 2.0.
fn same(got: &Value, want: &Value) -> bool {
    match (got, want) {
        (Value::Number(got), Value::Number(want)) => got.as_f64() == want.as_f64(),
        (Value::Object(got), Value::Object(want)) => {
            got.len() == want.len() && want.iter().all(|(key, want)| got.get(key).is_some_and(|got| same(got, want)))
        }
        _ => got == want,
    }
}

#[test]
fn configurations_are_read_and_refused_as_in_all_languages() {
    let golden: Map<String, Value> = serde_json::from_str(include_str!("config.json")).unwrap();
    // The environment is a process's, and this one has threads: the cases are tried by another one, which has it from its start.
    if std::env::var_os("AGENTHOST_GOLDEN").is_none() {
        let environment = golden["environment"].as_object().unwrap();
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "configurations_are_read_and_refused_as_in_all_languages", "--nocapture"]);
        again.env("AGENTHOST_GOLDEN", "1");
        for name in ["FLYTE_SECRETS_ENV_PREFIX", "FLYTE_SECRETS_DEFAULT_DIR", "FLYTE_SECRETS_FILE_PREFIX"] {
            again.env_remove(name);
        }
        again.envs(environment.iter().map(|(name, value)| (name, value.as_str().unwrap())));
        let output = again.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let cases = |of: &str| golden[of].as_array().unwrap().clone();
    let (good, bad) = (cases("good"), cases("bad"));
    assert!(good.len() >= 20 && bad.len() >= 40, "there are {} good and {} bad cases", good.len(), bad.len());
    let mut wrong = Vec::new();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        for case in good {
            let (errors, read) = configure(&case["config"]).await;
            let read = read.unwrap_or_default();
            let want = case["read"].as_object().unwrap();
            let fits = want.iter().all(|(key, want)| same(&read[key], want));
            if !errors.is_empty() || !fits {
                wrong.push(format!("{}: {errors:?}, read {read}", case["name"]));
            }
        }
        for case in bad {
            let (errors, _) = configure(&case["config"]).await;
            if Value::from(errors.clone()) != case["errors"] {
                wrong.push(format!("{}: {errors:?}, want {}", case["name"], case["errors"]));
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
