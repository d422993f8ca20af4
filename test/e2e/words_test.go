package e2e_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/hosttest"
)

// failing makes the creation many times, for of headers of a size between two limits gRPC's C core refuses some.
const failing = `
import sys
import grpc
from flyteidl.admin.agent_pb2 import CreateTaskRequest
from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.service.agent_pb2_grpc import AsyncAgentServiceStub

stub = AsyncAgentServiceStub(grpc.insecure_channel(sys.argv[1]))
for _ in range(50):
    try:
        stub.CreateTask(CreateTaskRequest(template=TaskTemplate(type="echo_task")), timeout=60)
    except grpc.RpcError as e:
        print(e.code().name, e.details()[:16], e.details()[-32:])
`

// An error that is longer than what a client reads of headers breaks the call: it says RESOURCE_EXHAUSTED or INTERNAL, and not why.
func TestALongErrorReachesAClientInPython(t *testing.T) {
	venv := exec.Command(hosttest.Root("scripts", "venv"), "flytekit")
	python := filepath.Join(strings.TrimSpace(string(output(t, venv))), "python")
	plugin := badplugin.Command("good", "-script", `{"create_error": "INVALID_ARGUMENT", "error_length": 50000}`)
	h := hosttest.Start(t, map[string]any{"plugins": map[string]any{"echo": map[string]any{"command": plugin}}})
	lines := strings.Split(strings.TrimSpace(string(output(t, exec.Command(python, "-c", failing, h.Endpoint())))), "\n")
	for _, line := range lines {
		if line != `INVALID_ARGUMENT plugin "echo": ä create failed as the script says` {
			t.Fatalf("it reads %q", line)
		}
	}
	if len(lines) != 50 {
		t.Errorf("it reads %d errors", len(lines))
	}
}
