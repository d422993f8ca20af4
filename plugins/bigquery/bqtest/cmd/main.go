// The cmd of bqtest serves the emulator behind a Proxy, for tests of the whole host. It prints one line of JSON with its url when it is
// ready, and stops with its input, so that it never outlives the test that started it. GET /answers tells of each query the first row
// that it answered, by the job's id; but for those that only say that a task was abandoned.
//
//	go run ./plugins/bigquery/bqtest/cmd
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/agenthost/agenthost/plugins/bigquery/bqtest"
)

func main() {
	runtime.LockOSThread() // the emulator ends with the thread that starts it
	log.SetFlags(0)
	log.SetPrefix("bqtest: ")
	emulator, err := bqtest.Start()
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		emulator.Stop()
		log.Fatal(err)
	}
	server := &http.Server{Handler: handler(emulator), ReadHeaderTimeout: 10 * time.Second}
	go func() { log.Print(server.Serve(listener)) }()
	fmt.Printf("{\"url\": %q}\n", "http://"+listener.Addr().String())
	_, _ = io.Copy(io.Discard, os.Stdin) // Its end is all that matters.
	emulator.Stop()
}

func handler(emulator *bqtest.Emulator) http.Handler {
	proxy := bqtest.Before(emulator)
	mux := http.NewServeMux()
	mux.Handle("/", proxy)
	mux.HandleFunc("GET /answers", func(w http.ResponseWriter, r *http.Request) {
		answers := map[string]any{}
		for _, call := range proxy.Inserted() {
			if call.Configuration("labels", "flyte_abandoned") != nil {
				continue
			}
			rows, err := emulator.Rows(r.Context(), call.Project, call.Job)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			answers[call.Job] = nil
			if len(rows) > 0 {
				answers[call.Job] = rows[0]
			}
		}
		_ = json.NewEncoder(w).Encode(answers) // The caller may be gone.
	})
	return mux
}
