#!/usr/bin/env bash
# OpenTelemetry's instrumentation of gRPC for Python names spans otherwise than the convention, and than those for Go and Java do.
#
# Expected: the spans of a call of grpc.health.v1.Health/Check are called "grpc.health.v1.Health/Check", which is what the semantic conventions
# for RPC say (package.Service/Method, without a slash in front).
# Seen (opentelemetry-instrumentation-grpc 0.66b2, grpcio 1.82.1): the client's and the server's are called "/grpc.health.v1.Health/Check".
#
# What follows for us: in a trace that goes through the host into a plugin in Python one call has two names. A query by the name of a span
# has to take both; the host's own have the convention's.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q opentelemetry-instrumentation-grpc==0.66b2 opentelemetry-sdk==1.45.2 grpcio==1.82.1 grpcio-health-checking==1.82.1
venv/bin/python - <<'PY'
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from opentelemetry import trace
from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient, GrpcInstrumentorServer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans = InMemorySpanExporter()
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(spans))
GrpcInstrumentorServer().instrument()
GrpcInstrumentorClient().instrument()

server = grpc.server(ThreadPoolExecutor(1))
health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
    health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
server.stop(None).wait()

seen = sorted((span.kind.name, span.name) for span in spans.get_finished_spans())
want = [("CLIENT", "/grpc.health.v1.Health/Check"), ("SERVER", "/grpc.health.v1.Health/Check")]
if seen != want:
    raise SystemExit(f"CHANGED: {seen}")
print("seen: spans called /grpc.health.v1.Health/Check")
PY
