package agent

import (
	"context"
	"errors"

	"google.golang.org/grpc"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// Plugin says who the plugin is.
type Plugin struct {
	// Name is the plugin's own name, such as "duckdb".
	Name string
	// Version is its version, such as "1.4.0": free text, shown to people.
	Version string
}

// Option is a part of a plugin: an agent (Async, Sync), its configuration (Configure), a promise (IdempotentCreate), an
// end (OnClose).
type Option interface {
	apply(*Server) error
}

type optionFunc func(*Server) error

func (f optionFunc) apply(s *Server) error { return f(s) }

// Async registers an asynchronous agent for a task category, version 0 unless AtVersion says otherwise.
func Async[M any](category string, impl AsyncAgent[M], options ...RegisterOption) Option {
	return register(category, asyncAdapter[M]{impl}, impl, options)
}

// Sync registers a synchronous agent for a task category, version 0 unless AtVersion says otherwise.
func Sync(category string, impl SyncAgent, options ...RegisterOption) Option {
	return register(category, impl, impl, options)
}

// RegisterOption changes how an agent is registered: Named, AtVersion, Also, IdempotentCreate, Capabilities.
type RegisterOption interface {
	applyTo(*registration)
}

type registerFunc func(*registration)

func (f registerFunc) applyTo(r *registration) { f(r) }

// Named sets the agent's name in ListAgents and in errors; the default is its category. Registrations of one name and
// kind are listed as one agent with several categories.
func Named(name string) RegisterOption {
	return registerFunc(func(r *registration) { r.name = name })
}

// AtVersion sets the version of the category that the registration names.
func AtVersion(version int32) RegisterOption {
	return registerFunc(func(r *registration) { r.categories[0].Version = version })
}

// Also makes the agent serve further categories.
func Also(categories ...Category) RegisterOption {
	return registerFunc(func(r *registration) { r.categories = append(r.categories, categories...) })
}

// Configure lets the plugin take configuration: the `config:` block that the host's file has for it, as a C.
//
// C is a struct with json tags. Its JSON Schema (struct tags `jsonschema:"description=…,required,minimum=1,enum=a"`) is
// published, and a block is checked against it strictly: unknown keys, wrong types and whatever the tags forbid are
// reported, all at once, by key. Then fn is called, exactly once and before the first task. Duration and Size are for
// values such as "30s" and "2GiB".
//
// C may have a pointer method SetDefaults(), called before decoding, and Validate() error or Validate() []ConfigError,
// called after it. fn may return a ConfigError, or several joined, to name the key that is wrong; Unavailable says that nothing is
// wrong, but something that the plugin needs is away.
func Configure[C any](fn func(ctx context.Context, config C) error) Option {
	return optionFunc(func(s *Server) error { return s.setConfiguration(configurationOf(fn)) })
}

// Promise is what a plugin or an agent promises beyond the contract. As an Option it holds for every agent of the plugin,
// as a RegisterOption for all categories of that agent.
type Promise struct{ names []string }

func (p Promise) apply(s *Server) error { //nolint:unparam // an Option may fail
	s.capabilities = append(s.capabilities, p.names...)
	return nil
}

func (p Promise) applyTo(r *registration) { r.capabilities = append(r.capabilities, p.names...) }

// IdempotentCreate promises that two Create calls with the same Task.IdempotencyKey make one job. Only then does the host
// repeat a Create whose answer was lost in a crash.
func IdempotentCreate() Promise { return Capabilities(pluginv1.CapabilityIdempotentCreate) }

// Capabilities promises things by name. Names that the host does not know are ignored.
func Capabilities(names ...string) Promise { return Promise{names} }

// GRPC adds options of the gRPC server, such as instrumentation:
//
//	agent.GRPC(grpc.StatsHandler(otelgrpc.NewServerHandler()))
//
// makes a span of OpenTelemetry's for each call, in the trace that the host's call belongs to.
func GRPC(options ...grpc.ServerOption) Option {
	return optionFunc(func(s *Server) error {
		s.grpc = append(s.grpc, options...)
		return nil
	})
}

// MetricsText lets the plugin have metrics of its own, in Prometheus' text format: what text returns, up to 256 KiB, comes out
// at the host's /metrics, each name with "plugin_" before it and the plugin's name as a label. The package metrics does it
// with Prometheus' client.
func MetricsText(text func() ([]byte, error)) Option {
	return optionFunc(func(s *Server) error {
		if s.metrics != nil {
			return errors.New("there are two options for metrics: a plugin takes one")
		}
		s.metrics = text
		return nil
	})
}

// OnClose adds something to do when the plugin stops, after the agents' own Close, in reverse order.
func OnClose(fn func(ctx context.Context) error) Option {
	return optionFunc(func(s *Server) error {
		s.closers = append(s.closers, closer{"OnClose", fn})
		return nil
	})
}
