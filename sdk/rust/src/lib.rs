//! Write Flyte agents in Rust, as plugins of agenthost.
//!
//! An agent handles the tasks of some task types. It is a type with three methods, and a program with one line:
//!
//! ```
//! use agenthost::testing::{TestTask, run};
//! use agenthost::{AsyncAgent, Job, Plugin, Resource, Result, Task};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Query { statement: String } // what Flyte keeps between the calls, as JSON
//!
//! struct Warehouse;
//!
//! #[agenthost::async_trait]
//! impl AsyncAgent for Warehouse {
//!     type Meta = Query;
//!     async fn create(&self, task: Task) -> Result<Query> { // start, return at once
//!         Ok(Query { statement: task.input("statement")? })
//!     }
//!     async fn get(&self, job: Job<Query>) -> Result<Resource> { // how is it?
//!         Ok(Resource::succeeded([("ran", job.meta.statement)]))
//!     }
//!     async fn delete(&self, job: Job<Query>) -> Result<()> { Ok(()) } // end it; fine if it is gone
//! }
//!
//! fn plugin() -> Plugin { // the program's main is plugin().serve()
//!     Plugin::new("warehouse", "1.0.0").agent("warehouse_query", Warehouse)
//! }
//!
//! #[tokio::main] // a test
//! async fn main() {
//!     let task = TestTask::new("warehouse_query").input("statement", "select 1");
//!     assert_eq!(run(plugin()).await.run(task).await.unwrap().output::<String>("ran"), "select 1");
//! }
//! ```
//!
//! For work that fits within a call, implement [`SyncAgent`] and register it with [`Plugin::sync_agent`]. A plugin can hold
//! several agents. [`testing`] runs agents in tests.
//!
//! **The one rule about jobs:** between `create` and `get` the process may have been replaced by a newer one. Everything that
//! it takes to find the job again goes into the metadata; only ever add optional fields to it; never put a secret there.

// Each module uses only those before it in the order that tests/modules.rs holds.
mod agent;
mod apart;
mod attempt;
mod calls;
mod category;
mod config;
mod connection;
mod context;
mod error;
mod exact;
mod exchange;
mod hostlog;
mod jobstore;
mod literal;
mod outputtypes;
mod packed;
mod plugin;
mod registry;
mod resource;
mod retry;
mod schema;
mod secret;
mod serve;
mod service;
#[cfg(feature = "storage")]
pub mod storage;
mod task;
pub mod testing;
mod tls;
mod trace;
mod value;

/// The messages of Flyte's agent protocol and of the plugin contract, as they cross the wire.
#[allow(missing_docs, clippy::all, deprecated, rustdoc::all)]
#[rustfmt::skip] // generated: see tests/contract.rs
pub mod contract;

pub use agent::{
    AsyncAgent, Finder, Job, LogLine, LogSink, LogsQuery, Metric, MetricsQuery, Originator, SyncAgent, json_meta,
};
pub use async_trait::async_trait;
pub use category::{Category, Registration};
pub use config::{ByteSize, ConfigDuration, ConfigError, SecretRef};
pub use connection::Connection;
pub use context::{replaced, trace_headers};
pub use error::{Error, Result};
pub use hostlog::HostLog;
pub use jobstore::JobStore;
pub use literal::{decode, encode};
pub use outputtypes::OutputTypes;
pub use plugin::Plugin;
pub use resource::{Link, Outputs, Phase, Resource};
pub use retry::{Refusal, retry};
/// msgpack's values, of which [`Value::MsgPack`] holds one.
pub use rmpv;
pub use secret::{Secret, secret};
pub use task::Task;
pub use value::{Column, Directory, File, FromValue, Json, StructuredDataset, Value, seconds};
