// The service that the example's jobs run in: it counts words, and is busy and unreliable when told to be.
//
//	POST   /jobs        {"text": "…"}, with an Idempotency-Key: makes a job, or returns the one of that key
//	GET    /keys/{key}  the job of a key
//	GET    /jobs/{id}   a job
//	DELETE /jobs/{id}   ends a job and forgets its result; its key stays taken
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

type job struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	Words   int    `json:"words"`
	Problem string `json:"problem,omitempty"`

	text  string
	begun time.Time
}

type server struct {
	token     string
	takes     time.Duration // each job
	busyEvery int           // every so manieth POST is to come later; 0: none
	lose      bool          // the first answer to each key does not arrive

	mu    sync.Mutex
	jobs  map[string]*job
	keys  map[string]*job
	posts int
}

func main() {
	s := &server{jobs: map[string]*job{}, keys: map[string]*job{}}
	listen := flag.String("listen", "127.0.0.1:8080", "the `address` to listen at")
	token := flag.String("token-file", "", "the `file` with the token that clients have to show")
	flag.DurationVar(&s.takes, "takes", 200*time.Millisecond, "how long a job takes")
	flag.IntVar(&s.busyEvery, "busy-every", 0, "refuse each POST that this `number` divides, for a second")
	flag.BoolVar(&s.lose, "lose-answers", false, "end the connection in the place of the first answer to each key")
	flag.Parse()
	content, err := os.ReadFile(*token)
	if err != nil {
		log.Fatal("--token-file: ", err)
	}
	s.token = strings.TrimSpace(string(content))
	routes := http.NewServeMux()
	routes.HandleFunc("POST /jobs", s.create)
	routes.HandleFunc("GET /keys/{key}", s.find)
	routes.HandleFunc("GET /jobs/{id}", s.get)
	routes.HandleFunc("DELETE /jobs/{id}", s.remove)
	server := &http.Server{Addr: *listen, Handler: s.alone(routes), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

// alone lets in who has the token, one call at a time.
func (s *server) alone(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+s.token {
			http.Error(w, "the token is wrong", http.StatusUnauthorized)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

func (s *server) create(w http.ResponseWriter, r *http.Request) {
	s.posts++
	if s.busyEvery > 0 && s.posts%s.busyEvery == 0 {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many jobs", http.StatusTooManyRequests)
		return
	}
	key := r.Header.Get("Idempotency-Key")
	var order struct{ Text string }
	if err := json.NewDecoder(r.Body).Decode(&order); err != nil || key == "" {
		http.Error(w, fmt.Sprintf("want an order in JSON and an Idempotency-Key: %v", err), http.StatusBadRequest)
		return
	}
	made, known := s.keys[key]
	if !known {
		made = &job{ID: strconv.Itoa(len(s.jobs) + 1), State: "queued", text: order.Text, begun: time.Now()}
		s.jobs[made.ID], s.keys[key] = made, made
	}
	if s.lose && !known {
		panic(http.ErrAbortHandler)
	}
	answer(w, made)
}

func (s *server) find(w http.ResponseWriter, r *http.Request) {
	made, known := s.keys[r.PathValue("key")]
	if !known {
		http.Error(w, "no job has this key", http.StatusNotFound)
		return
	}
	answer(w, made)
}

func (s *server) get(w http.ResponseWriter, r *http.Request) {
	made, known := s.jobs[r.PathValue("id")]
	if !known {
		http.NotFound(w, r)
		return
	}
	since := time.Since(made.begun)
	switch {
	case made.State == "deleted" || since < s.takes/2:
	case since < s.takes:
		made.State = "running"
	default:
		made.State, made.Words = "done", len(strings.Fields(made.text))
		if made.Words == 0 {
			made.State, made.Problem = "failed", "there is nothing to count in the text"
		}
	}
	answer(w, made)
}

func (s *server) remove(w http.ResponseWriter, r *http.Request) {
	if made, known := s.jobs[r.PathValue("id")]; known {
		made.State, made.Words, made.text = "deleted", 0, ""
	}
	w.WriteHeader(http.StatusNoContent)
}

func answer(w http.ResponseWriter, value any) {
	if err := json.NewEncoder(w).Encode(value); err != nil {
		log.Print(err) // the client has gone
	}
}
