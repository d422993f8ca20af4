// Command plugin is a plugin in Go that sends its spans by OpenTelemetry: what an author writes for that is what main has.
package main

import (
	"context"
	"log/slog"
	"os"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"

	agent "github.com/agenthost/agenthost/sdk/go"
)

func main() {
	exporter, err := otlptracegrpc.New(context.Background())
	if err != nil {
		slog.Error("its spans go nowhere", "error", err)
		os.Exit(1)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})
	agent.Serve(agent.Plugin{Name: "traced", Version: "1.0.0"},
		agent.Async("traced_go", jobs{}),
		agent.GRPC(grpc.StatsHandler(otelgrpc.NewServerHandler())),
		agent.OnClose(provider.Shutdown))
}

type job struct{}

type jobs struct{}

func (jobs) Create(ctx context.Context, _ *agent.Task) (job, error) {
	_, span := otel.Tracer("jobs").Start(ctx, "make a job")
	defer span.End()
	slog.InfoContext(ctx, "a job is made")
	return job{}, nil
}

func (jobs) Get(context.Context, agent.Job[job]) (*agent.Resource, error) {
	return agent.Running("half way"), nil
}

func (jobs) Delete(context.Context, agent.Job[job]) error { return nil }
