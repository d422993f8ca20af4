package main

import (
	"context"
	"os"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// fileConfig is the configuration of the exporter.
type fileConfig struct {
	// Path is the file, to which lines are added.
	Path string `mapstructure:"path"`
}

func newFileFactory() exporter.Factory {
	kind := component.MustNewType("lines")
	return exporter.NewFactory(kind, func() component.Config { return &fileConfig{} },
		exporter.WithTraces(func(_ context.Context, _ exporter.Settings, c component.Config) (exporter.Traces, error) {
			return open(c)
		}, component.StabilityLevelStable),
		exporter.WithLogs(func(_ context.Context, _ exporter.Settings, c component.Config) (exporter.Logs, error) {
			return open(c)
		}, component.StabilityLevelStable))
}

// file is where what comes is written.
type file struct {
	mu sync.Mutex
	to *os.File
}

func open(c component.Config) (*file, error) {
	to, err := os.OpenFile(c.(*fileConfig).Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:forcetypeassert // it is the factory's
	return &file{to: to}, err
}

func (f *file) write(line []byte, err error) error {
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err = f.to.Write(append(line, '\n'))
	return err
}

func (f *file) ConsumeTraces(_ context.Context, traces ptrace.Traces) error {
	return f.write((&ptrace.JSONMarshaler{}).MarshalTraces(traces))
}

func (f *file) ConsumeLogs(_ context.Context, logs plog.Logs) error {
	return f.write((&plog.JSONMarshaler{}).MarshalLogs(logs))
}

func (*file) Start(context.Context, component.Host) error { return nil }
func (f *file) Shutdown(context.Context) error            { return f.to.Close() }
func (*file) Capabilities() consumer.Capabilities         { return consumer.Capabilities{} }
