// Package mototest runs moto, a server that speaks S3's protocol, for the tests of this plugin.
package mototest

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"testing"
	"time"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/s3blob" // the driver of s3 URLs
)

// Server is a running moto with one empty bucket, named "bucket".
type Server struct {
	// Endpoint is its URL, on loopback.
	Endpoint string
	command  *exec.Cmd
}

var running = regexp.MustCompile(`Running on (http://127\.0\.0\.1:\d+)`)

// Start starts a server for the rest of the test, and sets the environment's AWS credentials to some that it takes.
func Start(t testing.TB) *Server {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	install := exec.Command(filepath.Join(filepath.Dir(here), "../../../scripts/venv"), "moto")
	var said bytes.Buffer
	install.Stderr = &said
	programs, err := install.Output()
	if err != nil {
		t.Fatalf("scripts/venv moto cannot install moto, which this test needs: %v\n%s", err, said.String())
	}
	s := &Server{command: exec.Command(filepath.Join(string(bytes.TrimSpace(programs)), "moto_server"), "-H", "127.0.0.1", "-p", "0")}
	// It must not outlive a test that is killed.
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := s.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // the signal is tied to the thread that starts the server
	t.Cleanup(runtime.UnlockOSThread)
	if err := s.command.Start(); err != nil {
		t.Fatalf("moto does not start: %v", err)
	}
	drained := make(chan struct{})
	found := make(chan string, 1)
	go func() {
		defer close(drained)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			if m := running.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
		}
		close(found)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-drained
	})
	select {
	case s.Endpoint = <-found:
	case <-time.After(time.Minute):
	}
	if s.Endpoint == "" {
		t.Fatal("moto has not said where it listens within a minute")
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "testing")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "testing")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	s.makeBucket(t)
	return s
}

// Stop kills the server; stopping twice is fine.
func (s *Server) Stop() {
	_ = s.command.Process.Kill()
	_ = s.command.Wait()
}

// Parameters are the storage parameters by which the plugin finds the server.
func (s *Server) Parameters() map[string]map[string]string {
	return map[string]map[string]string{"s3": {"endpoint": s.Endpoint, "region": "us-east-1"}}
}

// Put stores an object.
func (s *Server) Put(t testing.TB, key string, content []byte) {
	t.Helper()
	bucket := s.open(t)
	defer bucket.Close()
	if err := bucket.WriteAll(context.Background(), key, content, nil); err != nil {
		t.Fatal(err)
	}
}

// PutFile stores a file as an object.
func (s *Server) PutFile(t testing.TB, key, file string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s.Put(t, key, content)
}

// Get returns an object's content.
func (s *Server) Get(t testing.TB, key string) []byte {
	t.Helper()
	bucket := s.open(t)
	defer bucket.Close()
	content, err := bucket.ReadAll(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func (s *Server) open(t testing.TB) *blob.Bucket {
	t.Helper()
	bucket, err := blob.OpenBucket(context.Background(), "s3://bucket?region=us-east-1&use_path_style=true&endpoint="+s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return bucket
}

func (s *Server) makeBucket(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, s.Endpoint+"/bucket", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	// moto asks for a signature of no particular truth.
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=testing/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatalf("cannot make a bucket in moto: %v", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("cannot make a bucket in moto: %s", answer.Status)
	}
}
