package flyteconfig

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
)

func flyte(t interface{ Fatal(...any) }, version string) Flyte {
	f, err := ParseFlyte(version)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// anyTarget is any that can be printed.
func anyTarget(t *rapid.T) Target {
	target := Target{
		Flyte:     flyte(t, rapid.SampledFrom([]string{"1.13.0", "1.14", "1.15.0", "1.15", "1.16", "v1.16.8", "2", "2.0.43"}).Draw(t, "flyte")),
		Form:      rapid.SampledFrom(Forms).Draw(t, "form"),
		Transport: rapid.SampledFrom([]Transport{TransportPlain, TransportTLS}).Draw(t, "transport"),
		Beside:    rapid.Bool().Draw(t, "beside"),
		Endpoint: rapid.SampledFrom([]string{
			"dns:///agenthost.flyte.svc.cluster.local:8000", "k8s:///agenthost.flyte:8000", "k8s://agenthost.flyte:8000", "k8s://flyte/agenthost:8000", "agenthost.flyte:8000", "unix:///run/agenthost.sock",
		}).Draw(t, "endpoint"),
	}
	names := rapid.OneOf(
		rapid.SampledFrom([]string{"spark", "bigquery_query_job_task", "snowflake", "dask", "duckdb_query", "OPA", "a.b", "true", "null", "1", "1e3", "~", "a: b", "# c", "'", "<<"}),
		rapid.StringMatching(`[A-Za-z][A-Za-z0-9_.:,'"\\\-{}\[\]#]{0,20}`),
		rapid.StringMatching(`\pL[\pL\pN ]{0,10}\pL`),
	)
	for _, name := range rapid.SliceOfNDistinct(names, 1, 6, strings.ToLower).Draw(t, "types") {
		target.Types = append(target.Types, TaskType{name, rapid.Bool().Draw(t, "sync")})
	}
	if len(target.types()) == 0 {
		target.Types[0].Sync = false
	}
	if target.Beside && len(target.asyncTypes()) == 0 {
		target.Types[0].Sync = false
	}
	if target.Validate() != nil {
		t.Skip("it cannot be")
	}
	return target
}

func print(t interface{ Fatal(...any) }, target Target) []byte {
	text, err := target.Print()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func describe(findings []Finding) string {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "%s: %s: %s: found %s, want %s: %s\n", f.place(), f.Severity, f.Key, f.Found, f.Want, f.Why)
	}
	return b.String()
}

// What is printed lacks nothing, whether or not the check is told what it is.
func TestWhatIsPrintedLacksNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		target := anyTarget(t)
		text := print(t, target)
		sources := []Source{{"flyte.yaml", text}}
		if report := Check(target, sources); len(report.Findings) > 0 || !report.OK || report.Plugin != target.Flyte.names().plugin || report.Form != target.Form {
			t.Fatalf("%+v\n%s\n%s", report, describe(report.Findings), text)
		}
		if target.Flyte.Two() { // whose section has the name of Flyte 1's
			return
		}
		guessed := target
		guessed.Flyte, guessed.Form = Flyte{}, ""
		if report := Check(guessed, sources); report.Plugin != target.Flyte.names().plugin || report.Form != target.Form {
			t.Fatalf("it is taken for %+v\n%s", report, text)
		}
	})
}

// Each line is there for a reason: without it the check says just that, unless Flyte does the same anyway.
func TestALineThatIsTakenAwayIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		target := anyTarget(t)
		printed := target.printed()
		gone := printed[rapid.IntRange(0, len(printed)-1).Draw(t, "line")]
		text := without(t, print(t, target), target.Form.place(gone.key), gone.listed)
		report := Check(target, []Source{{"flyte.yaml", text}})
		if gone.absent == "" {
			if len(report.Findings) > 0 {
				t.Fatalf("without %v, which Flyte has by itself, there is\n%s", gone.key, describe(report.Findings))
			}
			return
		}
		graver := slices.DeleteFunc(slices.Clone(report.Findings), func(f Finding) bool { return f.Key != strings.Join(target.Form.place(gone.key), ".") })
		switch last := gone.key[len(gone.key)-1]; {
		case last == "enabled-plugins": // with all plugins, others claim the types, too; with those of a chart, ours is not among them
			if len(graver) != 1 || graver[0].Severity != SeverityError {
				t.Fatalf("without %v there is\n%s", gone.key, describe(report.Findings))
			}
			return
		case last == "endpoint" && target.Beside: // a deployment without one is told of itself
			if len(graver) != 1 || len(report.Findings) != 2 {
				t.Fatalf("without %v there is\n%s", gone.key, describe(report.Findings))
			}
		case len(graver) != 1 || len(report.Findings) != 1:
			t.Fatalf("without %v there is\n%s\nin\n%s", gone.key, describe(report.Findings), text)
		}
		if f := graver[0]; f.Why != gone.absent && !strings.Contains(f.Why, "claim") || f.Found != "" || f.Want == "" {
			t.Fatalf("without %v there is\n%s", gone.key, describe(report.Findings))
		}
	})
}

// without takes a key out of a document, and what it leaves empty.
func without(t interface{ Fatal(...any) }, text []byte, path []string, listed bool) []byte {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	var remove func(node *yaml.Node, path []string)
	remove = func(node *yaml.Node, path []string) {
		if listed && len(path) == 1 {
			node.Content = slices.DeleteFunc(node.Content, func(item *yaml.Node) bool { return item.Content[0].Value == path[0] })
			return
		}
		for i := 0; i < len(node.Content); i += 2 {
			if node.Content[i].Value != path[0] {
				continue
			}
			if len(path) > 1 {
				remove(node.Content[i+1], path[1:])
			}
			if len(path) == 1 || len(node.Content[i+1].Content) == 0 {
				node.Content = slices.Delete(node.Content, i, i+2)
			}
			return
		}
		t.Fatal("there is no", path, "in", string(text))
	}
	remove(document.Content[0], path)
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	if err := encoder.Encode(&document); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A type that is missing in the list is named, and no other.
func TestATypeThatIsNotListedIsFound(t *testing.T) {
	target := Target{Flyte: FlyteConnectors, Form: FormConfig, Endpoint: "dns:///agenthost:8000", Transport: TransportPlain, Types: []TaskType{{Name: "duckdb_query"}, {Name: "Other", Sync: true}}}
	text := strings.Replace(string(print(t, target)), "[Other, duckdb_query]", "[duckdb_query]", 1)
	report := Check(target, []Source{{"a.yaml", []byte(text)}})
	if len(report.Findings) != 1 || !strings.HasPrefix(report.Findings[0].Why, "Other is missing, ") || report.Findings[0].Want != "[Other, duckdb_query]" {
		t.Errorf("%s", describe(report.Findings))
	}
}

// What is printed is YAML that says the same to every reader: no duplicate keys, no value of a type that is not meant.
func TestWhatIsPrintedIsReadAsItIsMeant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		target := anyTarget(t)
		text := print(t, target)
		var document map[string]any
		decoder := yaml.NewDecoder(bytes.NewReader(text))
		if err := decoder.Decode(&document); err != nil {
			t.Fatal(err)
		}
		if err := decoder.Decode(&document); err == nil {
			t.Fatal("there is a second document")
		}
		if target.Form != FormConfig && bytes.Contains(text, []byte("{{")) {
			t.Fatalf("helm takes it for a template:\n%s", text)
		}
		for _, s := range target.printed() {
			path := target.Form.place(s.key)
			var at any = document
			for i, key := range path {
				if items, isList := at.([]any); isList && s.listed && i == len(path)-1 {
					index := slices.IndexFunc(items, func(item any) bool { _, has := item.(map[string]any)[key]; return has })
					at = items[index]
				}
				at = at.(map[string]any)[key]
			}
			if fmt.Sprintf("%v", at) != fmt.Sprintf("%v", s.value) {
				t.Fatalf("%v is read as %v instead of %v:\n%s", path, at, s.value, text)
			}
		}
	})
}
