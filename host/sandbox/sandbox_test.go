package sandbox_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/sandbox"
)

// nobody is an ordinary user.
const nobody = 65534

// place is the folders and servers around a program.
type place struct {
	own, read, write, host, other string // folders
	abstract, tcp                 net.Listener
	port                          uint16
	policy                        sandbox.Policy
}

// newPlace makes them, for a program that runs as uid.
func newPlace(t *testing.T, uid int) *place {
	t.Helper()
	base, err := os.MkdirTemp("", "sb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	p := &place{}
	for folder, name := range map[*string]string{&p.own: "own", &p.read: "read", &p.write: "write", &p.host: "read/host", &p.other: "other"} {
		*folder = filepath.Join(base, name)
	}
	for _, folder := range []string{base, p.own, p.read, p.write, p.host, p.other} {
		if err := errors.Join(os.MkdirAll(folder, 0o755), os.Chown(folder, uid, uid)); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(folder, "file")
		if err := errors.Join(os.WriteFile(file, []byte("content"), 0o600), os.Chown(file, uid, uid)); err != nil {
			t.Fatal(err)
		}
	}
	listen := func(network, address string) net.Listener {
		listener, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		return listener
	}
	p.abstract = listen("unix", "@agenthost-sandbox-"+filepath.Base(base))
	p.tcp = listen("tcp", "127.0.0.1:0")
	p.port = uint16(p.tcp.Addr().(*net.TCPAddr).Port)
	p.policy = sandbox.Policy{
		Program: []string{filepath.Dir(probe)}, Read: []string{p.read}, Write: []string{p.own, p.write}, Private: []string{p.host}, Enter: p.own,
		Connect: []uint16{p.port}, OpenFiles: 100, FileSize: 1 << 20,
	}
	return p
}

// attempt is something a program tries, and whether it may in a sandbox.
type attempt struct {
	what    string
	args    []string
	allowed bool
	// asRoot says that an ordinary user is refused also without a sandbox.
	asRoot bool
}

func (p *place) attempts() []attempt {
	host := strconv.Itoa(os.Getpid())
	refused := func(what string, args ...string) attempt { return attempt{what: what, args: args} }
	root := func(what string, args ...string) attempt { return attempt{what: what, args: args, asRoot: true} }
	allowed := func(what string, args ...string) attempt { return attempt{what: what, args: args, allowed: true} }
	return []attempt{
		// Files.
		allowed("read", p.read+"/file"), allowed("list", p.read), allowed("read", "/proc/self/environ"), allowed("read", "/proc/meminfo"),
		allowed("read", "/etc/passwd"), allowed("read", "/etc/resolv.conf"), allowed("read", "/dev/null"), allowed("write", "/dev/null"),
		allowed("write", p.own+"/new"), allowed("mkdir", p.write+"/sub"), allowed("write", p.write+"/sub/new"), allowed("rename", p.write+"/sub/new", p.own+"/moved"),
		allowed("cut", p.own+"/moved"), allowed("remove", p.own+"/moved"), allowed("symlink", p.write+"/link"), allowed("read", p.write+"/link"),
		allowed("execute", "/bin/sh", "-c", "cat /dev/null | cat"), allowed("list", "/proc/self/fd"),
		refused("read", p.host+"/file"), refused("read", p.other+"/file"), refused("list", p.other), root("read", "/etc/shadow"),
		refused("write", p.read+"/file"), refused("write", p.read+"/new"), refused("write", p.host+"/new"), refused("write", p.other+"/file"),
		refused("cut", p.read+"/file"), refused("mkdir", p.other+"/sub"), refused("symlink", p.other+"/link"),
		refused("rename", p.other+"/file", p.write+"/taken"), refused("rename", p.write+"/file", p.other+"/given"), refused("remove", p.other+"/file"),
		refused("write", filepath.Join(os.TempDir(), "agenthost-sandbox-test")),
		// Other processes.
		allowed("signal a child"),
		refused("signal", host), refused("trace", host), refused("read memory", host), refused("read", "/proc/"+host+"/environ"), refused("read", "/proc/"+host+"/maps"),
		refused("link", "/proc/"+host+"/cwd"), refused("link", "/proc/"+host+"/fd/0"), refused("link", "/proc/"+host+"/exe"), refused("steal a descriptor", host),
		refused("limit", host), refused("priority", host),
		// Sockets.
		allowed("connect", "tcp", p.tcp.Addr().String()), allowed("listen", "tcp", "127.0.0.1:0"), allowed("listen", "tcp6", "[::1]:0"), allowed("listen", "unix", p.own+"/s"),
		allowed("listen", "udp", "127.0.0.1:0"),
		refused("connect", "tcp", "127.0.0.1:1"), refused("protocol"), refused("fast open", strconv.Itoa(p.tcp.Addr().(*net.TCPAddr).Port)), refused("listen", "tcp", fmt.Sprintf("127.0.0.1:%d", p.port)), refused("connect", "unix", p.abstract.Addr().String()),
		root("socket", strconv.Itoa(unix.AF_PACKET)), refused("socket", strconv.Itoa(unix.AF_ALG)), root("socket", strconv.Itoa(unix.AF_INET)), refused("socket", strconv.Itoa(unix.AF_VSOCK)),
		// The kernel.
		allowed("clone", "0"),
		root("mount"), refused("unshare", strconv.Itoa(unix.CLONE_NEWUSER)), root("unshare", strconv.Itoa(unix.CLONE_NEWNET)), refused("clone", strconv.Itoa(unix.CLONE_NEWUSER)),
		refused("setns"), root("chroot"), refused("bpf"), refused("keyctl"), refused("perf"), refused("io_uring"), refused("userfaultfd"), root("kexec"), root("module"),
		root("reboot"), root("clock"), root("syslog"), refused("open by handle"), refused("a call of the future"), refused("personality"),
		root("become another"),
	}
}

// Everything is tried in all four surroundings: the ones without a sandbox show that it is the sandbox that refuses.
func TestAProgramMayDoWhatItNeedsAndNothingElse(t *testing.T) {
	needRoot(t)
	for _, user := range []struct {
		name      string
		host, own uint32
	}{{"root", 0, 0}, {"nobody", nobody, 0}, {"root with a user of its own", 0, 70001}} {
		t.Run(user.name, func(t *testing.T) {
			uid := max(user.host, user.own)
			p := newPlace(t, int(uid))
			if user.own != 0 {
				p.policy.User = &sandbox.User{UID: user.own, GID: user.own}
			}
			tried := p.attempts()
			if uid != 0 {
				tried = append(tried, attempt{what: "become root"})
			}
			for _, a := range tried {
				got := world{t: t, policy: &p.policy, uid: user.host}.tries(a.what, a.args...)
				if got != map[bool]string{true: "done", false: "refused"}[a.allowed] {
					t.Errorf("%s %q: %s", a.what, a.args, got)
				}
			}
		})
	}
}

func TestWithoutASandboxAProgramMayDoWhatItsUserMay(t *testing.T) {
	needRoot(t)
	harmless := []string{"read", "write", "cut", "list", "link", "signal", "limit", "connect", "socket", "mkdir", "symlink", "keyctl", "io_uring", "personality", "a call of the future"}
	for _, uid := range []int{0, nobody} {
		p := newPlace(t, uid)
		for _, a := range p.attempts() {
			if !slices.Contains(harmless, a.what) || uid != 0 && (a.asRoot || !a.allowed && strings.Contains(strings.Join(a.args, " "), strconv.Itoa(os.Getpid()))) {
				continue // it would do harm, or concerns the test's own process, which is root's
			}
			if got := (world{t: t, uid: uint32(uid)}).tries(a.what, a.args...); got == "refused" && a.what != "a call of the future" && a.what != "socket" {
				t.Errorf("user %d: %s %q: %s", uid, a.what, a.args, got)
			}
		}
		os.Remove(filepath.Join(os.TempDir(), "agenthost-sandbox-test"))
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("it starts programs as other users, which takes root")
	}
}

func TestASandboxedProcessHoldsNothingOfTheHosts(t *testing.T) {
	needRoot(t)
	p := newPlace(t, 70001)
	w := world{t: t, policy: &p.policy, env: []string{"A=1"}}
	if got := w.tries("limits"); got != "0 100 1048576 done" {
		t.Errorf("limits %s", got)
	}
	if got := w.tries("status", "CapEff", "CapPrm", "CapAmb", "NoNewPrivs", "Seccomp"); got != "CapPrm:\t000000000000000b\nCapEff:\t000000000000000b\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\ndone" {
		t.Errorf("root: %s", got)
	}
	p.policy.User = &sandbox.User{UID: 70001, GID: 70002}
	if got := w.tries("status", "Uid", "Gid", "Groups", "CapEff", "CapPrm"); got != "Uid:\t70001\t70001\t70001\t70001\nGid:\t70002\t70002\t70002\t70002\nGroups:\t \nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\ndone" {
		t.Errorf("another user: %q", got)
	}
	// One that is not closed on exec, as a shell or a service manager may leave it to the host.
	leak, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leak)
	if got := w.tries("descriptors"); strings.Contains(got, "/etc/passwd") || strings.Contains(got, "agenthost") {
		t.Errorf("descriptors:\n%s", got)
	}
}

// A program may lie in what is private, such as the host's own directory, which it gets no more of than itself.
func TestAProgramThatLiesInSomethingPrivateIsGrantedAlone(t *testing.T) {
	p := newPlace(t, os.Geteuid())
	p.policy.Program = append(p.policy.Program, p.host)
	p.policy.Private, p.policy.Read = []string{filepath.Dir(p.read)}, []string{p.read, p.other}
	w := world{t: t, policy: &p.policy}
	for path, want := range map[string]string{p.host + "/file": "done", p.read + "/file": "refused", p.other + "/file": "refused", p.own + "/file": "done"} {
		if got := w.tries("read", path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestTheLauncherSaysWhyAProgramDoesNotRun(t *testing.T) {
	needRoot(t)
	for _, test := range []struct {
		name   string
		change func(*sandbox.Policy)
		want   string
	}{
		{"a folder to write in that is not there", func(p *sandbox.Policy) { p.Write = append(p.Write, "/no/such/folder") }, "/no/such/folder, which it may write, cannot be used: no such file"},
		{"a private directory out of reach", func(p *sandbox.Policy) { p.User, p.Enter = &sandbox.User{UID: 70001, GID: 70001}, "/root" }, "user 70001 cannot use /root"},
	} {
		p := newPlace(t, 0)
		test.change(&p.policy)
		cmd, _ := world{t: t}.command("status")
		launch, err := sandbox.Start(cmd, p.policy)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := launch.Wait(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
		if err := cmd.Wait(); err == nil {
			t.Errorf("%s: it ran", test.name)
		}
	}
}

func TestWhereTheMachineGrantsLessTheProgramRunsUnlessAllIsRequired(t *testing.T) {
	p := newPlace(t, 0)
	w := world{t: t}
	if got := w.tries("start without Landlock", p.other+"/file", ""); !strings.Contains(got, "no Landlock, seccomp") || !strings.Contains(got, "content") {
		t.Errorf("with what there is: %s", got)
	}
	got := w.tries("start without Landlock", p.other+"/file", "require")
	if !strings.Contains(got, "it is required, and this machine cannot grant it: files, ") || strings.Contains(got, "content") {
		t.Errorf("required: %s", got)
	}
}

func TestTheMachineIsAskedWhatItGrants(t *testing.T) {
	granted := sandbox.Machine()
	for _, test := range []struct {
		abi  int
		want string
	}{{granted.Landlock, ""}, {0, "files, cutting files, TCP ports, device controls, signals and abstract sockets are not kept apart"}, {4, "device controls, signals"}} {
		degraded := sandbox.MissingOf(sandbox.Granted{Landlock: test.abi, Seccomp: true})
		if test.want == "" && len(degraded) > 0 && test.abi >= 6 || test.want != "" && (len(degraded) != 1 || !strings.Contains(degraded[0], test.want)) {
			t.Errorf("Landlock %d: %q", test.abi, degraded)
		}
	}
	if got := sandbox.MissingOf(sandbox.Granted{Landlock: 7}); len(got) != 1 || !strings.Contains(got[0], "system calls") {
		t.Errorf("without seccomp: %q", got)
	}
}
