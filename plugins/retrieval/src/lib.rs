//! The plugin of the task type `data_retrieval`: rows, columns and files by SQL, from where they lie.

mod agent;
mod answer;
mod config;
mod credentials;
mod engine;
mod exact;
mod fault;
mod files;
mod int96;
mod job;
mod location;
mod look;
mod source;
mod statement;
mod stores;
mod table;
mod target;
mod unite;
mod value;
mod web;

use agenthost::Plugin;

/// The plugin, ready to be served.
pub fn plugin() -> Plugin {
    let agent = agent::Retrieval::default();
    Plugin::new("retrieval", env!("CARGO_PKG_VERSION")).sync_agent("data_retrieval", agent.clone()).configure(
        move |config: config::Config| {
            let agent = agent.clone();
            async move { agent.configure(config) }
        },
    )
}
