// Command security tries what a compromised plugin and a stranger on the network would try, and says what came of it: `make
// security-test`. Each attempt is a row of the table (table.go), made by a plugin in Go (package hostile), by its twin in Python
// (attempts.py) or by a client (stranger.go), in each field of a matrix: the host is root or an ordinary user, its plugins are in
// sandboxes or not. An attempt must be refused, unless the table concedes it and says why; and whatever is attempted, the host lives,
// in a cgroup of 512 MiB, and another plugin's calls all succeed.
//
//	make security-test
//	go run ./test/security -only host-kill,much-memory -places root-on
//
// It is bounded: at most 150 processes at once, 64 MiB of a file system, and as root no network but a loopback of its own. Nothing is
// left behind, also when it is interrupted (jail.go).
//
// What the machine lacks is "not tried", which is counted apart. Without root the fields for root are, and without a cgroup that can be
// made what needs one.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/agenthost/agenthost/test/security/hostile"
)

// options are what a run is to do. They are handed to the run, in the jail, as JSON.
type options struct {
	Host   string   `json:"host"`   // the host's program
	Victim string   `json:"victim"` // the other plugin's
	Python string   `json:"python"`
	Source string   `json:"source"` // the folder of the plugin in Python
	Places []string `json:"places"`
	Only   []string `json:"only"`
	Calls  int      `json:"calls"`
	Quiet  bool     `json:"quiet"`
	// Packages are the folders that the plugin in Python reads.
	Packages []string `json:"-"`
}

// ordinaryUser is the user of hosts that are not root's.
const ordinaryUser = 65534

func main() {
	log.SetFlags(0)
	processes()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := start(ctx, os.Stdout, flags(os.Args[1:]))
	stop()
	if err != nil {
		log.Fatal("security: ", err)
	}
}

// processes makes this process one of the jail's, and ends it, if it was started as one. Otherwise it does nothing.
func processes() {
	hostile.Main()
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == firstMarker:
		err = beFirst()
	case len(os.Args) > 1 && os.Args[1] == launchMarker:
		err = launch(os.Args[2:])
	case os.Getenv(jailVariable) != "":
		err = runInJail()
	default:
		return
	}
	if err != nil {
		log.Fatal("security: ", err)
	}
	os.Exit(0)
}

func flags(arguments []string) options {
	var o options
	f := flag.NewFlagSet("security", flag.ExitOnError)
	bin := f.String("bin", "bin", "where `make build` put the host and the plugins")
	f.StringVar(&o.Python, "python", "", "the Python interpreter that has the SDK, as `scripts/venv flytekit` makes one")
	f.StringVar(&o.Source, "source", "test/security", "the folder of the plugin in Python")
	in := f.String("places", "", "the fields of the matrix, as root-on,user-off; default all")
	only := f.String("only", "", "the attempts, by name; default all")
	f.IntVar(&o.Calls, "calls", 10_000, "how many calls the other plugin gets meanwhile, at least, in each field")
	f.BoolVar(&o.Quiet, "quiet", false, "say only what was not refused")
	_ = f.Parse(arguments) // it exits
	o.Host, o.Victim = filepath.Join(*bin, "agenthost"), filepath.Join(*bin, "plugins", victimType, victimType)
	o.Places, o.Only = list(*in), list(*only)
	return o
}

func list(flag string) []string {
	if flag == "" {
		return nil
	}
	return strings.Split(flag, ",")
}

// start looks at what was asked for, and does it in a jail.
func start(ctx context.Context, out io.Writer, o options) error {
	for _, name := range o.Only {
		if !slices.ContainsFunc(table, func(r row) bool { return r.name == name }) {
			return fmt.Errorf("there is no attempt %s", name)
		}
	}
	for _, name := range o.Places {
		if !slices.ContainsFunc(places, func(p place) bool { return p.short() == name }) {
			return fmt.Errorf("there is no place %s: there are root-on, root-off, user-on and user-off", name)
		}
	}
	var all []error
	for _, path := range []*string{&o.Host, &o.Victim, &o.Python, &o.Source} {
		absolute, err := filepath.Abs(*path)
		*path = absolute
		all = append(all, err)
	}
	settings, err := json.Marshal(o)
	if err = errors.Join(append(all, err)...); err != nil {
		return err
	}
	return jail(ctx, string(settings), out)
}

// runInJail makes the attempts, and tells what came of them.
func runInJail() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	if err := json.Unmarshal([]byte(os.Getenv(settingsVariable)), &o); err != nil {
		return err
	}
	dir := os.Getenv(jailVariable)
	if err := o.prepare(dir); err != nil {
		return err
	}
	var t tally
	for _, p := range places {
		if len(o.Places) > 0 && !slices.Contains(o.Places, p.short()) {
			continue
		}
		if err := t.field(ctx, p, o, dir); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return t.summary()
}

// prepare puts the programs where every user can run them.
func (o *options) prepare(dir string) error {
	programs := filepath.Join(dir, "programs")
	if err := os.MkdirAll(programs, 0o755); err != nil { // every user runs them
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	files := map[string]string{
		"hostile": self, "agenthost": o.Host, victimType: o.Victim,
		"hostile.py": filepath.Join(o.Source, "hostile.py"), "attempts.py": filepath.Join(o.Source, "attempts.py"),
	}
	for name, from := range files {
		if err := copyProgram(from, filepath.Join(programs, name)); err != nil {
			return fmt.Errorf("%w: run `make build` first", err)
		}
	}
	if os.Geteuid() == 0 {
		setUser := filepath.Join(programs, "set-user")
		if err := errors.Join(copyProgram(self, setUser), os.Chmod(setUser, 0o755|os.ModeSetuid)); err != nil { // what it is for
			return err
		}
	}
	return o.reachPython(dir)
}

func copyProgram(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755) // a program
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

// tally counts outcomes.
type tally struct {
	attempts, notTried int
	conceded           int
	succeeded          []string
}

// field makes all attempts in one field of the matrix.
func (t *tally) field(ctx context.Context, p place, o options, dir string) (err error) {
	rows := slices.DeleteFunc(slices.Clone(table), func(r row) bool { return len(o.Only) > 0 && !slices.Contains(o.Only, r.name) })
	if lack := lackOf(p); lack != "" {
		for _, r := range rows {
			t.notTried += len(r.by())
		}
		fmt.Printf("%s: not tried: %s\n", p, lack)
		return nil
	}
	began := time.Now()
	c := &cell{place: p, options: o, dir: dir}
	if c.uid = os.Geteuid(); c.uid == 0 && !p.root {
		c.uid = ordinaryUser
	}
	if err := c.start(ctx); err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			err = errors.Join(err, c.stop())
		}
	}()
	for _, r := range rows {
		for _, by := range r.by() {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			tried := time.Now()
			result, err := c.attempt(ctx, r, by)
			if took := time.Since(tried); took > 3*time.Second {
				result.Evidence += fmt.Sprintf(" (after %.0f s)", took.Seconds())
			}
			if err != nil {
				return fmt.Errorf("%s by %s: %w", r.name, by, err)
			}
			t.count(p, r, by, result, o.Quiet)
		}
	}
	calls := c.load.end(ctx, o.Calls)
	if lost := c.load.taken(); len(lost) > 0 {
		t.succeeded = append(t.succeeded, fmt.Sprintf("%s: between attempts %s", p, describe(lost)))
	}
	stopped = true
	if err := c.stop(); err != nil {
		return fmt.Errorf("the host did not stop well: %w\n%s", err, c.logEnd())
	}
	fmt.Printf("%s: the victim answered %d calls meanwhile; %.0f s\n", p, calls, time.Since(began).Seconds())
	return nil
}

// lackOf says what a place takes that this machine has not.
func lackOf(p place) string {
	if p.root && os.Geteuid() != 0 {
		return "the test is not run as root"
	}
	return ""
}

func (t *tally) count(p place, r row, by string, result hostile.Result, quiet bool) {
	reason, conceded := r.concededIn(p)
	said := string(result.Outcome)
	switch {
	case result.Outcome == hostile.NotTried:
		t.notTried++
	case result.Outcome == hostile.Refused:
		t.attempts++
		if quiet {
			return
		}
	case conceded:
		t.attempts++
		t.conceded++
		said = "conceded (" + reason + ")"
	default:
		t.attempts++
		said = "SUCCEEDED"
		t.succeeded = append(t.succeeded, fmt.Sprintf("%s: %s by %s: %s", p, r.name, by, oneLine(result.Evidence)))
	}
	fmt.Printf("%-17s  %-14s  %-20s  %s: %s\n", p, by, r.name, said, oneLine(result.Evidence))
}

func oneLine(text string) string {
	quoted := strings.Join(strings.Fields(text), " ")
	if len(quoted) > 300 {
		quoted = quoted[:300] + "…"
	}
	return strings.ToValidUTF8(quoted, "?")
}

// summary is the last line, and an error where an attempt succeeded that must not.
func (t *tally) summary() error {
	counts := fmt.Sprintf("%d attempts, %d succeeded, %d conceded", t.attempts, len(t.succeeded), t.conceded)
	if t.notTried > 0 {
		counts += fmt.Sprintf(", %d not tried", t.notTried)
	}
	if len(t.succeeded) > 0 {
		return fmt.Errorf("%s:\n  %s", counts, strings.Join(t.succeeded, "\n  "))
	}
	fmt.Println("security ok: " + counts)
	return nil
}
