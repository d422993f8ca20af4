package types

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/agenthost/agenthost/test/hosttest"
)

// python is a process with real flytekit and pyarrow, flytekit/values.py.
type python struct {
	mu  sync.Mutex
	in  io.Writer
	out *bufio.Reader
}

// request and answer are what values.py tells of.
type request map[string]any

type answer struct {
	Error   string   `json:"error"`
	Literal []byte   `json:"literal"`
	Type    []byte   `json:"type"`
	Told    *told    `json:"told"`
	Columns []column `json:"columns"`
}

// column is one of a parquet file, as pyarrow reads it.
type column struct {
	name, arrow string
	values      []told
}

func (c *column) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&c.name, &c.arrow, &c.values})
}

// told is a value of Python's: what kind it is, and its text or its parts.
type told struct {
	kind, text string
	list       []told
	dict       []entry
}

type entry struct{ key, value told }

func (e *entry) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&e.key, &e.value})
}

func (v *told) UnmarshalJSON(text []byte) error {
	var rest json.RawMessage
	if err := json.Unmarshal(text, &[]any{&v.kind, &rest}); err != nil {
		return err
	}
	switch v.kind {
	case "list":
		return json.Unmarshal(rest, &v.list)
	case "dict":
		return json.Unmarshal(rest, &v.dict)
	default:
		return json.Unmarshal(rest, &v.text)
	}
}

func (v told) String() string {
	var parts []string
	for _, element := range v.list {
		parts = append(parts, element.String())
	}
	for _, e := range v.dict {
		parts = append(parts, e.key.String()+": "+e.value.String())
	}
	if v.kind == "list" || v.kind == "dict" {
		return v.kind + "(" + strings.Join(parts, ", ") + ")"
	}
	return fmt.Sprintf("%s(%s)", v.kind, v.text)
}

func startPython(t *testing.T) *python {
	t.Helper()
	made := exec.Command(hosttest.Root("scripts", "venv"), "flytekit")
	made.Stderr = os.Stderr
	programs, err := made.Output()
	if err != nil {
		t.Fatalf("scripts/venv flytekit: %v", err)
	}
	command := exec.Command(filepath.Join(strings.TrimSpace(string(programs)), "python"), filepath.Join("flytekit", "values.py"))
	command.Env = append(os.Environ(), "HOME="+t.TempDir(), "PYTHONDONTWRITEBYTECODE=1")
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := command.Wait(); err != nil {
			t.Errorf("values.py: %v", err)
		}
	})
	return &python{in: in, out: bufio.NewReader(out)}
}

// ask sends requests and gives the answer to each.
func (p *python) ask(t testing.TB, requests ...request) []answer {
	t.Helper()
	if len(requests) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	line, err := json.Marshal(requests)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		t.Fatalf("values.py: %v", err)
	}
	line, err = p.out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("values.py: %v", err)
	}
	var answers []answer
	if err := json.Unmarshal(line, &answers); err != nil || len(answers) != len(requests) {
		t.Fatalf("values.py gave %d answers to %d requests: %v", len(answers), len(requests), err)
	}
	return answers
}
