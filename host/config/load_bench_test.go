package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/agenthost/agenthost/host/config"
)

// What a reload of one of many plugins waits for.
func BenchmarkLoad(b *testing.B) {
	for _, plugins := range []int{1, 300} {
		b.Run(fmt.Sprintf("%d plugins", plugins), func(b *testing.B) {
			configured := map[string]any{}
			for n := range plugins {
				configured[fmt.Sprintf("plugin-%d", n)] = map[string]any{
					"command": []string{"/opt/plugins/hello", "--task-types", fmt.Sprintf("type_%d", n)}, "start_timeout": "1m",
					"config": map[string]any{"greeting": "Hello"}, "env": map[string]any{"LEVEL": "info"},
				}
			}
			text, err := json.Marshal(map[string]any{"plugins": configured})
			if err != nil {
				b.Fatal(err)
			}
			file := filepath.Join(b.TempDir(), "host.json")
			if err := os.WriteFile(file, text, 0o600); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := config.Load(config.Sources{Files: []string{file}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
