package sandbox

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The runtimes that a program may need something for.
const (
	RuntimeNone   = "none"
	RuntimeGo     = "go"
	RuntimeJava   = "java"
	RuntimePython = "python"
	RuntimeRust   = "rust"
)

// Program is a program as it is started, from which follows what it reads.
type Program struct {
	// Path is the program itself, Args its arguments, with its name.
	Path string
	Args []string
	// Dir is the working directory; empty: that of this process.
	Dir string
	// Environ is the environment as NAME=value; of it, Names say which name files and folders.
	Environ []string
	Names   []string
	// Values are texts of its configuration, of which some may name files and folders.
	Values []string
	// Runtime is one of the above; empty: found out.
	Runtime string
}

// Needs are the files and folders that the program consists of, as far as can be seen, others that it reads, and the runtime that it
// needs. It consists of:
//
//   - its folder, also of the interpreter that its first line names, and, of a folder bin, the folder above;
//   - its working directory, where one is given;
//   - for Python the virtual environment (also .venv or venv in these folders) with the installation that it is of, and packages installed from elsewhere; for Java its home.
//
// It reads:
//
//   - what its arguments name, alone, after = or between colons; of a .py, .pyz or .jar, the folder;
//   - what variables and the configuration name; of a file, the folder, in which it may be replaced.
//
// Never as a whole: /, /home, the home directory, the system's folders for temporary files, and such.
func (p Program) Needs() (own, others []string, runtime string) {
	n := &needs{program: p, own: map[string]bool{}, others: map[string]bool{}, environments: map[string]bool{}}
	n.found = n.own
	n.addProgram(p.Path, 0)
	if p.Dir != "" {
		n.add(p.Dir)
		n.addEnvironmentsOf(p.Dir)
	}
	n.found = n.others
	for _, argument := range p.Args[min(1, len(p.Args)):] {
		n.addArgument(argument)
	}
	for _, entry := range p.Environ {
		if name, value, _ := strings.Cut(entry, "="); slices.Contains(p.Names, name) {
			n.addVariable(value)
		}
	}
	for _, value := range p.Values {
		if path := strings.TrimPrefix(value, "file://"); filepath.IsAbs(path) {
			n.addFileAndFolder(path)
		}
	}
	if n.runtime() == RuntimePython && p.Dir == "" && slices.Contains(p.Args, "-m") {
		n.add(".") // where Python looks first
	}
	return slices.Sorted(maps.Keys(n.own)), slices.Sorted(maps.Keys(n.others)), n.runtime()
}

type needs struct {
	program Program
	own     map[string]bool
	others  map[string]bool
	found   map[string]bool // one of the two, which is being filled
	seen    string          // the runtime that was found out
	// script says that the program is one, which may start anything of its project.
	script bool
	// environments are the virtual environments that were looked at.
	environments map[string]bool
}

func (n *needs) runtime() string {
	switch {
	case n.program.Runtime != "":
		return n.program.Runtime
	case n.seen != "":
		return n.seen
	}
	return RuntimeNone
}

// deep is how many interpreters may stand behind one another.
const deep = 4

var pythonName = regexp.MustCompile(`^(python|pypy)[0-9.]*$`)

func (n *needs) addProgram(path string, depth int) {
	if depth > deep {
		return
	}
	interpreters := n.interpreters(path)
	n.script = n.script || len(interpreters) > 0
	for _, step := range links(path) {
		switch name := filepath.Base(step); {
		case n.seen != "":
		case pythonName.MatchString(name):
			n.seen = RuntimePython
		case name == "java":
			n.seen = RuntimeJava
		}
		n.addFileAndFolder(step)
		n.addAbove(filepath.Dir(step))
	}
	for _, interpreter := range interpreters {
		if n.seen == "" && startsJava(path) {
			n.seen = RuntimeJava
		}
		n.addProgram(interpreter, depth+1)
	}
}

var javaStart = regexp.MustCompile(`(?m)(^|[\s;&|/"'])java"?[\s]`)

// startsJava says that a script seems to start a JVM.
func startsJava(path string) bool { return javaStart.Match(read(path)) }

// links are a path and what it leads to, step by step.
func links(path string) []string {
	steps := []string{path}
	for range 20 {
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
		steps = append(steps, path)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil && real != path {
		steps = append(steps, real)
	}
	return steps
}

// addAbove adds the folder of which bin is a part: an installation, a virtual environment, an application with its libraries.
func (n *needs) addAbove(bin string) {
	above := filepath.Dir(bin)
	switch {
	case filepath.Base(bin) == "shims" && exists(filepath.Join(above, "versions")): // as pyenv has them
		n.add(above)
	case filepath.Base(bin) == "bin":
		n.add(above)
		n.addEnvironment(above)
		n.addEnvironmentsOf(above)
	}
}

// addEnvironmentsOf adds what virtual environments in a project's folder refer to: what is started there may be a script that
// starts theirs.
func (n *needs) addEnvironmentsOf(project string) {
	if !n.script {
		return
	}
	for _, name := range []string{".venv", "venv"} {
		environment := filepath.Join(project, name)
		if !exists(filepath.Join(environment, "pyvenv.cfg")) || n.environments[environment] {
			continue
		}
		n.environments[environment] = true
		n.addProgram(filepath.Join(environment, "bin", "python"), 0)
	}
}

// addEnvironment adds what a virtual environment of Python's refers to: the installation it is of, and packages that are elsewhere.
func (n *needs) addEnvironment(folder string) {
	for line := range strings.Lines(string(read(filepath.Join(folder, "pyvenv.cfg")))) {
		if key, value, _ := strings.Cut(line, "="); strings.TrimSpace(key) == "home" {
			n.add(strings.TrimSpace(value))
			if above := filepath.Dir(strings.TrimSpace(value)); exists(filepath.Join(above, "lib")) {
				n.add(above)
			}
		}
	}
	paths, _ := filepath.Glob(filepath.Join(folder, "lib", "python3*", "site-packages", "*.pth")) // the pattern is sound
	for _, path := range paths {
		for line := range strings.Lines(string(read(path))) {
			if line = strings.TrimSpace(line); filepath.IsAbs(line) {
				n.addSources(line)
			}
		}
	}
	installed, _ := filepath.Glob(filepath.Join(folder, "lib", "python3*", "site-packages", "*.dist-info", "direct_url.json"))
	for _, path := range installed {
		var direct struct {
			URL     string `json:"url"`
			DirInfo struct {
				Editable bool `json:"editable"`
			} `json:"dir_info"`
		}
		if json.Unmarshal(read(path), &direct) != nil || !direct.DirInfo.Editable {
			continue
		}
		if from, err := url.Parse(direct.URL); err == nil && from.Scheme == "file" {
			n.addSources(from.Path)
		}
	}
}

// manySources is how much of a package that is installed from elsewhere is looked at.
const manySources = 5000

// addSources adds a package's sources, with the files that links in them lead to.
func (n *needs) addSources(folder string) {
	n.add(folder)
	looked := 0
	_ = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error { // what cannot be looked at is passed over
		if looked++; looked > manySources {
			return fs.SkipAll
		}
		if err != nil {
			return fs.SkipDir
		}
		if entry.Type()&fs.ModeSymlink != 0 {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				n.add(path)
			}
		}
		return nil
	})
}

// interpreters are the programs that the first line of a script names.
func (n *needs) interpreters(path string) []string {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	line, err := bufio.NewReader(io.LimitReader(file, 512)).ReadBytes('\n')
	rest, isScript := bytes.CutPrefix(line, []byte("#!"))
	if err != nil || !isScript {
		return nil
	}
	fields := strings.Fields(string(rest))
	if len(fields) == 0 {
		return nil
	}
	found := []string{fields[0]}
	if filepath.Base(fields[0]) != "env" {
		return found
	}
	for _, field := range fields[1:] {
		if strings.HasPrefix(field, "-") || strings.Contains(field, "=") {
			continue
		}
		return append(found, n.lookPath(field)...)
	}
	return found
}

func (n *needs) lookPath(name string) []string {
	if filepath.IsAbs(name) {
		return []string{name}
	}
	path := ""
	for _, entry := range n.program.Environ {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			path = value
		}
	}
	for _, dir := range filepath.SplitList(path) {
		candidate := filepath.Join(dir, name)
		if info, err := os.Stat(candidate); filepath.IsAbs(dir) && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return []string{candidate}
		}
	}
	return nil
}

// addArgument adds what an argument names.
func (n *needs) addArgument(argument string) {
	if _, value, ok := strings.Cut(argument, "="); ok {
		argument = value
	} else if _, value, ok := strings.Cut(argument, ":"); ok && strings.HasPrefix(argument, "-") { // -javaagent:/path
		argument = value
	}
	for part := range strings.SplitSeq(argument, ":") {
		part = strings.TrimSuffix(part, "/*") // all jars of a folder
		if part == "" || strings.HasPrefix(part, "-") {
			continue
		}
		path := part
		if !filepath.IsAbs(path) {
			path = filepath.Join(n.program.Dir, path)
		}
		switch filepath.Ext(path) {
		case ".py", ".pyz", ".jar":
			n.addFileAndFolder(path)
		default:
			n.add(path)
		}
	}
}

// addVariable adds what the value of a variable names.
func (n *needs) addVariable(value string) {
	for part := range strings.SplitSeq(value, ":") {
		if filepath.IsAbs(part) {
			n.addFileAndFolder(part)
		}
	}
}

// addFileAndFolder adds a folder; of a file, both it and its folder.
func (n *needs) addFileAndFolder(path string) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	n.add(path)
	if !info.IsDir() {
		n.add(filepath.Dir(path))
	}
}

// add adds a file or folder that is there, unless it is one of those that hold everything.
func (n *needs) add(path string) {
	path, err := filepath.Abs(path)
	if err != nil || !exists(path) {
		return
	}
	if real, err := filepath.EvalSymlinks(path); err != nil || tooWide(path) || tooWide(real) {
		return
	}
	n.found[path] = true
}

// tooWide says that a folder is one in which everybody keeps something.
func tooWide(path string) bool {
	if home, err := os.UserHomeDir(); err == nil && path == filepath.Clean(home) {
		return true
	}
	return filepath.Dir(path) == "/home" || path == filepath.Clean(os.TempDir()) || slices.Contains([]string{
		"/", "/dev", "/dev/shm", "/home", "/media", "/mnt", "/root", "/run", "/run/secrets", "/srv", "/sys", "/tmp", "/var", "/var/lib", "/var/run", "/var/tmp",
	}, path)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// read gives a small file's content; empty where it cannot be read.
func read(path string) []byte {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	content, _ := io.ReadAll(io.LimitReader(file, 64<<10)) // what could be read is looked at
	return content
}
