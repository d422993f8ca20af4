package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/test/bench/contender"
	"github.com/agenthost/agenthost/test/bench/load"
	"github.com/agenthost/agenthost/test/bench/report"
	"github.com/agenthost/agenthost/tools/verify"
)

// started is how long plugins took until they were ready, and which processor time, in seconds.
type started struct{ elapsed, cpu []float64 }

// starts starts a plugin as the host does, again and again. The first start, which reads files from the disk, does not count.
func (l *lab) starts(ctx context.Context, what string, spec plugin.Spec) (s started, err error) {
	l.say("starts of %s", what)
	for n := range l.scale.starts + 1 {
		began := time.Now()
		running, err := contender.Straight(ctx, l.folder(), spec)
		if err != nil {
			return s, err
		}
		elapsed := time.Since(began).Seconds()
		var cpu float64
		processes, err := running.Answering()
		if err == nil {
			cpu, err = load.CPU(processes...)
		}
		running.Stop()
		if err != nil {
			return s, err
		}
		if n > 0 {
			s.elapsed, s.cpu = append(s.elapsed, elapsed), append(s.cpu, cpu)
		}
	}
	return s, nil
}

func (s started) figure(of []float64) figure {
	return figure{Spread: report.SpreadOf(of), detail: map[string]float64{
		"elapsed, s": report.Median(s.elapsed), "processor time, s": report.Median(s.cpu),
	}}
}

func startGo(ctx context.Context, l *lab) (figure, error) {
	s, err := l.starts(ctx, "hello in Go", plugin.Spec{Command: []string{l.hello()}})
	if err != nil {
		return figure{}, err
	}
	return s.figure(s.elapsed), nil
}

// startHello starts the hello agent of a folder, whose verify.yaml says how.
func startHello(folder string) by {
	return func(ctx context.Context, l *lab) (figure, error) {
		spec, err := helloSpec(filepath.Join(l.root, folder))
		if err != nil {
			return figure{}, err
		}
		s, err := l.starts(ctx, folder, spec)
		if err != nil {
			return figure{}, fmt.Errorf("%w: `make bench` builds it first", err)
		}
		return s.figure(s.elapsed), nil
	}
}

const helloInJava = "sdk/java/examples/hello"

// startArchived is the start of a JVM that finds its classes in an archive, which a first one leaves as sdk/java/README.md says.
func startArchived(ctx context.Context, l *lab) (figure, error) {
	spec, err := helloSpec(filepath.Join(l.root, helloInJava))
	if err != nil {
		return figure{}, err
	}
	folder := l.folder()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return figure{}, err
	}
	archive := filepath.Join(folder, "hello.jsa")
	with := func(option string) plugin.Spec {
		archived := spec
		archived.Command = slices.Insert(slices.Clone(spec.Command), 1, option+"="+archive)
		return archived
	}
	l.say("an archive of the classes of hello in Java")
	leaving := with("-XX:ArchiveClassesAtExit")
	leaving.StopTimeout = time.Minute // it writes the archive when it ends
	first, err := contender.Straight(ctx, folder, leaving)
	if err != nil {
		return figure{}, fmt.Errorf("%w: `make bench` builds it first", err)
	}
	first.Stop()
	if _, err := os.Stat(archive); err != nil {
		return figure{}, fmt.Errorf("the JVM left no archive: %w", err)
	}
	s, err := l.starts(ctx, helloInJava+" with an archive of its classes", with("-XX:SharedArchiveFile"))
	if err != nil {
		return figure{}, err
	}
	return s.figure(s.elapsed), nil
}

// helloSpec reads how a hello agent is started.
func helloSpec(folder string) (plugin.Spec, error) {
	file, err := filepath.Abs(filepath.Join(folder, "verify.yaml"))
	if err != nil {
		return plugin.Spec{}, err
	}
	subject, err := verify.ReadSpec(file)
	if err != nil {
		return plugin.Spec{}, err
	}
	return plugin.Spec{Command: subject.Command, Dir: subject.Dir}, nil
}

// startFlytekit is told in processor time, which is what hundreds of plugins that start at once share.
func startFlytekit(ctx context.Context, l *lab) (figure, error) {
	spec, err := contender.Flytekit{Bin: l.flytekit, Dir: l.folder()}.Spec()
	if err != nil {
		return figure{}, err
	}
	s, err := l.starts(ctx, "agenthost-flytekit", spec)
	if err != nil {
		return figure{}, err
	}
	return s.figure(s.cpu), nil
}
