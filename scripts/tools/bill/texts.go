package main

import (
	"embed"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// texts has what authors left out: standard/ID.txt is a licence as it stands in SPDX's list, for packages that only name it.
//
//go:embed texts
var texts embed.FS

// textFile is a file that has to be passed on with what it is about.
var textFile = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|copyright|notice|patents|authors)([-._].*)?$`)

// code is what has such a name and is none.
var code = regexp.MustCompile(`(?i)\.(go|rs|py|pyc|java|class|js|json|ya?ml|toml|tmpl|html?)$`)

// identify says which licences a text is, by SPDX's names.
func identify(text string) []string {
	var ids []string
	for _, match := range licensecheck.Scan([]byte(text)).Match {
		if !match.IsURL && !slices.Contains(ids, match.ID) {
			ids = append(ids, match.ID)
		}
	}
	if len(ids) > 3 { // a collection, which no name does justice
		return nil
	}
	return ids
}

// textsIn are the texts in a folder and those below it, but for what is there for tests.
func textsIn(folder string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && (name == "testdata" || name == "node_modules"):
			return filepath.SkipDir
		case entry.Type().IsRegular() && textFile.MatchString(name) && !code.MatchString(name):
			content, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			found = append(found, string(content))
		}
		return nil
	})
	return found, err
}

// standard is the text of a licence that a package names and does not bring, nothing where the name is not known. Of alternatives it is
// the first that there is a text of.
func standard(declared string) []string {
	entries, err := texts.ReadDir("texts/standard")
	if err != nil {
		return nil
	}
	names := regexp.MustCompile(`(?i)\s+(or|and|with)\s+|[()/]`).Split(declared, -1)
	for _, name := range names {
		for _, entry := range entries {
			if id := strings.TrimSuffix(entry.Name(), ".txt"); strings.EqualFold(spdx(name), id) {
				content, err := texts.ReadFile(path.Join("texts/standard", entry.Name()))
				if err != nil {
					return nil
				}
				return []string{string(content)}
			}
		}
	}
	return nil
}

// spdx is SPDX's name for what people write.
func spdx(name string) string {
	name = strings.TrimSpace(name)
	lower := strings.ToLower(name)
	switch {
	case strings.Contains(lower, "apache"):
		return "Apache-2.0"
	case lower == "mit" || strings.Contains(lower, "mit license"):
		return "MIT"
	case strings.Contains(lower, "bsd") && strings.Contains(lower, "2"):
		return "BSD-2-Clause"
	case strings.Contains(lower, "bsd"):
		return "BSD-3-Clause"
	}
	return name
}
