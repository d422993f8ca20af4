package chart

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write what is generated of charts/agenthost anew")

// program is the host's own: of `make build`, where PREBUILT_PROGRAMS says where that is, else built here.
var program = sync.OnceValues(func() (string, error) {
	if prebuilt := os.Getenv("PREBUILT_PROGRAMS"); prebuilt != "" {
		return filepath.Join(prebuilt, "agenthost"), nil
	}
	folder, err := os.MkdirTemp("", "chart")
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, "agenthost")
	build := exec.Command("go", "build", "-o", path, "./cmd/agenthost")
	build.Dir, build.Env = "../..", append(os.Environ(), "GOWORK=")
	if out, err := build.CombinedOutput(); err != nil {
		return "", &exec.Error{Name: string(out), Err: err}
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := program(); err == nil && os.Getenv("PREBUILT_PROGRAMS") == "" {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// agenthost runs the program, and gives what it prints.
func agenthost(t *testing.T, args ...string) []byte {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	command := exec.Command(path, args...)
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("agenthost %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return out
}

// generated holds a file of the chart to what it is generated from.
func generated(t *testing.T, file string, want []byte) {
	t.Helper()
	path := filepath.Join(chartFolder, file)
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if is, err := os.ReadFile(path); err != nil {
		t.Fatal(err)
	} else if !bytes.Equal(is, want) {
		t.Errorf("%s is out of date: go -C test/chart test -run '^%s$' -update", path, t.Name())
	}
}

// The schema of `config` in values.schema.json is the host's own; the rest is the chart's.
func TestTheSchemaOfTheConfigurationIsTheHosts(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(chartFolder, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var host, whole map[string]json.RawMessage
	var properties ordered
	if err := json.Unmarshal(agenthost(t, "schema"), &host); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &whole); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(whole["properties"], &properties); err != nil {
		t.Fatal(err)
	}
	delete(host, "$schema") // which the file as a whole has
	properties.set(t, "config", host)
	out := ordered{}
	if err := json.Unmarshal(content, &out); err != nil {
		t.Fatal(err)
	}
	out.set(t, "properties", properties)
	var want bytes.Buffer
	encoder := json.NewEncoder(&want)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(out); err != nil {
		t.Fatal(err)
	}
	generated(t, "values.schema.json", want.Bytes())
}

// ordered is a JSON object that keeps the order of its keys.
type ordered struct {
	keys   []string
	values map[string]json.RawMessage
}

func (o *ordered) UnmarshalJSON(content []byte) error {
	o.values = map[string]json.RawMessage{}
	if err := json.Unmarshal(content, &o.values); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	if _, err := decoder.Token(); err != nil {
		return err
	}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return err
		}
		var skipped json.RawMessage
		if err := decoder.Decode(&skipped); err != nil {
			return err
		}
		o.keys = append(o.keys, key.(string))
	}
	return nil
}

func (o ordered) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	for i, key := range o.keys {
		out.WriteString(map[bool]string{true: "{", false: ","}[i == 0])
		name, err := json.Marshal(key)
		if err != nil {
			return nil, err
		}
		out.Write(name)
		out.WriteByte(':')
		out.Write(o.values[key])
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

func (o *ordered) set(t *testing.T, key string, value any) {
	t.Helper()
	var content bytes.Buffer
	encoder := json.NewEncoder(&content)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		t.Fatal(err)
	}
	if _, there := o.values[key]; !there {
		t.Fatalf("values.schema.json has no %s", key)
	}
	o.values[key] = content.Bytes()
}
