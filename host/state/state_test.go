package state_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/state"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("STATE_TEST_DIR"); path != "" {
		actAsHost(path)
	}
	os.Exit(m.Run())
}

// actAsHost is the test binary run again as a host that will be killed: it locks a folder, and then writes and writes.
func actAsHost(path string) {
	dir, err := state.Open(path)
	if err == nil {
		_, err = dir.Lock("intents/mine")
	}
	for n := 0; err == nil; n++ {
		err = dir.Write("intents/mine/busy", 1, bytes.Repeat([]byte{byte('a' + n%26)}, 1<<20))
		if n == 0 {
			fmt.Println("writing")
		}
	}
	fmt.Println("error:", err)
	os.Exit(1)
}

func open(t *testing.T, path string) *state.Dir {
	t.Helper()
	dir, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

func write(t *testing.T, dir *state.Dir, name, content string) {
	t.Helper()
	if err := dir.Write(name, 1, []byte(content)); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsWrittenIsFoundByTheNextHost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "var", "state")
	dir := open(t, path)
	write(t, dir, "keys/create", "first")
	write(t, dir, "keys/create", "second\nwith a line")
	write(t, dir, "empty", "")
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}

	next := open(t, path)
	if data, format, err := next.Read("keys/create", 3); err != nil || format != 1 || string(data) != "second\nwith a line" {
		t.Errorf("it reads %q, format %d: %v", data, format, err)
	}
	if data, _, err := next.Read("empty", 1); err != nil || len(data) != 0 {
		t.Errorf("of an empty file it reads %q: %v", data, err)
	}
	if names, err := next.List(""); err != nil || !slices.Equal(names, []string{"empty", "keys/"}) {
		t.Errorf("it lists %q: %v", names, err)
	}
	for range 2 {
		if err := next.Remove("keys/create"); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := next.Read("keys/create", 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was removed is read: %v", err)
	}
	for _, folder := range []string{"keys", "nowhere", "nowhere/at/all"} {
		if names, err := next.List(folder); err != nil || len(names) > 0 {
			t.Errorf("%s lists %q: %v", folder, names, err)
		}
	}
	if err := next.Remove("nowhere/at/all"); err != nil {
		t.Error(err)
	}
}

func TestNobodyElseCanReadIt(t *testing.T) {
	dir := open(t, filepath.Join(t.TempDir(), "state"))
	write(t, dir, "keys/create", "secret")
	for name, want := range map[string]fs.FileMode{"": 0o700, "keys": 0o700, "keys/create": 0o600} {
		if info, err := os.Stat(dir.Path(name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%q has mode %v: %v", name, info.Mode(), err)
		}
	}
	shared := t.TempDir()
	if err := os.Chmod(shared, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Open(shared); err == nil || !strings.Contains(err.Error(), "chmod 0700") {
		t.Errorf("a directory that all can enter: %v", err)
	}
}

func TestANameStaysInTheDirectory(t *testing.T) {
	dir := open(t, filepath.Join(t.TempDir(), "state"))
	for _, name := range []string{"../out", "/etc/passwd", "a/../../out", "a/.new-1"} {
		_, _, read := dir.Read(name, 1)
		_, list := dir.List(name)
		_, lock := dir.Lock(name)
		for call, err := range map[string]error{"Write": dir.Write(name, 1, nil), "Read": read, "List": list, "Lock": lock, "Remove": dir.Remove(name)} {
			if err == nil || !strings.Contains(err.Error(), "no name for a file") {
				t.Errorf("%s of %s: %v", call, name, err)
			}
		}
	}
}

func TestAFileOfANewerHostAndOneOfNoHostAreToldApart(t *testing.T) {
	dir := open(t, filepath.Join(t.TempDir(), "state"))
	if err := dir.Write("newer", 2, []byte("in another form")); err != nil {
		t.Fatal(err)
	}
	var newer *state.NewerError
	if _, _, err := dir.Read("newer", 1); !errors.As(err, &newer) || newer.Format != 2 || !strings.Contains(err.Error(), dir.Path("newer")) {
		t.Errorf("of a newer host's file: %v", err)
	}
	for _, content := range []string{"", "agenthost-state 1", "agenthost-state one\nx", "{}\n"} {
		if err := os.WriteFile(dir.Path("foreign"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if data, _, err := dir.Read("foreign", 1); err == nil || errors.As(err, &newer) {
			t.Errorf("%q is read as %q: %v", content, data, err)
		}
	}
}

func TestAHostThatIsKilledLeavesWholeFilesAndItsLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	host := exec.Command(os.Args[0])
	host.Env = append(os.Environ(), "STATE_TEST_DIR="+path)
	said, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	defer host.Process.Kill()
	if line, err := bufio.NewReader(said).ReadString('\n'); line != "writing\n" {
		t.Fatalf("it said %q: %v", line, err)
	}

	beside := open(t, path)
	if _, err := beside.Lock("intents/mine"); !errors.Is(err, state.ErrLocked) {
		t.Errorf("the lock of a living host is given away: %v", err)
	}
	for range 20 {
		data, _, err := beside.Read("intents/mine/busy", 1)
		if err != nil || len(data) != 1<<20 || len(bytes.Trim(data, string(data[:1]))) > 0 {
			t.Fatalf("it reads %d bytes, a mixture or a part: %v", len(data), err)
		}
	}
	host.Process.Kill()
	host.Wait()
	unlock, err := beside.Lock("intents/mine")
	if err != nil {
		t.Fatalf("the lock of a dead host is not given up: %v", err)
	}
	if _, err := beside.Lock("intents/mine"); !errors.Is(err, state.ErrLocked) {
		t.Errorf("the lock is given twice: %v", err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
	if _, _, err := beside.Read("intents/mine/busy", 1); err != nil {
		t.Error(err)
	}
}

func TestWhatWasLeftUnfinishedIsRemovedWhereNobodyWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	first := open(t, path)
	write(t, first, "keys/create", "whole")
	left := first.Path("keys/.new-123")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	second := open(t, path)
	if names, err := second.List("keys"); err != nil || !slices.Equal(names, []string{"create"}) {
		t.Errorf("it lists %q: %v", names, err)
	}
	if _, err := os.Stat(left); err != nil {
		t.Errorf("what a living host may be writing was removed: %v", err)
	}
	first.Close()
	second.Close()
	open(t, path)
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what nobody will finish is still there: %v", err)
	}
}

func TestHostsThatWriteAtOnceEachWriteWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	var writers sync.WaitGroup
	for n := range 4 {
		dir := open(t, path)
		writers.Go(func() {
			for range 20 {
				if err := dir.Write("keys/create", n, bytes.Repeat([]byte{byte('a' + n)}, 10_000)); err != nil {
					t.Error(err)
				}
				data, format, err := dir.Read("keys/create", 4)
				if err != nil || string(data) != strings.Repeat(string(rune('a'+format)), 10_000) {
					t.Errorf("it reads %d bytes of format %d: %v", len(data), format, err)
				}
			}
		})
	}
	writers.Wait()
}

func TestADirectoryThatIsKeptLooksUsedAndComesBack(t *testing.T) {
	dir := open(t, filepath.Join(t.TempDir(), "state"))
	write(t, dir, "keys/create", "key")
	long := time.Now().Add(-30 * 24 * time.Hour)
	for _, name := range []string{"keys/create", "keys", ""} {
		if err := os.Chtimes(dir.Path(name), long, long); err != nil {
			t.Fatal(err)
		}
	}
	if err := dir.Keep(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"keys/create", "keys", ""} {
		if info, err := os.Stat(dir.Path(name)); err != nil || time.Since(info.ModTime()) > time.Hour {
			t.Errorf("%q is from %v: %v", name, info.ModTime(), err)
		}
	}

	if err := os.RemoveAll(dir.Path("")); err != nil {
		t.Fatal(err)
	}
	if err := dir.Keep(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir.Path("")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("it is made anew as %v: %v", info, err)
	}
	if err := os.RemoveAll(dir.Path("")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "keys/create", "again") // does not wait for Keep
	if data, _, err := dir.Read("keys/create", 1); err != nil || string(data) != "again" {
		t.Errorf("it reads %q: %v", data, err)
	}
}
