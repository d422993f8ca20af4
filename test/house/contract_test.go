package house

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	goplugin "github.com/hashicorp/go-plugin"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/tools/verify"
)

// root is the repository.
const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// example is the block of the contract that follows the comment with this name.
func example(t *testing.T, name string) string {
	t.Helper()
	_, rest, found := strings.Cut(read(t, "docs/contract.md"), "<!-- example: "+name+" -->\n```")
	_, rest, opened := strings.Cut(rest, "\n")
	block, _, closed := strings.Cut(rest, "\n```")
	if !found || !opened || !closed {
		t.Fatalf("docs/contract.md has no example %q", name)
	}
	return block
}

func TestTheContractNamesTheConstantsOfTheCode(t *testing.T) {
	page := read(t, "docs/contract.md")
	health := fleet.DefaultHealth
	for _, row := range []string{
		fmt.Sprintf("| magic cookie | `%s=%s` |", pluginv1.MagicCookieKey, pluginv1.MagicCookieValue),
		fmt.Sprintf("| application protocol version | `%d` |", pluginv1.ProtocolVersion),
		fmt.Sprintf("| core protocol version (go-plugin's) | `%d` |", goplugin.CoreProtocolVersion),
		fmt.Sprintf("| health service | `%s` |", pluginv1.HealthService),
		fmt.Sprintf("| optional services of ours | `%s`, `%s` |", pluginv1.PluginService_ServiceDesc.ServiceName, pluginv1.CallService_ServiceDesc.ServiceName),
		fmt.Sprintf("This is contract version **%d**", pluginv1.ProtocolVersion),
		fmt.Sprintf("| `%s` | to the plugin, ", pluginv1.IdempotencyKeyHeader),
		fmt.Sprintf("| `%s` | to the plugin, with CreateTask, value `1` | [find]", pluginv1.FindOnlyHeader),
		fmt.Sprintf("| `%s` | to the plugin, with CreateTask, value `1` | [abandon]", pluginv1.AbandonHeader),
		fmt.Sprintf("| `%s` | its jobs may go on", pluginv1.CapabilityKeepUnclaimed),
		fmt.Sprintf("| `%s` | the plugin reads the file of a secret", pluginv1.CapabilityRereadsSecrets),
		fmt.Sprintf("| `%s` | the plugin [finds and abandons]", pluginv1.CapabilityFindByKey),
		fmt.Sprintf("| `%s` | from the plugin, trailer, value `1` |", pluginv1.NotTakenTrailer),
		fmt.Sprintf("| `%s` | CreateTask calls with one idempotency key", pluginv1.CapabilityIdempotentCreate),
		fmt.Sprintf("within `start_timeout` (default %.0f s)", config.DefaultStartTimeout.Seconds()),
		fmt.Sprintf("| half of `stop_timeout` (%.0f s) |", config.DefaultStopTimeout.Seconds()),
		fmt.Sprintf("the host asks for health every %.0f s; a process that leaves five such calls in a row without any answer for %.0f s each",
			health.Interval.Seconds(), health.Timeout.Seconds()),
	} {
		if !strings.Contains(unwrapped(page), row) {
			t.Errorf("docs/contract.md does not say %q", row)
		}
	}
	if health.Misses != 5 {
		t.Errorf("docs/contract.md says that five missed health checks are too many, the code %d", health.Misses)
	}
}

func TestTheContractNamesTheDefaultsOfTheConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "agenthost.yaml")
	if err := os.WriteFile(file, []byte("plugins: {hello: {command: [hello]}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	settings, err := config.Load(config.Sources{Files: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	page := unwrapped(read(t, "docs/contract.md"))
	for _, part := range []string{
		fmt.Sprintf("| drain | `drain_timeout` (%.0f s) |", settings.Plugins["hello"].DrainTimeout.Seconds()),
		fmt.Sprintf("the host's `max_message_size` (%d MiB)", settings.MaxMessageSize>>20),
	} {
		if !strings.Contains(page, part) {
			t.Errorf("docs/contract.md does not say %q", part)
		}
	}
}

// unwrapped is a page with each paragraph in one line.
func unwrapped(page string) string { return strings.Join(strings.Fields(page), " ") }

var checkName = regexp.MustCompile("`((?:handshake|tls|health|describe|configure|agents|unknown|requests|tasks|sync|exchange|metrics|load|drain|stop|logs)/[a-z0-9-]+)`")

func TestTheContractAndItsChecksNameEachOther(t *testing.T) {
	var checks []string
	for _, check := range verify.Checks() {
		checks = append(checks, check.Name)
	}
	for _, page := range []string{"docs/contract.md", "docs/verify.md"} {
		named := map[string]bool{}
		for _, match := range checkName.FindAllStringSubmatch(read(t, page), -1) {
			named[match[1]] = true
			if !slices.Contains(checks, match[1]) {
				t.Errorf("%s names the check %s, which there is not", page, match[1])
			}
		}
		for _, check := range checks {
			if !named[check] {
				t.Errorf("%s does not name the check %s", page, check)
			}
		}
	}
}

func TestTheContractListsTheEnvironmentThatAPluginGets(t *testing.T) {
	got := filepath.Join(t.TempDir(), "env")
	for _, tls := range []bool{true, false} {
		start(t, plugin.Spec{
			Command: []string{"/bin/sh", "-c", `env -0 >"$OUT"`}, Env: map[string]string{"OUT": got}, TLS: tls,
		}, nil)
		printed, err := os.ReadFile(got)
		if err != nil {
			t.Fatal(err)
		}
		page := read(t, "docs/contract.md")
		_, table, _ := strings.Cut(page, "| variable | value | when |\n")
		table, _, _ = strings.Cut(table, "\n\n")
		listed := map[string]string{} // and when it is there
		for line := range strings.Lines(table) {
			cells := strings.Split(line, "|")
			if len(cells) < 4 || strings.HasPrefix(strings.TrimSpace(cells[1]), "those of") {
				continue
			}
			for _, name := range regexp.MustCompile("`([A-Z_]+)`").FindAllStringSubmatch(cells[1], -1) {
				if listed[name[1]] == "" { // the rows below replace some in a sandbox
					listed[name[1]] = strings.TrimSpace(cells[3])
				}
			}
		}
		process := map[string]bool{}
		for variable := range strings.SplitSeq(strings.TrimSuffix(string(printed), "\x00"), "\x00") {
			name, _, _ := strings.Cut(variable, "=")
			process[name] = true
			switch name {
			case "OUT", "PWD", "OLDPWD", "SHLVL", "_": // ours, and the shell's own
				continue
			}
			if listed[name] == "" {
				t.Errorf("a plugin gets %s, which docs/contract.md does not list", name)
			}
		}
		for name, when := range listed {
			wanted := when == "always" || tls && when == "unless `tls: off`"
			if wanted && !process[name] {
				t.Errorf("tls %v: a plugin does not get %s, which docs/contract.md lists: %s", tls, name, when)
			}
			if !tls && when == "unless `tls: off`" && process[name] {
				t.Errorf("a plugin without TLS gets %s", name)
			}
			if when == "where the host has it" && !slices.Contains(plugin.BaseEnv, name) {
				t.Errorf("docs/contract.md says that a plugin inherits %s, which it does not", name)
			}
		}
		for _, name := range plugin.BaseEnv {
			if listed[name] != "where the host has it" {
				t.Errorf("docs/contract.md does not say that a plugin inherits %s", name)
			}
		}
	}
}

// The example goes through all that reads a plugin's line, but for the address: it is another in each process.
func TestTheExampleOfAHandshakeIsOne(t *testing.T) {
	fields := strings.Split(example(t, "handshake"), "|")
	der, err := base64.RawStdEncoding.DecodeString(fields[5])
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if key, ok := certificate.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() || certificate.IsCA {
		t.Errorf("the certificate is not P-256, or a CA")
	}
	if err := certificate.VerifyHostname("localhost"); err != nil {
		t.Error(err)
	}

	socket := filepath.Join(shortDir(t), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, connected := context.WithCancel(t.Context())
	defer connected()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			connected() // it read the line: that is enough
			conn.Close()
		}
	}()
	fields[3] = socket
	failed := startUntil(ctx, t, plugin.Spec{
		Command: []string{"/bin/sh", "-c", `printf '%s\n' "$LINE"; exec sleep 60`}, Env: map[string]string{"LINE": strings.Join(fields, "|")}, TLS: true,
	}, nil)
	if failed.Step != plugin.StepConnect && failed.Step != plugin.StepHealth {
		t.Errorf("the host does not take the example: %v", failed)
	}
}

func TestTheExampleOfALogLineArrivesWithLevelAndFields(t *testing.T) {
	lines := make(chan string, 100)
	start(t, plugin.Spec{
		Command: []string{"/bin/sh", "-c", `printf '%s\n' "$LINE" >&2`}, Env: map[string]string{"LINE": example(t, "log line")},
	}, slog.New(records(lines)))
	want := "INFO query started job=flyte-a6860e8c rows=3"
	var got []string
	for !slices.Contains(got, want) {
		select {
		case line := <-lines: // it may come after the news that the process has ended
			got = append(got, line)
		case <-time.After(10 * time.Second):
			t.Fatalf("it arrived as %q, want %q", got, want)
		}
	}
}

func TestTheExampleOfAnIdempotencyKeyIsThatOfItsAttempt(t *testing.T) {
	key := pluginv1.IdempotencyKey(&core.TaskExecutionIdentifier{
		TaskId: &core.Identifier{Project: "flytesnacks", Domain: "development", Name: "etl.query", Version: "v1"},
		NodeExecutionId: &core.NodeExecutionIdentifier{
			NodeId:      "n0",
			ExecutionId: &core.WorkflowExecutionIdentifier{Project: "flytesnacks", Domain: "development", Name: "f3a"},
		},
		RetryAttempt: 2,
	}, "s3://flyte-data/metadata/propeller/flytesnacks-development-f3a/n0/data/2")
	if key != example(t, "idempotency key") {
		t.Errorf("the key is %s", key)
	}
}

// start starts what is no plugin, and returns how far it came.
func start(t *testing.T, spec plugin.Spec, log *slog.Logger) *plugin.StartError {
	t.Helper()
	return startUntil(t.Context(), t, spec, log)
}

func startUntil(ctx context.Context, t *testing.T, spec plugin.Spec, log *slog.Logger) *plugin.StartError {
	t.Helper()
	runRoot, err := process.OpenRunRoot(filepath.Join(shortDir(t), "r"))
	if err != nil {
		t.Fatal(err)
	}
	defer runRoot.Close()
	spec.Name, spec.StartTimeout = "example", time.Minute
	instance, err := plugin.Start(ctx, spec, plugin.Environment{RunRoot: runRoot, Log: log})
	if err == nil {
		t.Fatal(instance.Stop(context.Background()))
	}
	var failed *plugin.StartError
	if !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return failed
}

// shortDir is a temporary directory with a short path, for sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "h")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// records is a slog.Handler that hands on each record as a line: level, message, and the fields in alphabetical order.
type records chan<- string

func (r records) Handle(_ context.Context, record slog.Record) error {
	var fields []string
	record.Attrs(func(attr slog.Attr) bool {
		fields = append(fields, attr.String())
		return true
	})
	slices.Sort(fields)
	r <- strings.Join(append([]string{record.Level.String(), record.Message}, fields...), " ")
	return nil
}

func (r records) Enabled(context.Context, slog.Level) bool { return true }
func (r records) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r records) WithGroup(string) slog.Handler            { return r }
