package systems

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/propeller"
)

const planets = `{"name": "Earth", "moons": 1}
{"name": "Mars", "moons": 2}
{"name": "Venus", "moons": 0}
`

// lake is an S3 with the demo's data in its bucket "lake", and a folder with the same.
type lake struct {
	endpoint, folder string
}

func newLake(t *testing.T) lake {
	t.Helper()
	port := freePort(t)
	server(t, port, exec.Command(filepath.Join(venv(t, "moto"), "moto_server"), "-H", "127.0.0.1", "-p", strconv.Itoa(port)))
	l := lake{endpoint: "http://127.0.0.1:" + strconv.Itoa(port), folder: t.TempDir()}
	l.put(t, "", nil) // the bucket
	for source, key := range map[string]string{"airlines.csv": "airlines.csv", "flights.parquet": "flights/00000"} {
		content, err := os.ReadFile(hosttest.Root("demo", "data", source))
		if err != nil {
			t.Fatal(err)
		}
		l.put(t, key, content)
		l.write(t, source, content)
	}
	l.put(t, "planets.ndjson", []byte(planets))
	l.write(t, "planets.json", []byte(planets))
	return l
}

// put stores an object. moto asks for no signature.
func (l lake) put(t *testing.T, key string, content []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, l.endpoint+"/lake/"+key, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("PUT %q: %s", key, response.Status)
	}
}

func (l lake) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(l.folder, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// plugin is the plugin as it is configured for the lake.
func (l lake) plugin(t *testing.T) map[string]any {
	t.Helper()
	t.Setenv("LAKE_KEY_ID", "AKIALAKE")
	t.Setenv("LAKE_KEY", "swordfish")
	return map[string]any{
		"command": []string{hosttest.Rust(t, "retrieval")},
		"secrets": map[string]any{"aws_access_key_id": "env:LAKE_KEY_ID", "aws_secret_access_key": "env:LAKE_KEY"},
		"config": map[string]any{
			"allowed": []string{l.folder, "s3://lake/"},
			"storage": map[string]any{"s3": map[string]any{"endpoint": l.endpoint, "allow_http": true, "region": "us-east-1"}},
		},
	}
}

func TestDataIsRetrievedFromDiskAndS3(t *testing.T) {
	l := newLake(t)
	t.Setenv("DATA", l.folder)
	t.Setenv("LAKE", "s3://lake")
	flytekit := venv(t, "flytekit")
	tasks := compile(t, flytekit, "retrieval")
	h := startHost(t, one("system", l.plugin(t)))
	p := startFlyte(t, propeller.V1, h)
	ended := t.TempDir()
	executions := map[string]*propeller.Execution{}
	for _, k := range tasks {
		executions[k.Name] = k.submit(p, k.Name, "s3://lake/out/"+k.Name)
	}
	for _, k := range tasks {
		result := k.end(t, executions[k.Name])
		if result.Phase != propeller.Succeeded {
			if result.Phase != propeller.PermanentFailure {
				t.Errorf("%s ended as %s, which would be repeated for nothing", k.Name, result.Phase)
			}
			continue
		}
		content, err := proto.Marshal(result.Outputs)
		if err == nil {
			err = os.WriteFile(filepath.Join(ended, k.Name+".pb"), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	l.check(t, flytekit, ended)
}

// check reads the outputs with flytekit.
func (l lake) check(t *testing.T, flytekit, ended string) {
	t.Helper()
	read := exec.Command(filepath.Join(flytekit, "python"), "flytekit/values.py", "retrieval", ended)
	read.Env = append(os.Environ(), "FLYTE_AWS_ENDPOINT="+l.endpoint, "FLYTE_AWS_ACCESS_KEY_ID=any", "FLYTE_AWS_SECRET_ACCESS_KEY=any",
		"HOME="+t.TempDir(), "PYTHONDONTWRITEBYTECODE=1")
	var got, want map[string]any
	for text, into := range map[string]*map[string]any{tool(t, read): &got, retrieved: &want} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	for name := range want {
		if !reflect.DeepEqual(got[name], want[name]) {
			t.Errorf("%s:\ngot  %v\nwant %v", name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%v ended well, and %v should have", sorted(got), sorted(want))
	}
}

// retrieved is what a Python user reads.
const retrieved = `{
	"parquet-and-csv-on-disk": {"name": ["Hawaiian Airlines Inc.", "United Air Lines Inc.", "American Airlines Inc."], "miles": [4983, 4963, 2586]},
	"parquet-and-csv-on-s3": {"name": ["Hawaiian Airlines Inc.", "United Air Lines Inc.", "American Airlines Inc."], "miles": [4983, 4963, 2586]},
	"json-on-disk": {"rows": [{"name": "Earth", "moons": 1}, {"name": "Mars", "moons": 2}]},
	"json-on-s3": {"row": {"name": "Mars", "moons": 2}},
	"parameters": {
		"i": 7, "f": 2.5, "s": "O'Hara; drop table x --", "b": true, "t": "2024-02-29 12:30:00+00:00", "d": "1:30:00",
		"l": [1, 2, 3], "o": "there", "nothing": null
	},
	"dataset": {"busiest": [{"carrier": "UA", "n": 58665}, {"carrier": "B6", "n": 54635}]},
	"file": {"busiest": "carrier,n\nUA,58665\nB6,54635\n"}
}`
