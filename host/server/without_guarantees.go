//go:build agenthost_without_guarantees

package server

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/agenthost/agenthost/host/guarantee"
)

// guaranteesOff are the guarantees that CHAOS_WITHOUT, such as "G5 G7", takes from a host of this build, which test/chaos
// makes to show what each is for.
func guaranteesOff(log *slog.Logger) (guarantee.Set, error) {
	names := strings.Fields(os.Getenv("CHAOS_WITHOUT"))
	off, err := guarantee.Parse(names...)
	if err != nil {
		return off, fmt.Errorf("CHAOS_WITHOUT: %w", err)
	}
	log.Warn("this host is a test build, and goes without guarantees", "guarantees", strings.Join(names, " "))
	return off, nil
}
