package process_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
