package main

import (
	"context"
	"fmt"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/tools/adminclient"
	"github.com/agenthost/agenthost/tools/terminal"
)

// followEvents gives the host's events to send until ctx ends, and connects again after each retry interval while there is no
// stream: the host may be restarting, or be too old to have one.
func followEvents(ctx context.Context, host adminclient.Client, retry time.Duration, send func(admin.Event)) {
	for {
		_ = host.Events(ctx, send) // whether a host answers shows in its status
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return
		}
	}
}

// eventLine writes an event for people: 12:34:56.789  duckdb 3fa1b2c4d5e6  running, was starting for 1.2s: cause.
func eventLine(e admin.Event) string {
	line := fmt.Sprintf("%s  %s", e.Time.Local().Format("15:04:05.000"), terminal.Line(e.Plugin))
	if e.Generation != "" {
		line += " " + terminal.Line(e.Generation)
	}
	if e.Instance != nil && *e.Instance > 0 {
		line += fmt.Sprintf(" #%d", *e.Instance)
	}
	line += "  " + terminal.Line(e.State)
	if e.Was != "" {
		line += ", was " + terminal.Line(e.Was)
	}
	if e.Was != "" && e.Seconds > 0 { // not everything has a beginning
		line += " for " + shortly(e.Seconds)
	}
	if e.Cause != "" {
		line += ": " + terminal.Line(e.Cause) // a cause can have the plugin's last lines in it
	}
	return line
}

// shortly writes a time span: to the millisecond where it is short, in its two largest units where it is long.
func shortly(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return uptime(seconds)
}
