#!/usr/bin/env bash
# With tonic, a call that has run out of time is CANCELLED.
#
# Expected: DEADLINE_EXCEEDED, which is gRPC's code for that, and what grpc-go, grpc-java and grpcio say.
# Seen (tonic 0.14.9 at both ends): CANCELLED, "Timeout expired". Both its client and its server look at grpc-timeout, and make the same of
# it: whoever goes by the code takes a call that was too slow for one that somebody gave up.
#
# What follows for us: on the stream that many calls share, the Rust SDK answers DEADLINE_EXCEEDED; for calls by themselves the host has a
# clock of its own, and says so whatever the plugin does.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cat >"$work/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
tonic = "=0.14.9"
tonic-health = "=0.14.9"
tokio = { version = "=1.54.1", features = ["rt-multi-thread", "macros", "net", "time"] }
tokio-stream = { version = "0.1", features = ["net"] }
TOML
cat >"$work/src/main.rs" <<'RUST'
use std::time::Duration;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient, health_server::{Health, HealthServer}};

struct Slow;

#[tonic::async_trait]
impl Health for Slow {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Ok(Response::new(HealthCheckResponse::default()))
    }
    type WatchStream = tokio_stream::Pending<Result<HealthCheckResponse, Status>>;
    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

#[tokio::main]
async fn main() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(HealthServer::new(Slow))
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)),
    );
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut client = HealthClient::new(channel);
    let mut request = Request::new(HealthCheckRequest::default());
    request.set_timeout(Duration::from_millis(200));
    let seen = client.check(request).await.unwrap_err();
    println!("tonic 0.14.9: a call whose time is over after 200 ms is {:?}: {:?}", seen.code(), seen.message());
    std::process::exit(if seen.code() == Code::Cancelled { 0 } else { 1 });
}
RUST
cd "$work" && cargo run --quiet || { echo "CHANGED"; exit 1; }
