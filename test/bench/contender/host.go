package contender

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/test/bench/load"
	"github.com/agenthost/agenthost/tools/adminclient"
)

// HostOptions are how a host is started.
type HostOptions struct {
	// Dir is a folder of its own, which is made.
	Dir string
	// Bin is where `make build` put it.
	Bin string
	// Settings are those of its configuration file, beside its addresses.
	Settings map[string]any
	// Admin is its admin address; empty: any of the loopback.
	Admin string
	// Environ is added to its environment.
	Environ []string
	// Identities, where set, are by which it and its callers know each other.
	Identities *Identities
}

// Host is the real binary, serving real plugins.
type Host struct {
	Contender
	Process procfs.Proc
	// Ready is how long it took from its start until it was ready.
	Ready time.Duration

	program         *program
	file            string
	settings        map[string]any
	endpoint, admin string
	security        credentials.TransportCredentials
}

// hostLimit is how long a host may take to be ready, with hundreds of plugins on a machine that has much to do.
const hostLimit = 10 * time.Minute

// StartHost starts one, and returns when it is ready.
func StartHost(ctx context.Context, o HostOptions) (*Host, error) {
	if err := os.Mkdir(o.Dir, 0o700); err != nil {
		return nil, err
	}
	if o.Admin == "" {
		o.Admin = "127.0.0.1:0"
	}
	h := &Host{file: filepath.Join(o.Dir, "config.json"), settings: maps.Clone(o.Settings)}
	listen := map[string]any{"grpc": "127.0.0.1:0", "admin": o.Admin, "pprof": true}
	if o.Identities != nil {
		h.security = o.Identities.client
		listen["tls"], h.settings["access"] = o.Identities.tls, o.Identities.access
	}
	h.settings["listen"] = listen
	h.settings["log"] = map[string]any{"format": "json"}
	h.settings["run_dir"] = filepath.Join(o.Dir, "run")
	if err := h.write(); err != nil {
		return nil, err
	}
	command := exec.Command(filepath.Join(o.Bin, "agenthost"), "serve", "--config", h.file)
	command.Env = append(os.Environ(), o.Environ...)
	type ready struct{ Msg, GRPC, Admin string }
	began := time.Now()
	var err error
	if h.program, err = start(ctx, command); err != nil {
		return nil, missing(err, "run `make build` first")
	}
	said, err := await(ctx, h.program, "ready", hostLimit, func(line []byte) (said ready, ok bool) {
		return said, json.Unmarshal(line, &said) == nil && said.Msg == "agenthost is ready"
	})
	if err == nil {
		h.Ready = time.Since(began)
		h.endpoint, h.admin = said.GRPC, said.Admin
		err = h.connect()
	}
	if err != nil {
		h.program.end()
		return nil, err
	}
	return h, nil
}

func (h *Host) connect() (err error) {
	if h.Process, err = load.Process(h.program.command.Process.Pid); err != nil {
		return err
	}
	conn, err := h.Dial()
	if err != nil {
		return err
	}
	h.Contender = Contender{Conn: conn, Between: &h.Process, Answering: childrenOf(h.Process.PID), Stop: func() {
		_ = conn.Close()
		h.program.end()
	}}
	return nil
}

// Dial is another connection to it.
func (h *Host) Dial() (*grpc.ClientConn, error) { return dial(h.endpoint, h.security) }

func (h *Host) write() error {
	config, err := json.Marshal(h.settings)
	if err != nil {
		return err
	}
	next := h.file + ".next"
	if err := os.WriteFile(next, config, 0o600); err != nil {
		return err
	}
	return os.Rename(next, h.file)
}

// Reload gives the host other plugins, and returns how long it took until it ran them.
func (h *Host) Reload(ctx context.Context, plugins map[string]any) (time.Duration, error) {
	h.settings["plugins"] = plugins
	began := time.Now()
	if err := h.write(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, hostLimit)
	defer cancel()
	report, err := h.operator().Reload(ctx, false, func(admin.ReloadLine) {})
	took := time.Since(began)
	if err == nil && report.Error != "" {
		err = errors.New(report.Error)
	}
	for _, one := range report.Plugins {
		if err == nil && one.Error != "" {
			err = fmt.Errorf("plugin %s: %s", one.Name, one.Error)
		}
	}
	return took, err
}

// Status asks the host for all that it tells of its plugins, and returns how long that took.
func (h *Host) Status(ctx context.Context) (admin.Status, time.Duration, error) {
	began := time.Now()
	status, _, err := h.operator().Status(ctx)
	return status, time.Since(began), err
}

func (h *Host) operator() adminclient.Client {
	return adminclient.Client{Address: h.admin, Limit: hostLimit}
}

// Live is the memory in MiB that the host's data takes, garbage collected.
func (h *Host) Live(ctx context.Context) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.admin+"/debug/pprof/heap?gc=1&debug=1", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "# HeapAlloc = "); ok {
			bytes, err := strconv.ParseFloat(text, 64)
			return bytes / (1 << 20), err
		}
	}
	return 0, errors.Join(lines.Err(), fmt.Errorf("the host's profile at %s (%s) does not say how much it has allocated", request.URL, response.Status))
}
