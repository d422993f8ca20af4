package config_test

import (
	"os"
	"path/filepath"
	"regexp"
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

// values.schema.json of the chart has the schema of the configuration as that of its value config.
func TestTheSchemaInTheChartIsUpToDate(t *testing.T) {
	const file, begin, end = "charts/agenthost/values.schema.json", "\n    \"config\": ", "\n    },\n"
	is, err := os.ReadFile(filepath.Join("..", "..", file))
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(is), begin)
	_, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		t.Fatalf("%s has no value config", file)
	}
	schema := regexp.MustCompile(`\n *"\$schema": .*`).ReplaceAllString(strings.TrimSpace(string(config.Schema())), "") // the file has one
	schema = strings.TrimSuffix(strings.ReplaceAll(schema, "\n", "\n    "), "\n    }")
	published.Check(t, file, before+begin+schema+end+after)
}
