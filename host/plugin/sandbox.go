package plugin

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/sandbox"
)

// tmpName is the folder for temporary files in an instance's run directory.
const tmpName = "tmp"

// openSandbox gives the run directory what a sandboxed process needs in it, and to whom it belongs.
func (s *start) openSandbox() error {
	if !s.spec.Sandbox.On() {
		return nil
	}
	var err error
	if s.user, err = SandboxUser(s.spec); err != nil {
		return err
	}
	if s.user != nil {
		if err := s.rundir.Give(int(s.user.UID), int(s.user.GID)); err != nil {
			return fmt.Errorf("cannot hand its private directory over to user %d: %w", s.user.UID, err)
		}
	}
	if err := s.rundir.Folder(tmpName); err != nil {
		return fmt.Errorf("cannot make its directory for temporary files: %w", err)
	}
	writable := outermost(s.spec.Sandbox.Write)
	if own := s.ownTMPDIR(); own != "" {
		for _, private := range s.env.Private {
			if isWithin(private, own) {
				return advise(fmt.Errorf("TMPDIR is %s, which holds %s, the host's own", own, private), "leave TMPDIR out, or choose a folder of the plugin's own")
			}
		}
		writable = append(writable, own)
	}
	for _, path := range writable {
		if err := s.makeWritable(path); err != nil {
			return advise(fmt.Errorf("sandbox.write: %w", err), "make the folder, for the plugin's user, or choose another")
		}
	}
	return nil
}

// isWithin says that path is folder or lies below it, as they are named and as they are.
func isWithin(path, folder string) bool {
	real := func(path string) string {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			return target
		}
		return filepath.Clean(path)
	}
	below, err := filepath.Rel(real(folder), real(path))
	return err == nil && filepath.IsLocal(below)
}

// makeWritable makes a folder that the process may write to and that is not there yet, as the plugin itself would. One that holds a
// directory of the host's own, be it by a link, is refused.
func (s *start) makeWritable(path string) error {
	for _, private := range s.env.Private {
		if info, err := os.Stat(private); err == nil && info.IsDir() && isWithin(private, path) {
			return fmt.Errorf("%s holds %s, which is the host's own", path, private)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	if s.user == nil {
		return nil
	}
	return os.Lchown(path, int(s.user.UID), int(s.user.GID))
}

// SandboxUser is the user that the spec's process is to run as; nil: the host's.
func SandboxUser(spec Spec) (*sandbox.User, error) {
	wanted := spec.Sandbox.UserFor(spec.Name)
	if wanted == "" {
		return nil, nil
	}
	if lacking := sandbox.MissingForUsers(); len(lacking) > 0 {
		return nil, advise(fmt.Errorf("sandbox.user: the host may not start a process as %s: it lacks %s", wanted, strings.Join(lacking, ", ")),
			"run the host as root or give it these capabilities, or leave sandbox.user out")
	}
	id, err := strconv.ParseUint(wanted, 10, 32)
	if err != nil {
		found, err := user.Lookup(wanted)
		if err != nil {
			return nil, advise(fmt.Errorf("sandbox.user: no user is called %s here", wanted), "make the user, or give an id")
		}
		return sandboxUser(found)
	}
	if found, err := user.LookupId(wanted); err == nil {
		return sandboxUser(found)
	}
	return &sandbox.User{UID: uint32(id), GID: uint32(id)}, nil
}

func sandboxUser(found *user.User) (*sandbox.User, error) {
	uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, fmt.Errorf("sandbox.user: user %s has no usable ids: %w", found.Username, err)
	}
	if uid == 0 {
		return nil, advise(fmt.Errorf("sandbox.user: %s is root, whom nothing keeps out", found.Username), "choose another user")
	}
	return &sandbox.User{Name: found.Username, UID: uint32(uid), GID: uint32(gid)}, nil
}

// policy is the sandbox of the process that environ is for; nil: none.
func (s *start) policy(environ []string) (*sandbox.Policy, error) {
	spec := s.spec.Sandbox
	if !spec.On() {
		return nil, nil
	}
	program, err := s.program(environ)
	if err != nil {
		return nil, err
	}
	own, others, runtime := program.Needs()
	s.java = runtime == sandbox.RuntimeJava
	policy := &sandbox.Policy{
		Program: slices.Concat(own, s.artefacts(), s.imageRoot()),
		Read:    slices.Concat(others, spec.Read),
		Write:   append([]string{s.rundir.Path()}, outermost(spec.Write)...),
		Private: slices.DeleteFunc(slices.Clone(s.env.Private), s.namesItself), ConnectAny: spec.Connect == nil,
		Connect: ports(spec.Connect), Bind: ports(spec.Bind), User: s.user, Enter: s.rundir.Path(),
		SharedMemory: runtime == sandbox.RuntimePython,
		OpenFiles:    uint64(spec.OpenFiles), FileSize: uint64(spec.FileSize), Require: spec.Require,
	}
	if own := s.ownTMPDIR(); own != "" {
		policy.Write = append(policy.Write, own)
	}
	return policy, nil
}

// program is what is started, as the sandbox sees it.
func (s *start) program(environ []string) (sandbox.Program, error) {
	path, err := process.Config{Command: s.spec.Command, Dir: s.spec.Dir, Env: environ}.Program()
	if err != nil {
		return sandbox.Program{}, err
	}
	names := append(slices.Collect(maps.Keys(s.spec.Env)), s.spec.InheritEnv...)
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(noFiles, name) })
	return sandbox.Program{
		Path: path, Args: s.spec.Command, Dir: s.spec.Dir, Environ: environ, Names: append(names, "SSL_CERT_FILE", "SSL_CERT_DIR", telemetryCertificate, telemetryTracesCertificate),
		Runtime: s.spec.Sandbox.Preset, Values: texts(s.spec.Config),
	}, nil
}

// texts are the texts in a plugin's configuration.
func texts(value any) []string {
	switch value := value.(type) {
	case string:
		return []string{value}
	case map[string]any:
		var all []string
		for _, element := range value {
			all = append(all, texts(element)...)
		}
		return all
	case []any:
		var all []string
		for _, element := range value {
			all = append(all, texts(element)...)
		}
		return all
	}
	return nil
}

// noFiles are variables that name folders, but not such as a program is to read as a whole.
var noFiles = []string{"PATH", "HOME", "SHELL", "TMPDIR"}

// artefacts are the files that the spec has checksums of.
func (s *start) artefacts() []string {
	var files []string
	for path := range s.spec.SHA256 {
		if !filepath.IsAbs(path) {
			path = filepath.Join(s.spec.Dir, path)
		}
		if path, err := filepath.Abs(path); err == nil {
			files = append(files, path)
		}
	}
	return files
}

// namesItself says that a file of the host's is one that the plugin has the content of anyway.
func (s *start) namesItself(path string) bool {
	for _, source := range s.spec.Secrets {
		if file, isFile := strings.CutPrefix(source, "file://"); isFile && filepath.Clean(file) == path {
			return true
		}
	}
	return false
}

// outermost leaves out what lies below another: whoever can write there could have put a link in its place.
func outermost(paths []string) []string {
	return slices.DeleteFunc(slices.Clone(paths), func(path string) bool {
		return slices.ContainsFunc(paths, func(above string) bool {
			return filepath.Clean(above) != filepath.Clean(path) && strings.HasPrefix(filepath.Clean(path), filepath.Clean(above)+"/")
		})
	})
}

func ports(numbers []int) []uint16 {
	ports := make([]uint16, len(numbers))
	for i, number := range numbers {
		ports[i] = uint16(number)
	}
	return ports
}

// ownTMPDIR is where the spec itself puts temporary files; empty: it says nothing of them.
func (s *start) ownTMPDIR() string {
	if dir, ok := s.spec.Env["TMPDIR"]; ok {
		return dir
	}
	if slices.Contains(s.spec.InheritEnv, "TMPDIR") {
		return os.Getenv("TMPDIR")
	}
	return ""
}

// sandboxed is the environment in a sandbox: temporary files go where they may, and the home of another user is no home.
func (s *start) sandboxed(environ []string) []string {
	if !s.spec.Sandbox.On() {
		return environ
	}
	tmp := filepath.Join(s.rundir.Path(), tmpName)
	set := map[string]string{"TMPDIR": tmp}
	if s.user != nil {
		set["HOME"] = tmp
		if s.user.Name != "" {
			set["USER"], set["LOGNAME"] = s.user.Name, s.user.Name
		}
	}
	for name := range set {
		if _, own := s.spec.Env[name]; own || slices.Contains(s.spec.InheritEnv, name) {
			delete(set, name)
		}
	}
	tmp = s.tmp()
	if s.java && filepath.Base(s.spec.Command[0]) != javaName {
		set[javaOptions] = strings.TrimSpace(getenv(environ, javaOptions) + " " + javaTmp + tmp)
	}
	for name, value := range set {
		environ = slices.DeleteFunc(environ, func(entry string) bool { return strings.HasPrefix(entry, name+"=") })
		environ = append(environ, name+"="+value)
	}
	slices.Sort(environ)
	return environ
}

// A JVM does not heed TMPDIR. Where it is started by something else, `java` takes an option from a variable, and says so.
const (
	javaName    = "java"
	javaOptions = "JDK_JAVA_OPTIONS"
	javaTmp     = "-Djava.io.tmpdir="
)

// tmp is where temporary files go.
func (s *start) tmp() string {
	if own := s.ownTMPDIR(); own != "" {
		return own
	}
	return filepath.Join(s.rundir.Path(), tmpName)
}

// command is the spec's, with what a sandbox adds.
func (s *start) command() []string {
	command := s.spec.Command
	if !s.java || filepath.Base(command[0]) != javaName {
		return command
	}
	return append([]string{command[0], javaTmp + s.tmp()}, command[1:]...)
}

func getenv(environ []string, name string) string {
	for _, entry := range environ {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// Sandbox is what keeps the process to what it may do; nil where nothing does.
func (i *Instance) Sandbox() *sandbox.Granted { return i.running.granted }

// Sandbox is nil: what runs elsewhere is not this host's to keep.
func (r *Remote) Sandbox() *sandbox.Granted { return nil }
