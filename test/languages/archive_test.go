package languages

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/test/hosttest"
)

// The SDK's page for Java has one command, which leaves an archive of a plugin's classes. What is started with -Xshare:on does not
// start at all where the archive does not fit.
func TestAJavaPluginStartsFromTheArchiveThatItsPageMakes(t *testing.T) {
	page, err := os.ReadFile(hosttest.Root("sdk", "java", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile("(?s)```sh\n(.*?)\n```").FindAllStringSubmatch(string(page), -1)
	if len(commands) != 1 {
		t.Fatalf("the page has %d commands, not one: a test must run each", len(commands))
	}
	const hello = "sdk/java/examples/hello"
	step(t, hosttest.Root(), hosttest.Root("scripts", "java-program"), hello)
	jar, err := os.ReadFile(hosttest.Root(hello, "target", "hello.jar"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "plugin.jar"), jar, 0o600); err != nil {
		t.Fatal(err)
	}

	leaving := strings.Fields(commands[0][1])
	leaving[0] = hosttest.Program("agenthost")
	step(t, dir, leaving...)
	if _, err := os.Stat(filepath.Join(dir, "plugin.jsa")); err != nil {
		t.Fatalf("the page's command leaves no archive: %v", err)
	}

	archived := strings.Fields(strings.Replace(strings.Join(leaving, " "), "-XX:ArchiveClassesAtExit=", "-Xshare:on -XX:SharedArchiveFile=", 1))
	if said := step(t, dir, archived...); !strings.Contains(said, "Hello, Ada") {
		t.Errorf("the task does not greet:\n%s", said)
	}
}
