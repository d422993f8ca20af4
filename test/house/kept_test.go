package house

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Where a plugin keeps something, its configuration says where: a key of such a name. docs/deploying.md has a row for each plugin.
func TestThePageOnDeployingSaysWhatEachPluginKeeps(t *testing.T) {
	page := read(t, "docs/deploying.md")
	keeps := regexp.MustCompile(`"(state_dir|cache_dir|data_dir|scratch_dir)[",]`)
	plugins, err := filepath.Glob(filepath.Join(root, "plugins", "*"))
	if err != nil || len(plugins) < 8 {
		t.Fatalf("the plugins are %v, %v", plugins, err)
	}
	for _, plugin := range plugins {
		name := filepath.Base(plugin)
		row := regexp.MustCompile(`(?m)^\| ` + name + ` \| ([^|]*) \|`).FindStringSubmatch(page)
		if row == nil {
			t.Errorf("docs/deploying.md has no row for what the plugin %s keeps", name)
			continue
		}
		nothing := strings.HasPrefix(row[1], "nothing")
		for _, key := range keysOf(t, plugin, keeps) {
			if nothing || !strings.Contains(row[1], "`"+key+"`") {
				t.Errorf("docs/deploying.md says that %s keeps %q, and it has the key %s", name, row[1], key)
			}
		}
		if name == "duckdb" && nothing {
			t.Error("docs/deploying.md says that duckdb keeps nothing")
		}
	}
}

// keysOf are the keys of that form in a plugin's sources.
func keysOf(t *testing.T, plugin string, form *regexp.Regexp) []string {
	t.Helper()
	var keys []string
	err := filepath.WalkDir(plugin, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !regexp.MustCompile(`\.(go|rs|java|py)$`).MatchString(path) || strings.Contains(path, "_test.") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, found := range form.FindAllStringSubmatch(string(source), -1) {
			keys = append(keys, found[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}
