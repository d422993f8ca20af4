package fakejobs

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/databricks/databricks-sdk-go/service/jobs"
)

// Options say who may call, and how often.
type Options struct {
	// Tokens are the personal access tokens, each with the user whom it stands for.
	Tokens map[string]string
	// Principals are the service principals: client ids with their secrets.
	Principals map[string]string
	// TokenLife is how long an OAuth token is good; 0 for an hour.
	TokenLife time.Duration
	// RequestsPerSecond is the limit on calls of the Jobs API; 0 for none.
	RequestsPerSecond int
	// Work is what the jobs do: it is called with each submission that makes a run, before anyone can look at it.
	Work func(body map[string]any)
	// Held keeps all runs at their step while it says so.
	Held func() bool
}

// Request is a call that the server has had.
type Request struct {
	Method, Path, User string
	Body               []byte
}

// Fault is an answer in place of the true one.
type Fault struct {
	Status        int
	Code, Message string
	// RetryAfter is the header's value; empty for none.
	RetryAfter string
	// After does what was asked for first, and then answers with the fault: an answer lost on its way.
	After bool
}

// Server is the workspace. It is an http.Handler.
type Server struct {
	options Options
	mux     *http.ServeMux

	mu       sync.Mutex
	lives    map[string][]Step
	runs     map[int64]*run
	byToken  map[string]int64
	oauth    map[string]grant
	faults   map[string][]Fault
	requests []Request
	window   time.Time
	inWindow int
	nextID   int64
}

// grant is an OAuth token.
type grant struct {
	user string
	ends time.Time
}

// New makes a workspace without runs.
func New(options Options) *Server {
	s := &Server{
		options: options, mux: http.NewServeMux(),
		lives: map[string][]Step{}, runs: map[int64]*run{}, byToken: map[string]int64{}, oauth: map[string]grant{},
		faults: map[string][]Fault{}, nextID: 1000,
	}
	for _, version := range []string{"2.1", "2.2"} {
		at := "/api/" + version + "/jobs/runs/"
		s.mux.HandleFunc("POST "+at+"submit", s.api("submit", s.submit))
		s.mux.HandleFunc("GET "+at+"get", s.api("get", s.get))
		s.mux.HandleFunc("GET "+at+"get-output", s.api("get-output", s.output))
		s.mux.HandleFunc("POST "+at+"cancel", s.api("cancel", s.cancel))
	}
	s.mux.HandleFunc("POST /oidc/v1/token", s.token)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, &problem{http.StatusNotFound, "ENDPOINT_NOT_FOUND", "No API found for '" + r.Method + " " + r.URL.Path + "'"})
	})
	return s
}

// ServeHTTP answers a call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Live scripts the life of the runs of a name. A run goes from step to step as it is looked at, and stays at the last.
func (s *Server) Live(runName string, steps ...Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lives[runName] = steps
}

// Fail makes the next calls of an endpoint ("submit", "get", "get-output", "cancel", "token") end in faults.
func (s *Server) Fail(endpoint string, faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[endpoint] = append(s.faults[endpoint], faults...)
}

// Forget removes a run, as the workspace does with runs that ended 60 days ago.
func (s *Server) Forget(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.runs, id)
}

// Revoke ends the life of all OAuth tokens.
func (s *Server) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.oauth)
}

// Requests returns the calls of the Jobs API that the server has had, refused ones too.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request{}, s.requests...)
}

// Submitted returns the bodies of the runs that there are, by id.
func (s *Server) Submitted() map[int64]map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	bodies := map[int64]map[string]any{}
	for id, run := range s.runs {
		bodies[id] = run.body
	}
	return bodies
}

// Going counts the runs that have not ended and that nobody has cancelled, but for those that do nothing: they end by themselves.
func (s *Server) Going() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := 0
	for _, run := range s.runs {
		if !run.step().ended() && !run.cancelled && !run.condition() {
			count++
		}
	}
	return count
}

// problem is a refusal.
type problem struct {
	status        int
	code, message string
}

func invalid(format string, args ...any) *problem {
	return &problem{http.StatusBadRequest, "INVALID_PARAMETER_VALUE", fmt.Sprintf(format, args...)}
}

func malformed(format string, args ...any) *problem {
	return &problem{http.StatusBadRequest, "MALFORMED_REQUEST", "Could not parse request object: " + fmt.Sprintf(format, args...)}
}

func refuse(w http.ResponseWriter, p *problem) {
	answer(w, p.status, map[string]string{"error_code": p.code, "message": p.message})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // The caller may be gone.
}

// call is one authenticated request, with the server's lock held.
type call struct {
	*http.Request
	user string
	body []byte
}

// api wraps an endpoint of the Jobs API in what they have in common.
func (s *Server) api(endpoint string, handle func(*call) (any, *problem)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			refuse(w, malformed("%v", err))
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		user, denied := s.authenticate(r)
		s.requests = append(s.requests, Request{Method: r.Method, Path: r.URL.Path, User: user, Body: body})
		if denied == nil && s.limited() {
			w.Header().Set("Retry-After", "1")
			denied = &problem{http.StatusTooManyRequests, "REQUEST_LIMIT_EXCEEDED", "Too many requests, the limit is reached."}
		}
		if denied != nil {
			refuse(w, denied)
			return
		}
		fault := s.fault(endpoint)
		if fault != nil && !fault.After {
			fault.write(w)
			return
		}
		response, denied := handle(&call{r, user, body})
		switch {
		case fault != nil:
			fault.write(w)
		case denied != nil:
			refuse(w, denied)
		default:
			answer(w, http.StatusOK, response)
		}
	}
}

func (s *Server) fault(endpoint string) *Fault {
	waiting := s.faults[endpoint]
	if len(waiting) == 0 {
		return nil
	}
	s.faults[endpoint] = waiting[1:]
	return &waiting[0]
}

func (f *Fault) write(w http.ResponseWriter) {
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	refuse(w, &problem{f.Status, f.Code, f.Message})
}

func (s *Server) limited() bool {
	if s.options.RequestsPerSecond == 0 {
		return false
	}
	if now := time.Now(); now.Sub(s.window) >= time.Second {
		s.window, s.inWindow = now, 0
	}
	s.inWindow++
	return s.inWindow > s.options.RequestsPerSecond
}

func (s *Server) authenticate(r *http.Request) (string, *problem) {
	bearer, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found || bearer == "" {
		return "", &problem{http.StatusUnauthorized, "401", "Credential was not sent or was of an unsupported type for this API."}
	}
	if user := s.options.Tokens[bearer]; user != "" {
		return user, nil
	}
	if strings.HasPrefix(bearer, oauthPrefix) {
		if granted, ok := s.oauth[bearer]; ok && time.Now().Before(granted.ends) {
			return granted.user, nil
		}
		return "", &problem{http.StatusUnauthorized, "401", "The access token expired or was revoked."}
	}
	return "", &problem{http.StatusForbidden, "403", "Invalid access token."}
}

func (s *Server) submit(c *call) (any, *problem) {
	if kind := c.Header.Get("Content-Type"); kind != "" && !strings.HasPrefix(strings.ToLower(kind), "application/json") {
		return nil, malformed("the content type is %s", kind)
	}
	var body map[string]any
	if err := json.Unmarshal(c.body, &body); err != nil {
		return nil, malformed("%v", err)
	}
	if err := checkShape(body, reflect.TypeFor[singleTask](), ""); err != nil {
		return nil, malformed("%v", err)
	}
	if err := checkRules(body); err != nil {
		return nil, invalid("%v", err)
	}
	token := text(body["idempotency_token"])
	if id, used := s.byToken[token]; used && token != "" {
		if s.runs[id] == nil {
			return nil, invalid("The run of idempotency_token %s was deleted.", token)
		}
		return jobs.SubmitRunResponse{RunId: id}, nil
	}
	tasks, _ := tasksOf(body)
	s.nextID += 10
	made := &run{
		id: s.nextID, taskID: s.nextID + 1, jobID: s.nextID + 2, owner: c.user, key: text(tasks[0]["task_key"]),
		body: body, life: ordinary, begun: time.Now(),
	}
	if life := s.lives[text(body["run_name"])]; life != nil {
		made.life = life
	}
	s.runs[made.id], s.byToken[token] = made, made.id
	if s.options.Work != nil {
		s.options.Work(body)
	}
	return jobs.SubmitRunResponse{RunId: made.id}, nil
}

func (s *Server) get(c *call) (any, *problem) {
	made, denied := s.find(c, c.URL.Query().Get("run_id"))
	if denied != nil {
		return nil, denied
	}
	seen := made.describe(c.Host, made.step())
	if s.options.Held == nil || !s.options.Held() {
		made.goOn()
	}
	return seen, nil
}

func (s *Server) output(c *call) (any, *problem) {
	id, err := strconv.ParseInt(c.URL.Query().Get("run_id"), 10, 64)
	if err != nil {
		return nil, invalid("run_id must be an integer")
	}
	if s.runs[id] != nil {
		return nil, invalid("Retrieving the output of runs with multiple tasks is not supported. Please retrieve the output of each individual task run instead.")
	}
	made, denied := s.find(c, itoa(id-1))
	if denied != nil {
		return nil, invalid("Run %d does not exist.", id)
	}
	step := made.step()
	output := jobs.RunOutput{}
	if step.Output != nil {
		output = *step.Output
	}
	output.Metadata = made.describe(c.Host, step)
	return output, nil
}

func (s *Server) cancel(c *call) (any, *problem) {
	var body map[string]any
	if err := json.Unmarshal(c.body, &body); err != nil {
		return nil, malformed("%v", err)
	}
	if err := checkShape(body, reflect.TypeFor[jobs.CancelRun](), ""); err != nil {
		return nil, malformed("%v", err)
	}
	id, _ := integer(body["run_id"])
	made, denied := s.find(c, itoa(id))
	if denied != nil {
		return nil, denied
	}
	made.cancel()
	return struct{}{}, nil
}

// find returns a run that the caller may see.
func (s *Server) find(c *call, id string) (*run, *problem) {
	number, err := strconv.ParseInt(id, 10, 64)
	if err != nil || number <= 0 {
		return nil, invalid("run_id must be a positive integer, got %q", id)
	}
	made := s.runs[number]
	if made == nil {
		return nil, invalid("Run %d does not exist.", number)
	}
	if made.owner != c.user {
		return nil, &problem{http.StatusForbidden, "PERMISSION_DENIED",
			fmt.Sprintf("User %s does not have View or Admin or Manage Run or Owner permissions on job %d", c.user, made.jobID)}
	}
	return made, nil
}

const oauthPrefix = "oauth-"

// token is the token endpoint of OAuth M2M.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fault := s.fault("token"); fault != nil {
		fault.write(w)
		return
	}
	if err := r.ParseForm(); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_request", "error_description": err.Error()})
		return
	}
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	switch {
	case r.PostForm.Get("grant_type") != "client_credentials":
		answer(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"})
	case r.PostForm.Get("scope") != "all-apis":
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_scope"})
	case s.options.Principals[id] == "" || s.options.Principals[id] != secret:
		answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client", "error_description": "Client authentication failed"})
	default:
		life := s.options.TokenLife
		if life == 0 {
			life = time.Hour
		}
		s.nextID++
		token := oauthPrefix + itoa(s.nextID)
		s.oauth[token] = grant{user: id, ends: time.Now().Add(life)}
		answer(w, http.StatusOK, map[string]any{
			"access_token": token, "token_type": "Bearer", "expires_in": int(life.Seconds()), "scope": "all-apis",
		})
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
