package contender

import (
	"context"
	_ "embed" // of the connector
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/agenthost/agenthost/host/plugin"
)

//go:embed bench_connector.py
var connector []byte

// connectorModule is the name that Python imports it by.
const connectorModule = "bench_connector"

// Flytekit is an environment of Python with flytekit and agenthost-flytekit: both serve the same connector, which does what the
// plugin hello does.
type Flytekit struct {
	// Bin is the folder of its programs.
	Bin string
	// Dir is where the connector's module is written.
	Dir string
}

// Plugin is agenthost-flytekit with the connector, as the host's configuration has a plugin.
func (f Flytekit) Plugin(instances int) (map[string]any, error) {
	spec, err := f.Spec()
	return map[string]any{"command": spec.Command, "dir": spec.Dir, "instances": instances}, err
}

// Spec is agenthost-flytekit with the connector, to be run without a host.
func (f Flytekit) Spec() (plugin.Spec, error) {
	program := filepath.Join(f.Bin, "agenthost-flytekit")
	return plugin.Spec{Command: []string{program, "--task-types", "hello", "--modules", connectorModule}, Dir: f.Dir}, f.write()
}

func (f Flytekit) write() error {
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(f.Dir, connectorModule+".py"), connector, 0o600)
}

// Serve starts `pyflyte serve connector` with the connector.
func (f Flytekit) Serve(ctx context.Context) (*Contender, error) {
	if err := f.write(); err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	metrics, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	command := exec.Command(filepath.Join(f.Bin, "pyflyte"), "serve", "connector",
		"--port", port, "--prometheus_port", metrics, "--modules", connectorModule)
	command.Dir = f.Dir
	command.Env = append(os.Environ(), "HOME="+f.Dir)
	running, err := start(ctx, command)
	if err != nil {
		return nil, missing(err, "scripts/venv flytekit makes it")
	}
	address := net.JoinHostPort("127.0.0.1", port)
	if err := running.until(ctx, "listening", 2*time.Minute, func() bool {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}); err != nil {
		running.end()
		return nil, err
	}
	process, conn, err := running.reach(address)
	if err != nil {
		return nil, err
	}
	return &Contender{Conn: conn, Answering: family(process), Stop: func() {
		_ = conn.Close()
		running.end()
	}}, nil
}

// freePort is one that nothing listens on, for a program that cannot be told to choose its port itself.
func freePort(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port), nil
}
