//! What the plugin promises, in process and as a program.

mod batch;
mod chat;
mod config;
mod ends;
mod flytekit;
mod program;
mod real;
mod server;
mod support;
mod types;
