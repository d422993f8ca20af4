package bqtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The calls of BigQuery's API that the plugin makes.
const (
	Insert  = "insert"
	Get     = "get"
	Cancel  = "cancel"
	Results = "results"
)

// Call is a call that has come.
type Call struct {
	Kind    string
	Project string
	// Job is the job's id.
	Job    string
	Query  url.Values
	Header http.Header
	// Body is the JSON that came with it.
	Body map[string]any
}

// Configuration is a part of an inserted job's configuration: "query", "maximumBytesBilled".
func (c Call) Configuration(path ...string) any {
	value := c.Body["configuration"]
	for _, key := range path {
		object, _ := value.(map[string]any)
		value = object[key]
	}
	return value
}

// Proxy passes calls on to an emulator. Of what BigQuery does, it adds that a job's id can be used only once in a place, that a job
// keeps its configuration (but for the parameters) and its location, and that a dry run makes no job.
type Proxy struct {
	// URL is where it listens.
	URL string

	emulator  string
	transport *http.Transport

	mu    sync.Mutex
	calls []Call
	fails []failure
	edits []edit
	jobs  map[string]map[string]any // what was inserted
	ids   map[string]*sync.Mutex    // held while a job is inserted
	conns int
	// settled is where jobs go that name no place; the US if empty.
	settled string
}

type failure struct {
	kind   string
	left   int
	answer func(http.ResponseWriter)
}

type edit struct {
	kind   string
	change func(job map[string]any)
}

// Before makes a proxy before an emulator, which listens nowhere: it is an http.Handler.
func Before(emulator *Emulator) *Proxy {
	return &Proxy{emulator: emulator.Endpoint, transport: &http.Transport{MaxIdleConnsPerHost: 64}, jobs: map[string]map[string]any{}, ids: map[string]*sync.Mutex{}}
}

// NewProxy starts a proxy for the rest of the test.
func NewProxy(t testing.TB, emulator *Emulator) *Proxy {
	t.Helper()
	p := Before(emulator)
	server := httptest.NewUnstartedServer(p)
	server.Config.ConnState = p.connection
	server.Start()
	p.URL = server.URL
	t.Cleanup(func() {
		server.Close()
		p.transport.CloseIdleConnections()
	})
	return p
}

// Calls are the calls of a kind that have come.
func (p *Proxy) Calls(kind string) []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.calls), func(c Call) bool { return c.Kind != kind })
}

// Inserted are the calls that made the jobs that there are.
func (p *Proxy) Inserted() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	calls := make([]Call, 0, len(p.jobs))
	for id, body := range p.jobs {
		at := strings.LastIndexByte(id, ':') // a project's id may have one too
		calls = append(calls, Call{Kind: Insert, Project: id[:at], Job: id[at+1:], Body: body})
	}
	return calls
}

// Connections is how many connections have been opened to it.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns
}

func (p *Proxy) connection(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.conns++
	}
}

// Fail answers the next calls of a kind with an error of BigQuery's, and headers given as key, value, ….
func (p *Proxy) Fail(kind string, times, status int, reason, message string, headers ...string) {
	p.fail(kind, times, func(w http.ResponseWriter) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		refuse(w, status, reason, message)
	})
}

// Cut breaks the connection of the next calls of a kind, before BigQuery sees them.
func (p *Proxy) Cut(kind string, times int) {
	p.fail(kind, times, func(http.ResponseWriter) { panic(http.ErrAbortHandler) })
}

func (p *Proxy) fail(kind string, times int, answer func(http.ResponseWriter)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fails = append(p.fails, failure{kind, times, answer})
}

// Lose breaks the connection of the next insertion after the job was made: its answer is lost.
func (p *Proxy) Lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.edits = append(p.edits, edit{Insert, nil})
}

// Change changes every job that is looked at from now on.
func (p *Proxy) Change(change func(job map[string]any)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.edits = append(slices.DeleteFunc(p.edits, func(e edit) bool { return e.kind == Get }), edit{Get, change})
}

// ChangeInserted changes every job that is inserted from now on, in the answer to that.
func (p *Proxy) ChangeInserted(change func(job map[string]any)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.edits = append(p.edits, edit{Insert, change})
}

// ServeHTTP answers one call.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	call := read(r, body)
	if answer := p.record(call); answer != nil {
		answer(w)
		return
	}
	id := call.Project + ":" + call.Job
	if call.Kind == Insert {
		defer p.hold(id)()
		p.settle(call)
	}
	if call.Kind == Get && p.elsewhere(call) {
		refuse(w, http.StatusNotFound, "notFound", fmt.Sprintf("Not found: Job %s:%s", call.Project, call.Job))
		return
	}
	if job := p.inserted(id); call.Kind == Insert && job != nil && place(job) == place(call.Body) {
		refuse(w, http.StatusConflict, "duplicate", fmt.Sprintf("Already Exists: Job %s:%s.%s", call.Project, place(p.inserted(id)), call.Job))
		return
	}
	status, answer := p.forward(r, body)
	if call.Kind == Insert && status == http.StatusOK {
		p.remember(id, call, answer)
	}
	if job := p.inserted(id); job != nil && status == http.StatusOK {
		complete(answer, job)
	}
	if lost := p.change(call, status, answer); lost {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

var path = regexp.MustCompile(`^/bigquery/v2/projects/([^/]+)/(jobs|queries)(?:/([^/]+))?(/cancel)?$`)

func read(r *http.Request, body []byte) Call {
	call := Call{Query: r.URL.Query(), Header: r.Header.Clone()}
	_ = json.Unmarshal(body, &call.Body)
	m := path.FindStringSubmatch(r.URL.Path)
	if m == nil {
		return call
	}
	call.Project, call.Job = m[1], m[3]
	switch {
	case m[2] == "queries":
		call.Kind = Results
	case m[4] != "":
		call.Kind = Cancel
	case r.Method == http.MethodPost:
		call.Kind = Insert
		reference, _ := call.Body["jobReference"].(map[string]any)
		call.Job, _ = reference["jobId"].(string)
	default:
		call.Kind = Get
	}
	return call
}

func (p *Proxy) record(call Call) func(http.ResponseWriter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, call)
	for i := range p.fails {
		if f := &p.fails[i]; f.kind == call.Kind && f.left > 0 {
			f.left--
			return f.answer
		}
	}
	return nil
}

// hold lets one call at a time insert a job of an id.
func (p *Proxy) hold(id string) (release func()) {
	p.mu.Lock()
	if p.ids[id] == nil {
		p.ids[id] = &sync.Mutex{}
	}
	lock := p.ids[id]
	p.mu.Unlock()
	lock.Lock()
	return lock.Unlock
}

// elsewhere says that a job is not where a call looks for it: in the US and the EU if it names no place.
func (p *Proxy) elsewhere(call Call) bool {
	job := p.inserted(call.Project + ":" + call.Job)
	if job == nil {
		return false
	}
	asked := call.Query.Get("location")
	return asked == "" && place(job) != "US" && place(job) != "EU" || asked != "" && asked != place(job)
}

// Settle has BigQuery choose a place for the jobs that name none.
func (p *Proxy) Settle(location string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settled = location
}

// Statement is the query of the job that has an id, "" where there is none.
func (p *Proxy) Statement(project, id string) string {
	statement, _ := Call{Body: p.inserted(project + ":" + id)}.Configuration("query", "query").(string)
	return statement
}

func (p *Proxy) inserted(id string) map[string]any {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.jobs[id]
}

func (p *Proxy) remember(id string, call Call, answer map[string]any) {
	if dry, _ := call.Configuration("dryRun").(bool); dry {
		reference := answer["jobReference"].(map[string]any)
		delete(reference, "jobId")
		reference["location"] = place(call.Body)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jobs[id] = call.Body
}

// settle gives a job that is to be inserted, or dry run, its place.
func (p *Proxy) settle(call Call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if asked, _ := call.Body["jobReference"].(map[string]any); asked != nil && asked["location"] == nil && p.settled != "" {
		asked["location"] = p.settled
	}
}

// complete gives a job what the emulator forgets of it.
func complete(answer, inserted map[string]any) {
	reference, _ := answer["jobReference"].(map[string]any)
	asked, _ := inserted["configuration"].(map[string]any)
	if reference == nil || asked == nil {
		return
	}
	reference["location"] = place(inserted)
	configuration, _ := answer["configuration"].(map[string]any)
	ofQuery, _ := configuration["query"].(map[string]any)
	whole := maps.Clone(asked)
	query := maps.Clone(asked["query"].(map[string]any))
	// Python's client sends numbers as numbers, which BigQuery would give back as text.
	delete(query, "queryParameters")
	if table, found := ofQuery["destinationTable"]; found && query["destinationTable"] == nil {
		query["destinationTable"] = table
	}
	whole["query"] = query
	answer["configuration"] = whole
}

func place(job map[string]any) string {
	reference, _ := job["jobReference"].(map[string]any)
	if location, _ := reference["location"].(string); location != "" {
		return location
	}
	return "US"
}

func (p *Proxy) change(call Call, status int, answer map[string]any) (lost bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, e := range p.edits {
		if e.kind != call.Kind || status != http.StatusOK {
			continue
		}
		if e.change == nil {
			p.edits = slices.Delete(p.edits, i, i+1)
			return true
		}
		e.change(answer)
	}
	return false
}

func (p *Proxy) forward(r *http.Request, body []byte) (int, map[string]any) {
	broken := func(err error) (int, map[string]any) {
		return http.StatusTeapot, map[string]any{"error": map[string]any{"code": http.StatusTeapot, "message": "the emulator does not answer: " + err.Error()}}
	}
	request, err := http.NewRequestWithContext(r.Context(), r.Method, p.emulator+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return broken(err)
	}
	request.Header.Set("Content-Type", strings.TrimSpace(r.Header.Get("Content-Type")))
	response, err := p.transport.RoundTrip(request)
	if err != nil {
		return broken(err)
	}
	defer response.Body.Close()
	answer := map[string]any{}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return broken(err)
	}
	return response.StatusCode, answer
}

// refuse writes an error as BigQuery does.
func refuse(w http.ResponseWriter, status int, reason, message string) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
		"code": status, "message": message,
		"errors": []any{map[string]any{"domain": "global", "reason": reason, "message": message}},
	}})
}
