package plugin_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/test/wait"
)

// publicProgram copies this test's program to where any user may start it.
func publicProgram(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "public")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(dir, "plugin"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return to.Name()
}

// script is a plugin that a shell script becomes. What the script prints is in the log.
func script(name, text string) plugin.Spec {
	s := spec(name, "good")
	s.Command = append([]string{"/bin/sh", "-c", text + "\nexec \"$0\" \"$@\""}, s.Command...)
	return s
}

func TestAPluginWithAUserOfItsOwnIsServedStoppedAndClearedUp(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it starts a program as another user, which takes root")
	}
	h := newHost(t)
	if err := os.Chmod(filepath.Dir(filepath.Dir(h.root.Path())), 0o755); err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("mellon"), 0o600); err != nil {
		t.Fatal(err)
	}
	own := script("own", `echo "it has $(cat $FLYTE_SECRETS_DEFAULT_DIR/token)" >&2; echo x >"$TMPDIR/x" || echo "no TMPDIR" >&2; echo y >"$WORK/y"; echo "home $HOME" >&2`)
	own.Command[3] = publicProgram(t)
	own.Secrets = map[string]string{"token": "file://" + token}
	own.Sandbox.User = "70000-70999"
	work := filepath.Join(filepath.Dir(own.Command[3]), "work")
	own.Env["WORK"] = work
	own.Sandbox.Write = []string{work}
	instance := h.start(own)
	uid := instance.Sandbox().UID
	if uid < 70000 || uid > 70999 {
		t.Errorf("it runs as %d", uid)
	}
	h.log.line(t, "it has [secret token]") // whose value it read: otherwise nothing was hidden
	home := h.log.line(t, "home ")["msg"].(string)
	if !strings.HasPrefix(home, "home "+h.root.Path()) {
		t.Errorf("its %s", home)
	}
	for _, path := range []string{work + "/y", "/proc/" + strconv.Itoa(instance.PID())} {
		var stat syscall.Stat_t
		if err := syscall.Stat(path, &stat); err != nil || stat.Uid != uid {
			t.Errorf("%s belongs to %d, %v", path, stat.Uid, err)
		}
	}
	if remade, err := h.root.Keep(); err != nil || len(remade) > 0 {
		t.Errorf("kept: %q, %v", remade, err)
	}
	if err := instance.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestAUserWhomTheHostCannotBecomeKeepsThePluginFromStarting(t *testing.T) {
	h := newHost(t)
	other := spec("other", "good")
	other.Sandbox.User = "nobody-of-this-name"
	h.wantFailure(other, plugin.StepPrepare, "sandbox.user", "no user is called nobody-of-this-name", "make the user")
	other.Sandbox.User = "root"
	h.wantFailure(other, plugin.StepPrepare, "sandbox.user", "root, whom nothing keeps out")
}

func TestTheHostsOwnFilesAreOutOfAPluginsReach(t *testing.T) {
	h := newHost(t)
	dir := t.TempDir()
	for _, name := range []string{"agenthost.yaml", "data", "secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("content of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reader := script("reader", `for name in agenthost.yaml data secret; do cat "$DATA/$name" >&2; echo >&2; done; echo "done reading" >&2`)
	reader.Dir = dir
	reader.Env["DATA"] = dir
	env := h.environment()
	env.Private = []string{dir + "/agenthost.yaml", dir + "/secret"}
	instance, err := plugin.Start(context.Background(), reader, env)
	if err != nil {
		t.Fatal(err)
	}
	defer instance.Stop(context.Background())
	h.log.line(t, "content of data")
	h.log.line(t, "done reading")
	if log := h.log.String(); strings.Contains(log, "content of agenthost.yaml") || strings.Contains(log, "content of secret") {
		t.Errorf("it read them:\n%s", log)
	}
	wait.Until(t, "both were refused", func() bool { return strings.Count(h.log.String(), "Permission denied") == 2 })
}

func TestWhatAPluginMayWriteHoldsNothingOfTheHosts(t *testing.T) {
	h := newHost(t)
	env := h.environment()
	env.Private = []string{h.root.Path()}
	wide := spec("wide", "good")
	wide.Env["TMPDIR"] = filepath.Dir(h.root.Path())
	if _, err := plugin.Start(context.Background(), wide, env); err == nil || !strings.Contains(err.Error(), "TMPDIR is ") || !strings.Contains(err.Error(), "the host's own") {
		t.Errorf("it started: %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Dir(h.root.Path()), link); err != nil {
		t.Fatal(err)
	}
	linked := spec("linked", "good")
	linked.Sandbox.Write = []string{link}
	if _, err := plugin.Start(context.Background(), linked, env); err == nil || !strings.Contains(err.Error(), "sandbox.write: "+link+" holds "+h.root.Path()) {
		t.Errorf("it started: %v", err)
	}
	narrow := script("narrow", `echo x >"$TMPDIR/x" && echo "wrote to $TMPDIR" >&2`)
	narrow.Env["TMPDIR"] = filepath.Join(t.TempDir(), "new")
	h.start(narrow)
	h.log.line(t, "wrote to "+narrow.Env["TMPDIR"])
}

func TestASandboxThatIsOffLeavesThePluginAlone(t *testing.T) {
	h := newHost(t)
	off := spec("off", "good")
	off.Sandbox.Mode = "off"
	if granted := h.start(off).Sandbox(); granted != nil {
		t.Errorf("granted: %v", granted)
	}
}

func TestWhoIsDeniedSomethingHearsOfTheSandbox(t *testing.T) {
	h := newHost(t)
	denied := script("denied", `echo x >"$ELSEWHERE/x" || exit 3`)
	denied.Env["ELSEWHERE"] = t.TempDir()
	h.wantFailure(denied, plugin.StepHandshake, "exited with code 3", "ermission denied", "sandbox.write name the files")
	denied.Sandbox.Mode = "off"
	denied.Command[2] = "echo 'Permission denied' >&2; exit 3"
	if _, err := plugin.Start(t.Context(), denied, plugin.Environment{RunRoot: h.root}); err == nil || strings.Contains(err.Error(), "sandbox") {
		t.Errorf("without one: %v", err)
	}
}
