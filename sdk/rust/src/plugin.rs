//! A plugin: some agents in one program.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::agent::{AsyncAgent, Finder, Kind, SyncAgent, Typed};
use crate::category::Registration;
use crate::config::{ConfigError, Configuration};
use crate::error::Result as CallResult;
use crate::registry::{Registered, Registry};
use crate::trace::OnCall;

/// The capability by which an agent or a plugin promises that a creation may be repeated.
pub(crate) const IDEMPOTENT_CREATE: &str = "idempotent_create";

/// The capability by which an agent promises that it finds jobs by their key, and gives attempts up.
pub(crate) const FIND_BY_KEY: &str = "find_by_key";

/// Writes metrics as text.
pub(crate) type Gather = Box<dyn Fn() -> CallResult<String> + Send + Sync>;

/// Some agents, and what the host is told of them. [`serve`](Plugin::serve) is the last call of a program.
pub struct Plugin {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) registry: Registry,
    pub(crate) capabilities: Vec<String>,
    pub(crate) configuration: Option<Configuration>,
    pub(crate) on_call: Option<OnCall>,
    pub(crate) metrics: Option<Gather>,
    /// What is wrong with how the plugin is put together: it is told when it is served.
    pub(crate) mistakes: Vec<String>,
}

impl Plugin {
    /// A plugin without agents yet. Name and version are shown to people.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Plugin {
            name: name.into(),
            version: version.into(),
            registry: Registry::default(),
            capabilities: Vec::new(),
            configuration: None,
            on_call: None,
            metrics: None,
            mistakes: Vec::new(),
        }
    }

    /// Adds an async agent for a task type, or for what a [`Registration`] says.
    pub fn agent(self, registration: impl Into<Registration>, agent: impl AsyncAgent) -> Self {
        self.register(registration.into(), Kind::Async(Arc::new(Typed::new(agent))))
    }

    /// Adds an async agent that is a [`Finder`], and so declares the capability `find_by_key`.
    pub fn finding_agent(self, registration: impl Into<Registration>, agent: impl Finder) -> Self {
        self.register(registration.into(), Kind::Async(Arc::new(Typed::finding(agent))))
    }

    /// Adds a sync agent for a task type, or for what a [`Registration`] says.
    pub fn sync_agent(self, registration: impl Into<Registration>, agent: impl SyncAgent) -> Self {
        self.register(registration.into(), Kind::Sync(Arc::new(agent)))
    }

    fn register(mut self, registration: Registration, kind: Kind) -> Self {
        let Registration { categories, name, idempotent_create } = registration;
        let name = name.or_else(|| categories.first().map(|c| c.name.clone())).unwrap_or_default();
        if let Err(mistake) =
            self.registry.add(Registered { name, categories, kind, idempotent_create, apart: Arc::default() })
        {
            self.mistakes.push(mistake);
        }
        self
    }

    /// Promises for all agents that two `create` calls with one [`idempotency_key`](crate::Task::idempotency_key) make one
    /// job: then the host may repeat a call whose answer was lost in a crash. [`Registration::idempotent_create`] promises it
    /// for one agent.
    pub fn idempotent_create(self) -> Self {
        self.capability(IDEMPOTENT_CREATE)
    }

    /// Declares a capability by name.
    pub fn capability(mut self, name: impl Into<String>) -> Self {
        self.capabilities.push(name.into());
        self
    }

    /// Has a function see the span of each call before it begins, with those of the headers `traceparent`, `tracestate` and `baggage`
    /// that it has brought. So a program that sends its spans by OpenTelemetry puts them into the trace that the host's call belongs
    /// to: `span.set_parent(propagator.extract(headers))`, with `tracing_opentelemetry::OpenTelemetrySpanExt`. Its subscriber has
    /// [`HostLog`](crate::HostLog) among its layers.
    pub fn on_call(mut self, see: impl Fn(&tracing::Span, &HashMap<String, String>) + Send + Sync + 'static) -> Self {
        self.on_call = Some(Box::new(see));
        self
    }

    /// Gives the plugin's own metrics, in Prometheus' text format, whenever the host is asked for its own: it shows them as `plugin_…`, with
    /// the plugin's name. With the crate `prometheus` it is
    /// `.metrics(|| Ok(TextEncoder::new().encode_to_string(&prometheus::gather())?))`.
    pub fn metrics(mut self, gather: impl Fn() -> CallResult<String> + Send + Sync + 'static) -> Self {
        self.metrics = Some(Box::new(gather));
        self
    }

    /// Takes a configuration, the plugin's `config:` block in the host's file. Its type's JSON Schema (comments on fields become
    /// descriptions) is what the block is checked against, and wrong keys are told all at once, before the function is called.
    /// What the function returns as errors is told the same way. Tasks are refused until the configuration has come.
    ///
    /// ```
    /// # use agenthost::{ConfigError, Plugin, Resource, Result, SyncAgent, Task, testing::run};
    /// # struct Nothing;
    /// # #[agenthost::async_trait]
    /// # impl SyncAgent for Nothing {
    /// #     async fn execute(&self, _: Task) -> Result<Resource> { Ok(Resource::succeeded(agenthost::Outputs::new())) }
    /// # }
    /// #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// struct Config {
    ///     /// Where queries run.
    ///     region: String,
    /// }
    ///
    /// let plugin = Plugin::new("warehouse", "1.0.0").sync_agent("nothing", Nothing).configure(|config: Config| async move {
    ///     match config.region.as_str() {
    ///         "eu" => Ok(()),
    ///         other => Err(vec![ConfigError::new("region", format!("must be eu, it is {other}"))]),
    ///     }
    /// });
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let errors = run(plugin).await.configure(serde_json::json!({"region": "us"})).await.unwrap();
    /// # assert_eq!(errors, [ConfigError::new("region", "must be eu, it is us")]);
    /// # });
    /// ```
    pub fn configure<C, F, R>(mut self, function: F) -> Self
    where
        C: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(C) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), Vec<ConfigError>>> + Send + 'static,
    {
        if self.configuration.is_some() {
            self.mistakes.push("there are two configurations, and a plugin takes one".into());
        }
        self.configuration = Some(Configuration::new(function));
        self
    }
}
