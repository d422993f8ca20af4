// Command bench measures what the host costs, and holds it against targets: rows.go has the table. Contenders are real processes,
// called by one client in alternating rounds. Machines are noisy, so the figures that count are ratios of medians; what one row
// says of another machine, or of another run, says little. It builds nothing: `make bench` does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// options are those of the command line.
type options struct {
	programs
	output, only, admin string
	list, growth        bool
	overTLS, traced     bool
	rounds              int
	length              time.Duration
	scaleName           string
	folders             []string
}

const usage = `bench measures what the host costs, beside a plugin without it, flytekit's own server and a plain proxy.

  bench [flags]             measure the rows of the table, and say which targets are met
  bench [flags] FOLDER…     measure the hello agents of these folders, each with a verify.yaml, beside each other

Examples, after make bench has built what they need:
  go run ./test/bench -list                                     the rows, with their targets
  go run ./test/bench -rows '^get-'                             GetTask through the host, beside the same straight
  go run ./test/bench -rows '^(get|create)-64$' -against /tmp/before/bin
                                                                the same, and beside the host of another commit
  BENCH_QUICK=1 go run ./test/bench -o json >quick.json         all rows, a little of each
  go run ./test/bench -rows '^get-64$' -admin 127.0.0.1:9090 -rounds 60
                                                                long enough for a profile: the host serves /debug/pprof there

Flags:
`

func main() {
	log.SetFlags(0)
	o, err := parse(os.Args[1:], os.Getenv("BENCH_QUICK"))
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = run(ctx, o, os.Stdout, os.Stderr)
		stop()
	}
	if err != nil {
		log.Fatal("bench: ", err)
	}
}

func parse(arguments []string, quick string) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&o.bin, "bin", "bin", "where `make build` put the host and the plugins")
	flags.StringVar(&o.helpers, "helpers", ".cache/bench", "where `make bench` put the programs of test/bench")
	flags.StringVar(&o.flytekit, "flytekit", ".cache/venv-flytekit/bin", "where scripts/venv flytekit put its programs")
	flags.StringVar(&o.root, "root", ".", "the repository, for the hello agents in other languages")
	flags.StringVar(&o.against, "against", "", "where `make build` of another commit put its host, to measure it beside")
	flags.StringVar(&o.output, "o", "text", "what is written to standard output: text, or json (see test/bench/report)")
	flags.StringVar(&o.only, "rows", "", "measure only the rows whose names match a regular expression, also those of growth")
	flags.BoolVar(&o.list, "list", false, "list the rows, and measure nothing")
	flags.BoolVar(&o.growth, "growth", false, "measure how processor time and memory grow, too")
	flags.BoolVar(&o.overTLS, "tls", false, "measure a host with TLS, client certificates and rules that seal, too")
	flags.BoolVar(&o.traced, "traces", false, "measure a host that sends a hundredth of its traces to a collector, too")
	flags.IntVar(&o.rounds, "rounds", 0, "rounds of each contender (default 9; 3 with BENCH_QUICK=1)")
	flags.DurationVar(&o.length, "length", 0, "length of a round (default 1s; 250ms with BENCH_QUICK=1)")
	flags.StringVar(&o.admin, "admin", "", "the admin address of the forwarding host, for profiling it meanwhile")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	o.folders = flags.Args()
	o.scaleName = "full"
	if quick != "" && quick != "0" {
		o.scaleName = "quick"
	}
	if o.output != "text" && o.output != "json" {
		return o, fmt.Errorf("-o %s: it is text or json", o.output)
	}
	return o, nil
}

// selected are the rows that are to be measured.
func (o options) selected() ([]row, error) {
	all := rows
	if o.against != "" {
		all = append(all, besides("against", "this host / that of "+o.against, forwarded, other)...)
	}
	if o.overTLS {
		all = append(all, besides("tls", "a host with TLS, client certificates and rules that seal / without", guarded, forwarded)...)
	}
	if o.traced {
		all = append(all, besides("traces", "a host that sends a hundredth of its traces / none", traced, forwarded)...)
	}
	if o.growth || o.only != "" {
		all = append(all, growthRows...)
	}
	only, err := regexp.Compile(o.only)
	if err != nil {
		return nil, fmt.Errorf("-rows: %w", err)
	}
	var found []row
	for _, row := range all {
		if only.MatchString(row.name) {
			found = append(found, row)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("-rows %s: no row's name matches; -list lists them", o.only)
	}
	return found, nil
}

func (o options) scale() scale {
	s := scales[o.scaleName]
	if o.rounds > 0 {
		s.rounds = o.rounds
	}
	if o.length > 0 {
		s.length = o.length
	}
	return s
}

func run(ctx context.Context, o options, stdout, stderr io.Writer) error {
	selected, err := o.selected()
	if err != nil {
		return err
	}
	if o.list {
		list(stdout, selected)
		return nil
	}
	for _, path := range []*string{&o.bin, &o.helpers, &o.flytekit, &o.root} { // plugins run in folders of their own
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	// A unix socket's path may have 107 bytes: what is below this folder is kept short.
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	found := stdout
	if o.output == "json" {
		found = nil
	}
	l := newLab(o.programs, o.scale(), dir, stderr, found)
	l.admin = o.admin
	defer l.close()
	if len(o.folders) > 0 {
		return l.languages(ctx, o.folders, stdout)
	}
	if err := l.describe(ctx); err != nil {
		return err
	}
	if err := l.measureAll(ctx, selected); err != nil {
		return err
	}
	l.result.Seconds = time.Since(l.began).Seconds()
	if o.output == "json" {
		if err := l.result.JSON(stdout); err != nil {
			return err
		}
		fmt.Fprintln(stderr, "bench:", l.result.Summary())
	} else {
		l.result.Table(stdout)
		fmt.Fprintln(stdout, "bench:", l.result.Summary())
	}
	return l.failed()
}

// describe says what is measured, and where.
func (l *lab) describe(ctx context.Context) (err error) {
	l.result.Taken, l.result.Scale = l.began.UTC().Truncate(time.Second), l.name
	l.result.Versions = l.versions(ctx)
	l.result.Machine, err = thisMachine()
	return err
}

// failed is an error where a row could not be measured. One whose target is not met is none: figures are no assertions.
func (l *lab) failed() error {
	var all []error
	for _, row := range l.result.Rows {
		if row.Error != "" {
			all = append(all, fmt.Errorf("%s: %s", row.Name, row.Error))
		}
	}
	return errors.Join(all...)
}

func list(to io.Writer, rows []row) {
	for _, row := range rows {
		target := "no target"
		if row.target != nil {
			target = row.target.String() + " " + row.unit
		}
		fmt.Fprintf(to, "%-26s %-12s %s\n", row.name, target, row.what)
	}
}
