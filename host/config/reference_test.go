package config_test

import (
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/test/published"
)

func TestThePublishedReferenceIsUpToDate(t *testing.T) {
	published.Check(t, "docs/reference/configuration.md", string(config.Reference()))
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
