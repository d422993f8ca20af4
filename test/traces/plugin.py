"""A plugin in Python that sends its spans: what an author writes for that is what stands before `serve`."""

import logging
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.grpc import GrpcAioInstrumentorServer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from agenthost.agent import AsyncAgent, Job, Phase, Plugin, Resource, Task

log = logging.getLogger("jobs")


@dataclass
class Meta:
    name: str


class Jobs(AsyncAgent[Meta]):
    task_type = "traced_python"

    async def create(self, task: Task) -> Meta:
        with trace.get_tracer("jobs").start_as_current_span("make a job"):
            log.info("a job is made")
            return Meta("job")

    async def get(self, job: Job[Meta]) -> Resource:
        return Resource(Phase.RUNNING, "half way")

    async def delete(self, job: Job[Meta]) -> None:
        pass


if __name__ == "__main__":
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    GrpcAioInstrumentorServer().instrument()
    Plugin("traced", "1.0.0", [Jobs()]).serve()
