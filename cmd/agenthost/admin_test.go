package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/wait"
)

// asNobody runs the command as a user that is neither the host's nor root.
func asNobody(t *testing.T, args ...string) (string, error) {
	t.Helper()
	const nobody = 65534
	dir, err := os.MkdirTemp("/tmp", "nobody-") // which that user can enter, unlike t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "agenthost")
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, []string{actAsAgenthost + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// serveAdmin runs a host whose admin address is as given.
func serveAdmin(t *testing.T, admin string, more ...string) (p *program, file, runDir string) {
	t.Helper()
	runDir = shortDir(t) + "/r"
	file = writeFile(t, "host.yaml", fmt.Sprintf("listen: {grpc: \"127.0.0.1:0\", admin: %q, probe: \"127.0.0.1:0\"}\nrun_dir: %s\nplugins: {echo: {command: %s}}\n",
		admin, runDir, jsonList(badplugin.Command("good"))))
	p = startAgenthost(t, append([]string{"serve", "-c", file}, more...)...)
	p.stderr.await(t, "agenthost is ready", 1)
	return p, file, runDir
}

// The host's own user operates it without knowing of tokens; another on the machine, such as a plugin's, does not, nor finds the token.
func TestOverTCPTheHostsUserOperatesItAndOthersOnTheMachineDoNot(t *testing.T) {
	p, _, runDir := serveAdmin(t, "127.0.0.1:0")
	admin := readyLine.FindStringSubmatch(p.stderr.String())[2]
	agenthost(t, "reload", "--admin", admin).expect(t, 0, "reloaded: ", "")
	p.stderr.await(t, "msg=operation operation=reload outcome=done", 1)
	if strings.Contains(p.stderr.String(), "outcome=refused") {
		t.Errorf("the command was refused first:\n%s", p.stderr)
	}
	tokens, err := filepath.Glob(filepath.Join(runDir, "*", "*", "admin-*.token"))
	if err != nil || len(tokens) != 1 {
		t.Fatalf("tokens: %q, %v", tokens, err)
	}
	if info, err := os.Stat(tokens[0]); err != nil || info.Mode() != 0o600 {
		t.Errorf("the token's file: %v, %v", info, err)
	}
	content, err := os.ReadFile(tokens[0])
	if err != nil || strings.Contains(p.stderr.String(), strings.TrimSpace(string(content))) {
		t.Errorf("the log has the token in it, or it cannot be read: %v", err)
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Post("http://"+admin+"/reload", "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %s", response.Status)
	}
	p.stderr.await(t, "msg=operation operation=reload outcome=refused", 1)

	if os.Geteuid() == 0 {
		if out, err := asNobody(t, "reload", "--admin", admin); err == nil || !strings.Contains(out, "takes a token") {
			t.Errorf("another user: %v\n%s", err, out)
		}
		if out, err := asNobody(t, "status", "--admin", admin); err != nil || !strings.Contains(out, "echo") {
			t.Errorf("another user looks: %v\n%s", err, out)
		}
	}

	file := writeFile(t, "tokens", "ci 0123456789abcdef0123456789abcdef\n")
	agenthost(t, "reload", "--admin", admin, "--set", "listen.admin_token=file://"+file).expect(t, exitFailed, "", "the token is not known to this host")
	p.signal(t, syscall.SIGTERM)
}

func TestATokenOfTheConfigurationOperatesTheHostAndIsNamed(t *testing.T) {
	file := writeFile(t, "tokens", "0123456789abcdef\n\nci 0123456789abcdef0123456789abcdef\n")
	p, config, _ := serveAdmin(t, "127.0.0.1:0", "--set", "listen.admin_token=file://"+file)
	admin := readyLine.FindStringSubmatch(p.stderr.String())[2]
	only := writeFile(t, "one", "0123456789abcdef0123456789abcdef")
	agenthost(t, "reload", "-c", config, "--admin", admin, "--set", "listen.admin_token=file://"+only).expect(t, 0, "reloaded: ", "")
	p.stderr.await(t, "token=ci", 1)
	agenthost(t, "reload", "--admin", admin, "--set", "listen.admin_token=file://"+file+".none").expect(t, exitFailed, "", "listen.admin_token: cannot be read")
	p.signal(t, syscall.SIGTERM)
}

func TestOverAUnixSocketTheSystemSaysWhoOperatesTheHost(t *testing.T) {
	path := filepath.Join(shortDir(t), "admin.sock")
	p, file, runDir := serveAdmin(t, "unix:"+path)
	if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
	agenthost(t, "status", "-c", file).expect(t, 0, "echo", "")
	agenthost(t, "reload", "--admin", "unix:"+path).expect(t, 0, "reloaded: ", "")
	p.stderr.await(t, fmt.Sprintf("uid=%d pid=%d", os.Geteuid(), os.Getpid()), 1)
	if tokens, err := filepath.Glob(filepath.Join(runDir, "*", "*", "admin-*.token")); err != nil || len(tokens) > 0 {
		t.Errorf("tokens: %q, %v", tokens, err)
	}
	if os.Geteuid() == 0 {
		if out, err := asNobody(t, "status", "--admin", "unix:"+path); err == nil || !strings.Contains(out, "permission denied") {
			t.Errorf("another user: %v\n%s", err, out)
		}
		if err := os.Chmod(path, 0o666); err != nil { // as a socket unit may have it
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := asNobody(t, "reload", "--admin", "unix:"+path); err == nil || !strings.Contains(out, "user 65534 may not operate this host") {
			t.Errorf("another user: %v\n%s", err, out)
		}
		p.stderr.await(t, "outcome=refused", 1)
		p.stderr.await(t, "uid=65534", 1)
	}
	if out := agenthost(t, "serve", "-c", file); out.code != exitFailed || !strings.Contains(out.stderr, "listen.admin: unix:"+path+" is in use by another process") {
		t.Errorf("a second host: %+v", out)
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // it was killed
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("nothing is left of the socket, so that this shows nothing: %v", err)
	}
	again := startAgenthost(t, "serve", "-c", file)
	again.stderr.await(t, "agenthost is ready", 1)
	agenthost(t, "status", "-c", file).expect(t, 0, "echo", "")
	again.signal(t, syscall.SIGTERM)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket outlives the host: %v", err)
	}
}

func TestAHostThatAcceptsAndNeverAnswersEndsEveryCommand(t *testing.T) {
	silent := listenTCP(t)
	for _, line := range []string{"status", "pending", "reload", "reload --dry-run", "upgrade", "pending cancel x", "restart x", "stop x", "disable x", "rollback x"} {
		began := time.Now()
		agenthost(t, append(strings.Fields(line), "--timeout", "200ms", "--admin", silent.Addr().String())...).
			expect(t, exitFailed, "", "what listens at "+silent.Addr().String()+" does not answer: nothing came within 200ms")
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s took %v", line, took)
		}
	}
}

// probeLine has the probe's address.
func probeOf(t *testing.T, p *program) string {
	t.Helper()
	_, after, found := strings.Cut(p.stderr.String(), "probe=")
	address, _, _ := strings.Cut(after, " ")
	if !found || address == "" {
		t.Fatal("the log does not say where the probe is")
	}
	return address
}

func TestTheProbeTellsWhenTheHostMayGetWorkAndNothingElse(t *testing.T) {
	file := pluginsFile(t, map[string][]string{"echo": badplugin.Command("good")})
	t.Setenv("VERY_SECRET", "swordfish")
	p := startAgenthost(t, "serve", "-c", file, "--set", "listen.probe=127.0.0.1:0", "--set", "plugins.echo.env.SOME_VARIABLE=some-value", "--set", "plugins.echo.secrets.some_secret=env:VERY_SECRET")
	p.stderr.await(t, "agenthost is ready", 1)
	address := probeOf(t, p)
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if answer, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil || answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("gRPC's health: %v, %v", answer, err)
	}
	everything := ""
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/config"} {
		out, err := exec.CommandContext(t.Context(), "curl", "--silent", "--show-error", "--fail", "--max-time", "30", "http://"+address+path).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v %s", path, err, out)
		}
		everything += string(out)
	}
	for _, private := range []string{"some-value", "SOME_VARIABLE", "swordfish", "some_secret", "VERY_SECRET"} {
		if strings.Contains(everything, private) {
			t.Errorf("the probe tells %s", private)
		}
	}
	checked := agenthost(t, "check", "-c", file, "-o", "json", "--set", "listen.probe=127.0.0.1:0", "--set", "plugins.echo.env.SOME_VARIABLE=some-value",
		"--set", "plugins.echo.secrets.some_secret=env:VERY_SECRET", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	_, hash, _ := strings.Cut(checked.stdout, `"config_hash": "`)
	if hash, _, _ = strings.Cut(hash, `"`); hash == "" || !strings.Contains(everything, `"hash": "`+hash+`"`) {
		t.Errorf("check gives the hash %q, and the host:\n%s", hash, everything)
	}
	if code := p.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d:\n%s", code, p.stderr)
	}
}

// Whoever takes over takes all of the listeners: none of their clients is refused.
func TestAnUpgradeHandsOverTheSocketAndTheProbe(t *testing.T) {
	path := filepath.Join(shortDir(t), "admin.sock")
	p, file, _ := serveAdmin(t, "unix:"+path)
	probe := probeOf(t, p)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	out := agenthost(t, "upgrade", "-c", file)
	out.expect(t, 0, "upgraded after", "")
	wait.Until(t, "the old host has ended", func() bool { return hasEnded(p.cmd.Process.Pid) })
	pid := 0
	_, said, _ := strings.Cut(out.stdout, "process ")
	if _, err := fmt.Sscanf(said, "%d", &pid); err != nil {
		t.Fatalf("%v: %s", err, out.stdout)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it has ended, unless the test failed
	})
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the socket is another one: %v", err)
	}
	agenthost(t, "status", "-c", file).expect(t, 0, fmt.Sprintf("pid %d", pid), "")
	agenthost(t, "reload", "-c", file).expect(t, 0, "reloaded: ", "")
	if conn, err := net.DialTimeout("tcp", probe, 10*time.Second); err != nil {
		t.Errorf("the probe: %v", err)
	} else {
		conn.Close()
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, "the new host has ended", func() bool { return hasEnded(pid) })
	_ = p.cmd.Wait() // both wrote to its pipes
}

// hasEnded says that a process is gone, or waits for its parent to hear of its end.
func hasEnded(pid int) bool {
	state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || bytes.Contains(state, []byte(") Z "))
}

func TestACheckReadsTheTokensForOperators(t *testing.T) {
	file := pluginsFile(t, nil)
	for content, wrong := range map[string]string{
		"0123456789abcdef\nci 0123456789abcdef\n": "", "short\n": "is shorter than 16 characters", "\n": "there is no token", "one two three\n": "more than a name and a token",
	} {
		out := agenthost(t, "check", "--start", "-c", file, "--set", "listen.admin_token=file://"+writeFile(t, "tokens", content))
		if (out.code == 0) != (wrong == "") || !strings.Contains(out.stderr, wrong) || strings.Contains(out.stderr, "short\n") {
			t.Errorf("%q: %+v", content, out)
		}
	}
}
