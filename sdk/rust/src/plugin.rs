//! A plugin: some agents in one program.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::agent::{AsyncAgent, Kind, SyncAgent, Typed};
use crate::config::{ConfigError, Configuration};
use crate::registry::{Registered, Registry};
use crate::serve;

/// A kind of task: its type, and the version of the type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Category {
    /// The task type, such as `warehouse_query`.
    pub name: String,
    /// Its version, mostly 0.
    pub version: i32,
}

impl Category {
    /// A task type at a version.
    pub fn new(name: impl Into<String>, version: i32) -> Self {
        Category { name: name.into(), version }
    }
}

impl From<&str> for Category {
    fn from(name: &str) -> Self {
        Category::new(name, 0)
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} version {}", self.name, self.version)
    }
}

/// Some agents, and what the host is told of them. [`serve`](Plugin::serve) is the last call of a program.
pub struct Plugin {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) registry: Registry,
    pub(crate) capabilities: Vec<String>,
    pub(crate) configuration: Option<Configuration>,
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
            mistakes: Vec::new(),
        }
    }

    /// Adds an async agent for a task type, or, with [`Category::new`], for a version of it.
    pub fn agent(self, category: impl Into<Category>, agent: impl AsyncAgent) -> Self {
        self.agent_for([category.into()], agent)
    }

    /// Adds an async agent for several categories.
    pub fn agent_for(self, categories: impl IntoIterator<Item = Category>, agent: impl AsyncAgent) -> Self {
        self.register(categories, Kind::Async(Arc::new(Typed(agent))))
    }

    /// Adds a sync agent for a task type.
    pub fn sync_agent(self, category: impl Into<Category>, agent: impl SyncAgent) -> Self {
        self.sync_agent_for([category.into()], agent)
    }

    /// Adds a sync agent for several categories.
    pub fn sync_agent_for(self, categories: impl IntoIterator<Item = Category>, agent: impl SyncAgent) -> Self {
        self.register(categories, Kind::Sync(Arc::new(agent)))
    }

    fn register(mut self, categories: impl IntoIterator<Item = Category>, kind: Kind) -> Self {
        let categories: Vec<_> = categories.into_iter().collect();
        let name = categories.first().map(|c| c.name.clone()).unwrap_or_default();
        if let Err(mistake) = self.registry.add(Registered { name, categories, kind }) {
            self.mistakes.push(mistake);
        }
        self
    }

    /// Declares that two `create` calls with one [`idempotency_key`](crate::Task::idempotency_key) make one job: then the host
    /// may repeat a call whose answer was lost in a crash.
    pub fn idempotent_create(self) -> Self {
        self.capability("idempotent_create")
    }

    /// Declares a capability by name.
    pub fn capability(mut self, name: impl Into<String>) -> Self {
        self.capabilities.push(name.into());
        self
    }

    /// Takes a configuration, the plugin's `config:` block in the host's file. Its type's JSON Schema (comments on fields become
    /// descriptions) is what the block is checked against, and wrong keys are told all at once, before the function is called.
    /// What the function returns as errors is told the same way. Tasks are refused until the configuration has come.
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

    /// Serves the plugin until the host stops it, and ends the process. Log with `tracing`: level and fields arrive in the host's
    /// log. What is printed arrives there, too.
    pub fn serve(self) -> ! {
        serve::run(self)
    }
}
