//! What the plugin promises: in process, as a program, and against real servers.

mod access;
mod emulators;
mod exact;
mod flytekit;
mod http;
mod queries;
mod stores;
mod support;
