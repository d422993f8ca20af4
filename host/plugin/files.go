package plugin

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Files are the files that the plugin is made of, as far as its spec tells: the program, those of its arguments that are files, such
// as a script or a jar, also behind a "=", what interprets a program that is a script, and what has a checksum. Those of a remote one are none.
// The files of secrets and certificates are not among them: the configuration is read again when one changes.
func (s Spec) Files() []string {
	if s.Image != "" { // what is in it has its digest
		return nil
	}
	var files []string
	add := func(path string, is func(string, os.FileInfo) bool) {
		if path != "" && !filepath.IsAbs(path) {
			path = filepath.Join(s.Dir, path)
		}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && is(path, info) && !slices.Contains(files, path) {
			files = append(files, path)
		}
	}
	whatever := func(string, os.FileInfo) bool { return true }
	for i, argument := range s.Command {
		switch {
		case i > 0:
			_, value, _ := strings.Cut(argument, "=")
			for _, text := range []string{argument, value} {
				for part := range strings.SplitSeq(text, string(filepath.ListSeparator)) { // a class path is several
					add(part, isProgram)
				}
			}
		case strings.Contains(argument, "/"):
			add(argument, whatever)
			add(s.interpreter(argument), whatever)
		default:
			add(s.program(argument), whatever)
			add(s.interpreter(s.program(argument)), whatever)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(s.SHA256)) {
		add(path, whatever)
	}
	return files
}

// isProgram tells a file that is run, by whatever runs such files, from one that a plugin works on.
func isProgram(path string, info os.FileInfo) bool {
	switch filepath.Ext(path) {
	case ".jar", ".py", ".pyz", ".js", ".mjs", ".rb", ".sh", ".pl", ".lua":
		return true
	}
	if info.Mode()&0o111 != 0 {
		return true
	}
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	var start [2]byte
	n, err := file.Read(start[:])
	return err == nil && string(start[:n]) == "#!"
}

// interpreter is the program that runs a script; empty where it is none.
func (s Spec) interpreter(script string) string {
	if !filepath.IsAbs(script) {
		script = filepath.Join(s.Dir, script)
	}
	file, err := os.Open(script)
	if err != nil {
		return ""
	}
	defer file.Close()
	start := make([]byte, 256) // as much as the kernel reads
	n, _ := io.ReadFull(file, start)
	line, _, _ := strings.Cut(string(start[:n]), "\n")
	words := strings.Fields(strings.TrimPrefix(line, "#!"))
	if !strings.HasPrefix(line, "#!") || len(words) == 0 {
		return ""
	}
	if filepath.Base(words[0]) != "env" {
		return words[0]
	}
	for _, word := range words[1:] {
		if !strings.HasPrefix(word, "-") && !strings.Contains(word, "=") {
			return s.program(word)
		}
	}
	return ""
}

// program finds a program in the PATH that the plugin gets.
func (s Spec) program(name string) string {
	path, ok := s.Env["PATH"]
	if !ok {
		path = os.Getenv("PATH")
	}
	for _, folder := range filepath.SplitList(path) {
		found := filepath.Join(folder, name)
		if info, err := os.Stat(found); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return found
		}
	}
	return ""
}
