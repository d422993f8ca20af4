package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

//go:embed machine.sh
var machineScript string

// The first process of a machine gets bootLimit to have started everything.
const bootLimit = 30 * time.Second

// machine is a systemd with all that it runs, in namespaces and, on a file system of this machine's, in memory of its own: what it
// changes is gone with it.
type machine struct {
	*place
	folder string // where its file system is mounted, in its own namespace
	cgroup string
	cmd    *exec.Cmd
}

// startMachine starts one. The cgroup's name is none that a host takes for another host's.
func startMachine(ctx context.Context) (m *machine, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("it takes root: a systemd of its own is started in namespaces of its own")
	}
	for _, needed := range []struct{ program, from string }{{"/lib/systemd/systemd", "systemd"}, {"unshare", "util-linux"}, {"nsenter", "util-linux"}, {"openssl", "openssl"}} {
		if _, err := exec.LookPath(needed.program); err != nil {
			return nil, fmt.Errorf("%s is not installed. On Debian: apt-get install %s", needed.program, needed.from)
		}
	}
	sources, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	m = &machine{}
	if m.folder, err = os.MkdirTemp("", "deploying-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			m.stop()
		}
	}()
	above := "/sys/fs/cgroup"
	if _, err := os.Stat(above + "/unified/cgroup.procs"); err == nil {
		above += "/unified" // version 2 beside version 1, which has the controllers
	}
	m.cgroup = filepath.Join(above, filepath.Base(m.folder))
	if err := os.Mkdir(m.cgroup, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make a cgroup of version 2 for the machine: %w", err)
	}
	// The shell joins the cgroup before the namespace of cgroups is made: what is in it sees no more than that one.
	m.cmd = exec.Command("bash", "-c", `echo $$ >"$1/cgroup.procs"
exec unshare --pid --fork --kill-child --mount --uts --ipc --net --cgroup bash -c "$4" machine "$2" "$3"`,
		"deploying", m.cgroup, m.folder, sources, machineScript)
	m.cmd.Stderr = os.Stderr
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	first := ""
	if err := until(ctx, "is a systemd running", bootLimit, func() bool {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", m.cmd.Process.Pid, m.cmd.Process.Pid))
		if first = strings.TrimSpace(string(children)); err != nil || first == "" {
			return false
		}
		command, err := os.ReadFile("/proc/" + first + "/comm")
		return err == nil && string(command) == "systemd\n"
	}); err != nil {
		return nil, err
	}
	m.place = &place{shell: []string{"nsenter", "--target", first, "--all", "bash"}, dir: "/src", env: []string{"HOME=/root"}}
	return m, until(ctx, "has systemd started everything", bootLimit, func() bool {
		out, err := m.run(ctx, "systemctl is-system-running")
		return err == nil && strings.TrimSpace(out) == "running"
	})
}

// stop ends all that runs there, and leaves nothing.
func (m *machine) stop() {
	if m.cmd != nil && m.cmd.Process != nil {
		_ = m.cmd.Process.Kill() // and its child, the first process there, with it
		_ = m.cmd.Wait()
	}
	for range 100 { // what was killed leaves its cgroup when it has ended
		if remove(m.cgroup) == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := os.Remove(m.folder); err != nil {
		fmt.Fprintln(os.Stderr, "deploying:", err)
	}
}

// remove removes a cgroup with those below it.
func remove(cgroup string) error {
	entries, err := os.ReadDir(cgroup)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		if entry.IsDir() {
			err = errors.Join(err, remove(filepath.Join(cgroup, entry.Name())))
		}
	}
	return errors.Join(err, os.Remove(cgroup))
}

// onAMachine follows the page's section for a machine, and tries what it promises.
func onAMachine(ctx context.Context) error {
	steps, err := stepsOf("On a machine")
	if err != nil {
		return err
	}
	m, err := startMachine(ctx)
	if err != nil {
		return err
	}
	defer m.stop()
	version, err := m.run(ctx, "systemctl --version | head -n 1")
	if err != nil {
		return err
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	ours := &place{shell: []string{"bash"}, dir: here}
	var t tried
	began := time.Now()
	for i, s := range steps {
		if isBuilt(s) {
			continue
		}
		at, from := ours, time.Now()
		if s.root {
			at = m.place
		}
		if i == len(steps)-1 { // which removes it
			if err := m.promises(ctx, &t); err != nil {
				return m.explained(ctx, err)
			}
			from = time.Now()
		}
		if err := at.follow(ctx, s); err != nil {
			return m.explained(ctx, err)
		}
		t.step(s, time.Since(from))
	}
	if err := t.try("nothing is left of it", func() error {
		out, err := m.run(ctx, "ls /run/agenthost 2>&1 || true; pgrep -l -u agenthost || true; ss -lnt | grep -E ':(8000|9090) ' || true")
		if err == nil && !strings.HasPrefix(out, "ls: cannot access") || strings.Count(out, "\n") != 1 {
			err = errors.New(out)
		}
		return err
	}); err != nil {
		return err
	}
	fmt.Printf("deploying ok: %s, %d commands of %s and %d promises, %.0f s\n", strings.TrimSpace(version), t.steps, pageFile, t.cases, time.Since(began).Seconds())
	return nil
}

// isBuilt says that a step makes what is there already.
func isBuilt(s step) bool { return os.Getenv("BUILT") != "" && strings.HasPrefix(s.command, "make ") }

// explained adds what the host has said.
func (m *machine) explained(ctx context.Context, err error) error {
	log, _ := m.run(context.WithoutCancel(ctx), "journalctl --no-pager --unit agenthost --lines 30 --output cat || true")
	return fmt.Errorf("%w\nThe journal's last lines:\n%s", err, log)
}

// property is one of the unit's.
func (m *machine) property(ctx context.Context, name string) string {
	out, err := m.run(ctx, "systemctl show --value --property "+name+" agenthost.service")
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(out)
}

// task runs a task to its end.
func (m *machine) task(ctx context.Context) error {
	out, err := m.run(ctx, `agenthost task run --type duckdb_query --sql "select 6 * 7 as answer" --want answer:int --timeout 60s`)
	if err == nil && !strings.Contains(out, "answer = 42") {
		err = errors.New(out)
	}
	return err
}

// promises are what the page says of the unit beside its commands.
func (m *machine) promises(ctx context.Context, t *tried) error {
	restarted := func(before string) func() bool {
		return func() bool {
			pid := m.property(ctx, "MainPID")
			return pid != before && pid != "0" && m.property(ctx, "ActiveState") == "active" && strings.HasPrefix(m.property(ctx, "StatusText"), "ready")
		}
	}
	do := func(script string) func() error {
		return func() error { _, err := m.run(ctx, script); return err }
	}
	for _, c := range []struct {
		promise string
		try     func() error
	}{
		{"systemctl says how the host is", func() error {
			if text := m.property(ctx, "StatusText"); text != "ready: 1 of 1 plugins run" {
				return fmt.Errorf("the status text is %q", text)
			}
			return nil
		}},
		{"the sandbox and the cgroups of plugins are whole in the hardened unit", func() error {
			out, err := m.run(ctx, "agenthost status")
			if err == nil && (strings.Contains(out, "DEGRADED") || !strings.Contains(out, "plugins' cgroups: ") || strings.Contains(out, "cgroups: none")) {
				err = errors.New(out)
			}
			return err
		}},
		{"the host reads the secrets that systemd hands it", func() error {
			out, err := m.run(ctx, "agenthost status")
			if err == nil && strings.Contains(out, "tasks may not be accepted as they should be") {
				err = errors.New(out)
			}
			return err
		}},
		{"a restart fails no call", func() error {
			return calling(m.place, "now", func() error {
				return errors.Join(do("systemctl restart agenthost")(), do("systemctl restart agenthost")())
			})
		}},
		{"an upgrade fails no call", func() error {
			return calling(m.place, "now", do("agenthost upgrade"))
		}},
		{"a host that was upgraded and is killed is started again", func() error {
			before := m.property(ctx, "MainPID")
			if err := do("kill -KILL " + before)(); err != nil {
				return err
			}
			return errors.Join(until(ctx, "is it back", 20*time.Second, restarted(before)), m.task(ctx))
		}},
		{"calls that come while a killed host is away wait for the next", func() error {
			before := m.property(ctx, "MainPID")
			if err := do("kill -KILL " + before)(); err != nil {
				return err
			}
			return calling(m.place, "now", func() error { return until(ctx, "is it back", 20*time.Second, restarted(before)) })
		}},
		{"a host that hangs is ended by the watchdog and started again", func() error {
			const dropIn = "/run/systemd/system/agenthost.service.d"
			if err := do("mkdir -p " + dropIn + "; printf '[Service]\\nWatchdogSec=2\\n' >" + dropIn + "/watchdog.conf; systemctl daemon-reload; systemctl restart agenthost")(); err != nil {
				return err
			}
			before := m.property(ctx, "MainPID")
			select { // more than one of its signs of life is needed, else it would be gone by now
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(5 * time.Second):
			}
			if now := m.property(ctx, "MainPID"); now != before {
				return fmt.Errorf("a host that lives was ended (process %s, then %s)", before, now)
			}
			if err := do("kill -STOP " + before)(); err != nil {
				return err
			}
			if err := until(ctx, "is it back", 40*time.Second, restarted(before)); err != nil {
				return err
			}
			if out, err := m.run(ctx, "journalctl --no-pager --unit agenthost --output cat | grep 'Watchdog timeout'"); err != nil {
				return fmt.Errorf("the journal does not say so: %w %s", err, out)
			}
			return errors.Join(do("rm -r "+dropIn+"; systemctl daemon-reload; systemctl restart agenthost")(), m.task(ctx))
		}},
		{"a mistake in the configuration fails the reload, and changes nothing", func() error {
			if out, err := m.run(ctx, "sed -i 's/^plugins:/plugin:/' /etc/agenthost/agenthost.yaml; systemctl reload agenthost"); err == nil {
				return fmt.Errorf("it is taken: %s", out)
			}
			err := until(ctx, "does the status text say so", 5*time.Second, func() bool {
				return strings.Contains(m.property(ctx, "StatusText"), "the configuration has mistakes, the last sound one is in effect")
			})
			err = errors.Join(err, m.task(ctx), do("journalctl --no-pager --unit agenthost --output cat | grep -q 'did you mean plugins'")(),
				do("sed -i 's/^plugin:/plugins:/' /etc/agenthost/agenthost.yaml; systemctl reload agenthost")())
			return err
		}},
		{"the unit's exposure is at most 2.5 of 10", func() error {
			out, err := m.run(ctx, `systemd-analyze security agenthost.service | tail -n 1 | grep -oE '[0-9]+[.][0-9]'`)
			if err != nil {
				return err
			}
			exposure, err := strconv.ParseFloat(strings.TrimSpace(out), 64)
			if err != nil {
				return err
			}
			if exposure > 2.5 {
				return fmt.Errorf("it is %v", exposure)
			}
			return nil
		}},
		{"a unit with RestrictNamespaces=, which keeps cgroups of version 2 from plugins, runs them without", func() error {
			const dropIn = "/run/systemd/system/agenthost.service.d"
			if err := do("mkdir -p " + dropIn + "; printf '[Service]\\nRestrictNamespaces=yes\\n' >" + dropIn + "/namespaces.conf; systemctl daemon-reload; systemctl restart agenthost")(); err != nil {
				return err
			}
			out, err := m.run(ctx, "agenthost status")
			if err == nil && !strings.Contains(out, "keeps clone3 from this one (systemd: RestrictNamespaces=)") {
				err = errors.New(out)
			}
			return errors.Join(err, m.task(ctx), do("rm -r "+dropIn+"; systemctl daemon-reload; systemctl restart agenthost")())
		}},
		{"with the page's drop-in a plugin has a user of its own", func() error {
			dropIn, err := blockOf("ini", "AmbientCapabilities=")
			if err != nil {
				return err
			}
			const folder = "/run/systemd/system/agenthost.service.d"
			if err := do("mkdir -p " + folder + "; cat >" + folder + "/user.conf <<'EOF'\n" + dropIn + "EOF\n" +
				"sed -i 's/^    sandbox:/&\\n      user: 70000-70999/' /etc/agenthost/agenthost.yaml; systemctl stop agenthost; rm -r /var/lib/agenthost/duckdb; systemctl daemon-reload; systemctl restart agenthost")(); err != nil {
				return err
			}
			out, err := m.run(ctx, "ps -o uid= -C duckdb")
			if err == nil && !strings.HasPrefix(strings.TrimSpace(out), "70") {
				err = fmt.Errorf("it runs as user %s", out)
			}
			return errors.Join(err, m.task(ctx), do("rm -r "+folder+"; sed -i '/^      user: 70000-70999/d' /etc/agenthost/agenthost.yaml; systemctl stop agenthost; rm -r /var/lib/agenthost/duckdb; systemctl daemon-reload; systemctl restart agenthost")(), m.task(ctx))
		}},
	} {
		if err := t.try(c.promise, c.try); err != nil {
			return err
		}
	}
	return nil
}
