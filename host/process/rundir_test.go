package process_test

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/internal/privatedir"
	"github.com/agenthost/agenthost/host/process"
)

func TestARunDirectoryIsPrivateAndShortEnoughForSockets(t *testing.T) {
	root, base := runRoot(t)
	dir, err := root.Make()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{base, root.Path(), dir.Path()} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	other, err := root.Make()
	if err != nil || other.Path() == dir.Path() {
		t.Errorf("a second one: %v, %v", other.Path(), err)
	}
	if err := dir.Remove(); err != nil {
		t.Error(err)
	}
	if err := dir.Remove(); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if _, err := os.Stat(other.Path()); err != nil {
		t.Errorf("removing one removed the other: %v", err)
	}
}

func TestTheLongestBaseThatIsTakenHoldsASocket(t *testing.T) {
	parent := filepath.Dir(shortDir(t))
	longest := ""
	for n := 1; n < 200; n++ {
		base := filepath.Join(parent, strings.Repeat("d", n))
		root, err := process.OpenRunRoot(base)
		if err != nil {
			if !strings.Contains(err.Error(), "choose a shorter one") || !strings.Contains(err.Error(), base) {
				t.Errorf("the error is %v", err)
			}
			break
		}
		longest = base
		dir, err := root.Make()
		if err != nil {
			t.Fatal(err)
		}
		socket, err := net.Listen("unix", filepath.Join(dir.Path(), "plugin1234567890"))
		if err != nil {
			t.Fatalf("with a base of %d bytes: %v", len(base), err)
		}
		socket.Close()
		root.Close()
	}
	if len(longest) < 40 {
		t.Errorf("the longest base is %d bytes", len(longest))
	}
}

func TestABaseThatOthersCouldReachIntoIsRefused(t *testing.T) {
	dir := filepath.Dir(shortDir(t))
	make := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	link := filepath.Join(dir, "l")
	if err := os.Symlink(make("t", 0o700), link); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// Root can make a directory somebody else's; anybody else has the root directory for that.
	foreign := "/"
	if os.Geteuid() == 0 {
		foreign = make("o", 0o700)
		if err := os.Chown(foreign, 12345, 12345); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		make("p", 0o755): "can be entered by others (mode 0755): chmod 0700",
		make("g", 0o770): "can be entered by others (mode 0770)",
		link:             "is a symbolic link, not a directory",
		file:             "is a file, not a directory",
		foreign:          "belongs to user",
	} {
		root, err := process.OpenRunRoot(path)
		if err == nil {
			root.Close()
			t.Errorf("%s was taken", path)
			continue
		}
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestOnlyTheDeadAreSwept(t *testing.T) {
	alive, base := runRoot(t)
	living, err := alive.Make()
	if err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(base, "0badcafe")
	foreign := filepath.Join(base, "somebody-elses")
	for _, dir := range []string{filepath.Join(dead, "1", "secrets"), foreign} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	second, err := process.OpenRunRoot(base)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("the dead host's root is still there: %v", err)
	}
	for _, path := range []string{living.Path(), foreign} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s was swept: %v", path, err)
		}
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(second.Path()); !os.IsNotExist(err) {
		t.Errorf("a closed root is still there: %v", err)
	}
}

// lived is a host's root with one process in it, which lives and listens.
type lived struct {
	base   string
	root   *process.RunRoot
	dir    *process.RunDir
	proc   *process.Process
	socket string
}

func livedRoot(t *testing.T) lived {
	t.Helper()
	root, base := runRoot(t)
	dir, err := root.Make()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(dir.Folder("secrets"), dir.Write("secrets/token", []byte("secret"))); err != nil {
		t.Fatal(err)
	}
	l := lived{base, root, dir, shell(t, "exec sleep 1000", "RUN_DIR="+dir.Path()), filepath.Join(dir.Path(), "plugin123")}
	listener, err := net.Listen("unix", l.socket)
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte("it"))
			conn.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	if err := dir.HoldSockets(); err != nil {
		t.Fatal(err)
	}
	return l
}

// expect holds that nothing is missing, and that nobody else can look at it.
func (l lived) expect(t *testing.T, after string) {
	t.Helper()
	for path, want := range map[string]os.FileMode{
		l.base: 0o700, l.root.Path(): 0o700, l.dir.Path(): 0o700, filepath.Join(l.dir.Path(), "secrets"): 0o700, filepath.Join(l.dir.Path(), "secrets", "token"): 0o600,
	} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("after %s: %s: %v", after, path, err)
		}
	}
	if content, err := os.ReadFile(filepath.Join(l.dir.Path(), "secrets", "token")); string(content) != "secret" {
		t.Errorf("after %s the secret is %q: %v", after, content, err)
	}
	conn, err := net.Dial("unix", l.socket)
	if err != nil {
		t.Errorf("after %s the socket cannot be reached: %v", after, err)
		return
	}
	defer conn.Close()
	answer := make([]byte, 2)
	if _, err := conn.Read(answer); err != nil || string(answer) != "it" {
		t.Errorf("after %s somebody else answers: %q, %v", after, answer, err)
	}
}

// another is a second host on the same base, which comes and goes.
func (l lived) another(t *testing.T, after string) {
	t.Helper()
	root, err := process.OpenRunRoot(l.base)
	if err != nil {
		t.Fatalf("after %s: %v", after, err)
	}
	if err := root.Close(); err != nil {
		t.Errorf("after %s: %v", after, err)
	}
	if l.proc.PID() == 0 || gone(l.proc.PID()) {
		t.Errorf("after %s another host killed the process of one that lives", after)
	}
}

func TestWhatACleanerRemovesComesBack(t *testing.T) {
	for _, what := range []string{".", "ROOT", "ROOT/lock", "lock", "ROOT/1", "ROOT/1/secrets", "ROOT/1/secrets/token", "ROOT/1/plugin123"} {
		l := livedRoot(t)
		path := filepath.Join(l.base, strings.Replace(what, "ROOT", filepath.Base(l.root.Path()), 1))
		for _, after := range []string{what, what + ", again"} {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			l.another(t, after)
			remade, err := l.root.Keep()
			if err != nil || what != "lock" && what != "." && (len(remade) == 0 || remade[0] != path) {
				t.Errorf("after %s it made %q anew: %v", after, remade, err)
			}
			l.expect(t, after)
			l.another(t, after)
		}
		if remade, err := l.root.Keep(); err != nil || len(remade) > 0 {
			t.Errorf("after %s, with nothing missing, it made %q anew: %v", what, remade, err)
		}
	}
}

func TestAProcessCanBeStartedAtOnceAfterACleanUp(t *testing.T) {
	l := livedRoot(t)
	if err := os.RemoveAll(l.base); err != nil {
		t.Fatal(err)
	}
	dir, err := l.root.Make()
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir.Path()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("it is %v: %v", info, err)
	}
	l.expect(t, "everything was removed")
	if remade, err := l.root.Keep(); err != nil || len(remade) == 0 || remade[0] != l.root.Path() {
		t.Errorf("it tells that it made %q anew: %v", remade, err)
	}
}

func TestWhatIsKeptLooksUsed(t *testing.T) {
	l := livedRoot(t)
	other, err := process.OpenRunRoot(l.base)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	own := []string{l.base, l.root.Path(), filepath.Join(l.root.Path(), "lock"), l.dir.Path(), filepath.Join(l.dir.Path(), "secrets", "token"), l.socket}
	long := time.Now().Add(-30 * 24 * time.Hour)
	for _, path := range append(own, other.Path()) {
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.root.Keep(); err != nil {
		t.Fatal(err)
	}
	for _, path := range own {
		if info, err := os.Stat(path); err != nil || time.Since(info.ModTime()) > time.Hour {
			t.Errorf("%s is from %v: %v", path, info.ModTime(), err)
		}
	}
	if info, err := os.Stat(other.Path()); err != nil || time.Since(info.ModTime()) < time.Hour {
		t.Errorf("another host's root is from %v: %v", info.ModTime(), err)
	}
}

// Hosts of former releases know the lock in the file only.
func TestHostsOfFormerReleasesAndThisOneLeaveEachOtherAlone(t *testing.T) {
	l := livedRoot(t)
	if _, err := privatedir.TryLockFile(filepath.Join(l.root.Path(), "lock")); !errors.Is(err, privatedir.ErrHeld) {
		t.Errorf("one of them would take this one for dead: %v", err)
	}
	former := filepath.Join(l.base, "0badcafe")
	if err := os.Mkdir(former, 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := privatedir.TryLockFile(filepath.Join(former, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	l.another(t, "it was started")
	if _, err := os.Stat(former); err != nil {
		t.Errorf("a living host of a former release was swept: %v", err)
	}
	lock.Close()
	l.another(t, "the former one died")
	if _, err := os.Stat(former); !os.IsNotExist(err) {
		t.Errorf("a dead host of a former release was not swept: %v", err)
	}
}

// A process that reads a file while it is replaced must get one content or the other, and nobody else any of it.
func TestAFileIsReplacedAsAWholeAndComesBackAsItIs(t *testing.T) {
	root, err := process.OpenRunRoot(shortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	dir, err := root.Make()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(dir.Folder("secrets"), dir.Write("secrets/a", []byte("first"))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir.Path(), "secrets/a")
	open, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := dir.Replace("secrets/a", []byte("second")); err != nil {
		t.Fatal(err)
	}
	former, err := io.ReadAll(open)
	if err != nil || string(former) != "first" {
		t.Errorf("who had it open reads %q, %v", former, err)
	}
	if !dir.Holds("secrets/a", []byte("second")) || dir.Holds("secrets/a", []byte("first")) || dir.Holds("secrets/b", nil) {
		t.Error("it does not know what it holds")
	}
	is := func(when string) {
		t.Helper()
		content, err := os.ReadFile(path)
		info, statErr := os.Stat(path)
		if err != nil || statErr != nil || string(content) != "second" || info.Mode() != 0o600 {
			t.Errorf("%s: %q, %v, %v", when, content, info.Mode(), err)
		}
		if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
			t.Errorf("%s: beside it are %v, %v", when, entries, err)
		}
	}
	is("after its replacement")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Keep(); err != nil {
		t.Fatal(err)
	}
	is("after a clean-up")

	// A plugin owns its directory, but gets the host to write nowhere else.
	elsewhere := t.TempDir()
	if err := errors.Join(os.RemoveAll(filepath.Dir(path)), os.WriteFile(filepath.Join(elsewhere, "a"), nil, 0o600), os.Symlink(elsewhere, filepath.Dir(path))); err != nil {
		t.Fatal(err)
	}
	if err := dir.Replace("secrets/a", []byte("third")); err == nil {
		t.Error("it was written through a link to elsewhere")
	}
	if content, err := os.ReadFile(filepath.Join(elsewhere, "a")); err != nil || len(content) > 0 {
		t.Errorf("elsewhere is %q, %v", content, err)
	}
	if err := dir.Replace("secrets/b", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that never was: %v", err)
	}
}
