// Command cluster is the cases of `make cluster-test`: what the chart and the host promise on Kubernetes, tried on a real one. It runs in
// the namespaces of the cluster (node), as `test/cluster/run` starts it.
//
// Each case has a Kubernetes namespace of its own, in which PodSecurity is "restricted", and a release of the chart. Flyte is played by
// clients of its kind: one that watches endpoints as Flyte's k8s:// resolver does, and ones that know the Service's address alone
// (flyte.go). Several cases run at once; those that need the node for themselves come last.
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
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/resolver"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// options are what a run is to do, and where it finds what it needs.
type options struct {
	// Chart and Flyte are the folders of the chart and of the release that it takes over.
	Chart, Flyte string
	// Image is what the chart deploys.
	Image string
	// Python is the folder of the programs of an environment with flytekit and its connector for Databricks, and Modules the folder of
	// the test's own connectors; Read is what of this machine a pod must see to run them.
	Python, Modules string
	Read            []string
	// Compiled is the folder of the tasks that flytekit has compiled.
	Compiled string
	// Out is the folder for logs, and Volumes the one that volumes are made in.
	Out, Volumes string
	// Tally is the file that says what came of it.
	Tally  string
	Only   []string
	AtOnce int
}

// row is a case.
type row struct {
	name, shows string
	run         func(*cell)
	// alone cases have the node for themselves.
	alone bool
}

func main() {
	log.SetFlags(0)
	o := flags(os.Args[1:])
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := runAll(ctx, os.Stdout, o)
	stop()
	if err != nil {
		log.Fatal("cluster: ", err)
	}
}

func flags(arguments []string) options {
	var o options
	f := flag.NewFlagSet("cluster", flag.ExitOnError)
	f.StringVar(&o.Chart, "chart", "charts/agenthost", "the chart")
	f.StringVar(&o.Flyte, "flyte", "test/cluster/flyteconnector", "a chart as Flyte's own")
	f.StringVar(&o.Image, "image", "agenthost:cluster", "the image, which the node has")
	f.StringVar(&o.Python, "python", "", "the folder of an environment's programs, as `scripts/venv spark` prints it")
	f.StringVar(&o.Modules, "modules", "test/cluster/flytekit", "the folder of the test's connectors")
	read := f.String("read", "", "what pods must see of this machine to run that environment, comma-separated")
	f.StringVar(&o.Compiled, "compiled", "", "the folder of compiled tasks")
	f.StringVar(&o.Out, "out", "", "the folder for logs")
	f.StringVar(&o.Volumes, "volumes", "", "the folder for volumes")
	f.StringVar(&o.Tally, "tally", "", "a file for the last line of all")
	only := f.String("only", "", "the cases, by name, comma-separated; default all")
	f.IntVar(&o.AtOnce, "at-once", 4, "how many cases run at the same time")
	_ = f.Parse(arguments) // it exits
	o.Read, o.Only = list(*read), list(*only)
	return o
}

func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
}

// cluster is what cases share.
type cluster struct {
	options
	client kubernetes.Interface
	system *system
	flyte  resolver.Builder
}

// runAll runs the cases and prints a line for each, and one for all.
func runAll(ctx context.Context, out io.Writer, o options) error {
	for _, name := range o.Only {
		if !slices.ContainsFunc(table, func(r row) bool { return r.name == name }) {
			return fmt.Errorf("there is no case %s", name)
		}
	}
	for _, path := range []*string{&o.Chart, &o.Flyte, &o.Modules, &o.Out, &o.Volumes} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = absolute
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 200, 400
	config.WarningHandler = rest.NoWarnings{} // Endpoints are deprecated, and what Flyte watches
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	system, err := startSystem()
	if err != nil {
		return err
	}
	defer system.close()
	names, err := serveNames(ctx, client)
	if err != nil {
		return err
	}
	defer names.close()
	k := &cluster{options: o, client: client, system: system, flyte: endpointsResolver{ctx, client}}
	chosen := slices.DeleteFunc(slices.Clone(table), func(r row) bool { return len(o.Only) > 0 && !slices.Contains(o.Only, r.name) })
	t := tally{out: out}
	began := time.Now()
	var running sync.WaitGroup
	room := make(chan struct{}, max(1, o.AtOnce))
	for _, r := range chosen {
		if !r.alone {
			running.Go(func() {
				room <- struct{}{}
				t.add(r, k.try(ctx, r))
				<-room
			})
		}
	}
	running.Wait()
	for _, r := range chosen {
		if r.alone {
			t.add(r, k.try(ctx, r))
		}
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	fmt.Fprintf(out, "%d cases in %.0f s\n", t.cases, time.Since(began).Seconds())
	if err := os.WriteFile(o.Tally, fmt.Appendf(nil, "%d cases, %d failed", t.cases, t.failed), 0o644); err != nil { // for everybody
		return err
	}
	if t.failed > 0 {
		return fmt.Errorf("%d of %d cases failed: %s; logs and events are in %s", t.failed, t.cases, strings.Join(t.names, ", "), o.Out)
	}
	return nil
}

// tally counts outcomes, and prints them.
type tally struct {
	out io.Writer

	mu            sync.Mutex
	cases, failed int
	names         []string // of those that failed
}

func (t *tally) add(r row, o outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cases++
	word := "ok"
	if o.err != nil {
		t.failed++
		t.names = append(t.names, r.name)
		word = "FAILED"
	}
	fmt.Fprintf(t.out, "%-6s %6.1f s  %-22s %s\n", word, o.took.Seconds(), r.name, r.shows)
	for _, note := range o.notes {
		fmt.Fprintf(t.out, "                  %s\n", note)
	}
	if o.err != nil {
		fmt.Fprintf(t.out, "                  %v\n", o.err)
	}
}
