package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The folder can be anywhere, and the program be called by a link.
func TestItBecomesTheJavaBesideIt(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "some where")
	if err := os.MkdirAll(filepath.Join(folder, "jre", "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(folder, "snowflake")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	java := "#!/bin/sh\necho $$ \"$SOME\"\nprintf '%s\\n' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(folder, "jre", "bin", "java"), []byte(java), 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(program, link); err != nil {
		t.Fatal(err)
	}
	run := exec.Command(link, "--an", "argument")
	run.Env = append(os.Environ(), "SOME=variable", "TMPDIR=/where/it may write")
	out, err := run.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	who, arguments, _ := strings.Cut(lines[0], " ")
	if arguments != "variable" {
		t.Errorf("its environment is not passed on: %q", lines[0])
	}
	if who != strconv.Itoa(run.ProcessState.Pid()) {
		t.Errorf("Java is process %s, and the host knows %d", who, run.ProcessState.Pid())
	}
	want := []string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-Djava.io.tmpdir=/where/it may write", "-jar", filepath.Join(folder, "snowflake.jar"), "--an", "argument"}
	if !slices.Equal(lines[1:], want) {
		t.Errorf("got %q", lines[1:])
	}
}

func TestWithoutJavaItSaysSo(t *testing.T) {
	program := filepath.Join(t.TempDir(), "snowflake")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command(program).CombinedOutput()
	if err == nil || !strings.HasPrefix(string(out), "snowflake: cannot start the Java beside the program: ") {
		t.Errorf("got %v: %s", err, out)
	}
}
