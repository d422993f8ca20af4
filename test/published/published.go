// Package published holds the pages of docs/ that are generated to what they are generated from.
package published

import (
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the generated page of docs/ anew")

// Check fails a test if a page, whose path is from the repository's root, is not as generated; with the flag -update it
// writes the page first.
func Check(t *testing.T, page, generated string) {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	path := filepath.Join(filepath.Dir(here), "..", "..", filepath.FromSlash(page))
	if *update {
		if err := os.WriteFile(path, []byte(generated), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(generated, string(content)); diff != "" {
		t.Errorf("%s is out of date: run this test with -run '^%s$' and -update\n%s", page, t.Name(), diff)
	}
}
