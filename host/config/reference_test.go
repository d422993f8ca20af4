package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agenthost/agenthost/host/config"
)

func TestThePublishedReferenceIsUpToDate(t *testing.T) {
	const path = "../../docs/reference/configuration.md"
	published, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(config.Reference()), string(published)); diff != "" {
		t.Errorf("run: go run ./cmd/agenthost schema -o markdown > docs/reference/configuration.md\n%s", diff)
	}
}

func TestTheReferenceHasEveryKey(t *testing.T) {
	text := string(config.Reference())
	for _, key := range config.Keys([]string{"NAME"}) {
		key = strings.TrimPrefix(key, "plugins.NAME.")
		if !strings.Contains(text, "| `"+key+"` |") {
			t.Errorf("%s is missing", key)
		}
	}
}
