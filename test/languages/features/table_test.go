package features

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	listFile    = "features.yaml"
	resultsFile = "results.json"
	pageFile    = "../../../docs/reference/sdk-features.md"
)

// update writes down what the run found, and the page that is made from it.
var update = flag.Bool("update", false, "record what the SDKs have now, and make the page anew")

// group is a part of the list of features.
type group struct {
	Group string
	Rows  []struct{ ID, Title string }
}

// results say by language which features it has.
type results map[string][]string

func readList(t *testing.T) []group {
	t.Helper()
	data, err := os.ReadFile(listFile)
	if err != nil {
		t.Fatal(err)
	}
	var groups []group
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&groups); err != nil {
		t.Fatalf("%s: %v", listFile, err)
	}
	return groups
}

func readResults(t *testing.T) results {
	t.Helper()
	recorded := results{}
	data, err := os.ReadFile(resultsFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &recorded); err != nil {
		t.Fatalf("%s: %v", resultsFile, err)
	}
	return recorded
}

func (r results) write(t *testing.T) {
	t.Helper()
	all := readResults(t)
	maps.Copy(all, r)
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(resultsFile, append(data, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	writePage(t)
}

func writePage(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(pageFile, []byte(page(readList(t), readResults(t))), 0o600); err != nil {
		t.Fatal(err)
	}
}

// page is docs/reference/sdk-features.md.
func page(groups []group, r results) string {
	var out strings.Builder
	out.WriteString(`# What each SDK offers

Made from test/languages/features by ` + "`go test ./test/languages/features -update`" + `; do not edit. A ✓ stands where the SDK's
example (` + "`sdk/LANGUAGE/examples/features`" + `), run as the host runs a plugin, has passed the row's probe over the wire; the probes
are the same for all. An empty cell is what the SDK does not offer its authors: a plugin can still do it on the plain contract.
`)
	for _, g := range groups {
		fmt.Fprintf(&out, "\n## %s\n\n| |", g.Group)
		for _, language := range languages {
			fmt.Fprintf(&out, " %s |", language.title)
		}
		out.WriteString("\n|---|" + strings.Repeat(":-:|", len(languages)) + "\n")
		for _, row := range g.Rows {
			fmt.Fprintf(&out, "| %s |", row.Title)
			for _, language := range languages {
				if slices.Contains(r[language.name], row.ID) {
					out.WriteString(" ✓ |")
				} else {
					out.WriteString(" |")
				}
			}
			out.WriteString("\n")
		}
	}
	return out.String()
}

func TestThePageIsWhatTheProbesFound(t *testing.T) {
	if *update {
		writePage(t)
	}
	written, err := os.ReadFile(pageFile)
	if err != nil {
		t.Fatal(err)
	}
	if made := page(readList(t), readResults(t)); string(written) != made {
		t.Errorf("%s is not what %s and %s make: go test ./test/languages/features -update", pageFile, listFile, resultsFile)
	}
}

func TestEachFeatureHasOneProbe(t *testing.T) {
	listed := map[string]bool{}
	for _, g := range readList(t) {
		for _, row := range g.Rows {
			if listed[row.ID] {
				t.Errorf("%s has the feature %s twice", listFile, row.ID)
			}
			listed[row.ID] = true
			if probes[row.ID] == nil {
				t.Errorf("the feature %s has no probe", row.ID)
			}
		}
	}
	for id := range probes {
		if !listed[id] {
			t.Errorf("%s does not have the feature %s, which has a probe", listFile, id)
		}
	}
}
