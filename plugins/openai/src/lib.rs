//! The tasks of OpenAI and of every server that speaks its API: chats and embeddings within a call, batches beyond it.

mod batch;
mod call;
mod chat;
mod config;
mod embeddings;
mod fault;
mod ledger;
mod log;
mod meta;
mod numbers;
mod report;
mod service;
mod state;

use agenthost::Plugin;

use crate::service::Configured;

/// The whole plugin, as it is served and as tests run it.
pub fn plugin() -> Plugin {
    let configured = Configured::default();
    let taken = configured.clone();
    Plugin::new("openai", env!("CARGO_PKG_VERSION"))
        .sync_agent("chatgpt", chat::Chat::new(configured.clone()))
        .sync_agent("openai-embeddings", embeddings::Embeddings::new(configured.clone()))
        .finding_agent("openai-batch", batch::Batches::new(configured))
        .idempotent_create()
        .configure(move |config| std::future::ready(taken.take(config)))
}
