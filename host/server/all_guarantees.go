//go:build !agenthost_without_guarantees

package server

import (
	"log/slog"

	"github.com/agenthost/agenthost/host/guarantee"
)

// guaranteesOff is none: nothing takes a guarantee from a host in production. The other build is in without_guarantees.go.
func guaranteesOff(*slog.Logger) (guarantee.Set, error) { return guarantee.Set(0), nil }
