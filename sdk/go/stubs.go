package agent

import "context"

type configuration struct{}

func configurationOf[C any](fn func(context.Context, C) error) *configuration { return nil }

type callTracker struct{}

func newCallTracker() *callTracker                      { return nil }
func (c *callTracker) drain(ctx context.Context)        {}
func (t *Task) decodeInput(name string, into any) error { return nil }
func (t *Task) decodeInputs(into any) error             { return nil }

// Serve serves the plugin until the host stops it. It is the last call of main.
func Serve(plugin Plugin, options ...Option) {}
