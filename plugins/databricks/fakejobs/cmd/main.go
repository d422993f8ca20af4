// The cmd of fakejobs serves a fake workspace over TLS, for tests in other languages. It prints one line of JSON with its
// address when it is ready, and stops with its input, so that it never outlives the test that started it.
//
//	go run ./plugins/databricks/fakejobs/cmd -cert cert.pem -key key.pem -token dapi-test=ada -lives lives.json
//	go run ./plugins/databricks/fakejobs/cmd -authority authority.pem -token dapi-test=ada -work
//
// lives.json has the steps of runs by their run_name: {"doomed": [{"state": {"life_cycle_state": "RUNNING"}}, …]}.
package main

import (
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/agenthost/agenthost/plugins/databricks/fakejobs"
)

// pairs is a flag of the form NAME=VALUE that can be repeated.
type pairs map[string]string

func (p pairs) String() string { return fmt.Sprint(len(p), " given") }

func (p pairs) Set(text string) error {
	name, value, found := strings.Cut(text, "=")
	if !found || name == "" || value == "" {
		return fmt.Errorf("must be of the form NAME=VALUE")
	}
	p[name] = value
	return nil
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("fakejobs: ")
	options := fakejobs.Options{Tokens: pairs{}, Principals: pairs{}}
	address := flag.String("address", "127.0.0.1:0", "where to listen")
	certificate := flag.String("cert", "", "file with the server's certificate")
	key := flag.String("key", "", "file with the certificate's key")
	authority := flag.String("authority", "", "file to write the certificate to that the server has where it is given none")
	work := flag.Bool("work", false, "runs write the outputs that their arguments ask for (see job), and GET /answers tells what each answered, by its id")
	lives := flag.String("lives", "", "JSON file with the steps of runs by run_name")
	flag.Var(pairs(options.Tokens), "token", "a personal access token, as TOKEN=USER; can be repeated")
	flag.Var(pairs(options.Principals), "principal", "a service principal, as CLIENT_ID=SECRET; can be repeated")
	flag.IntVar(&options.RequestsPerSecond, "rate", 0, "limit on calls a second; 0 for none")
	flag.Parse()

	if *work {
		options.Work = func(body map[string]any) {
			if err := jobOf(body).run(); err != nil {
				log.Print(err)
			}
		}
	}
	workspace := fakejobs.New(options)
	if err := script(workspace, *lives); err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // Its end is all that matters.
		os.Exit(0)
	}()
	var handler http.Handler = workspace
	if *work {
		handler = answering(workspace)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	if *authority == "" {
		announce(listener.Addr())
		log.Fatal(server.ServeTLS(listener, *certificate, *key))
	}
	own := &httptest.Server{Listener: listener, Config: server, EnableHTTP2: true}
	own.StartTLS()
	content := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate().Raw})
	if err := os.WriteFile(*authority, content, 0o600); err != nil {
		log.Fatal(err)
	}
	announce(listener.Addr())
	select {}
}

func announce(address net.Addr) {
	fmt.Printf("{\"host\": %q, \"url\": %q}\n", address, "https://"+address.String())
}

func script(workspace *fakejobs.Server, file string) error {
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var lives map[string][]fakejobs.Step
	if err := json.Unmarshal(data, &lives); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for name, steps := range lives {
		if len(steps) == 0 {
			return fmt.Errorf("%s: %s has no steps", file, name)
		}
		workspace.Live(name, steps...)
	}
	return nil
}
