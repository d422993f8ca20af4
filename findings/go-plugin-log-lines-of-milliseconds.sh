#!/usr/bin/env bash
# An error that a plugin logs with a time of milliseconds is a DEBUG line at a go-plugin host.
#
# Expected: of the lines that hclog writes as JSON, and go-plugin reads from a plugin's standard error, the @timestamp may be any time of
# RFC 3339, such as JavaScript's toISOString and Java's Instant write; or a line whose time cannot be read keeps its level.
# Seen (go-plugin v1.8.0): six digits are asked for. With three, or none, the whole line becomes the text of a DEBUG line, level, message
# and fields in it: a host that logs from INFO on shows nothing of the error. A line without any @timestamp is read well.
#
# What follows for us: agenthost reads plugins' lines itself and takes any such time; the SDKs write six digits, so that their plugins'
# errors are seen at other hosts, too.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
cat > plugin.sh <<'SH'
#!/bin/sh
for time in '"@timestamp":"2026-01-02T03:04:05.000006Z",' '"@timestamp":"2026-01-02T03:04:05.006Z",' '"@timestamp":"2026-01-02T03:04:05Z",' ''; do
  echo "{\"@level\":\"error\",$time\"@message\":\"the disk is full\"}" >&2
done
echo '1|1|unix|/nowhere|grpc'
exec sleep 60
SH
chmod +x plugin.sh
cat > main.go <<'GO'
package main

import (
	"bytes"
	"fmt"
	"log"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
)

// output is written by several goroutines.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// levels are those of the plugin's lines.
func (o *output) levels() (found []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for line := range strings.Lines(o.text.String()) {
		if strings.Contains(line, "the disk is full") {
			found = append(found, strings.Fields(line)[0])
		}
	}
	return found
}

func main() {
	var seen output
	client := plugin.NewClient(&plugin.ClientConfig{
		Cmd:              exec.Command("./plugin.sh"),
		HandshakeConfig:  plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "FINDING", MagicCookieValue: "1"},
		Plugins:          plugin.PluginSet{},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: &seen, DisableTime: true}),
	})
	defer client.Kill()
	if _, err := client.Start(); err != nil {
		log.Fatal(err)
	}
	for range 100 {
		if len(seen.levels()) == 4 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	levels := seen.levels()
	fmt.Println("the levels of an error with a time of six digits, three, none, and without a time:", levels)
	if !slices.Equal(levels, []string{"[ERROR]", "[DEBUG]", "[DEBUG]", "[ERROR]"}) {
		client.Kill()
		log.Fatal("CHANGED")
	}
}
GO
go mod init finding 2>/dev/null
go get github.com/hashicorp/go-plugin@v1.8.0 2>/dev/null
go mod tidy 2>/dev/null
go run .
