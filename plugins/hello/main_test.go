package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

func TestHelloGreetsInProcess(t *testing.T) {
	checkHello(t, agenttest.Run(t, agent.Async("hello", hello{})))
}

func TestHelloGreetsAsASubprocess(t *testing.T) {
	client := agenttest.Command(t, agenttest.Build(t, "."))
	checkHello(t, client)
	if described := client.Describe(); described.GetName() != "hello" || described.GetVersion() != "1.0.0" {
		t.Errorf("it describes itself as %v", described)
	}
}

func checkHello(t *testing.T, client *agenttest.Client) {
	t.Helper()
	result := client.RunTask(t.Context(), agenttest.Task{Type: "hello", Inputs: map[string]any{"name": "Ada"}})
	if got := agenttest.Output[string](t, result, "greeting"); got != "Hello, Ada" {
		t.Errorf("greeting = %q", got)
	}
	_, err := client.Create(t.Context(), agenttest.Task{Type: "hello"})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), `input "name" is missing`) {
		t.Errorf("without a name: %v", err)
	}
}

func TestHelloIsAtMost25Lines(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(source, []byte("\n")); lines > 25 {
		t.Errorf("main.go has %d lines", lines)
	}
}

func TestHelloRunByHandSaysHowItIsMeant(t *testing.T) {
	said, err := exec.Command(agenttest.Build(t, ".")).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("it ends with %v, want exit code 1", err)
	}
	for _, want := range []string{"hello 1.0.0 is a Flyte agent plugin", "task type hello, version 0 (async)", "agenthost task run", "agenthost check"} {
		if !strings.Contains(string(said), want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
}
