package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const (
	// caseLimit bounds a case, and waitLimit a wait in it: only one that fails takes that long.
	caseLimit = 6 * time.Minute
	waitLimit = 90 * time.Second
	// look is how often a condition is looked at.
	look = 50 * time.Millisecond
)

// cell is a case under way.
type cell struct {
	*cluster
	ctx       context.Context
	name      string
	namespace string
	folder    string // for logs, and what helm is given

	mu       sync.Mutex
	notes    []string
	cleanups []func()
	releases int // how many times helm was given values
}

// outcome is what came of a case.
type outcome struct {
	err   error
	notes []string
	took  time.Duration
}

// aborted ends a case, by panic.
type aborted struct{ err error }

// try runs a case in a namespace of its own. What it leaves is removed, and where it failed, kept in a folder before.
func (k *cluster) try(ctx context.Context, r row) (o outcome) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, caseLimit)
	defer cancel()
	c := &cell{cluster: k, ctx: ctx, name: r.name, namespace: r.name, folder: filepath.Join(k.Out, r.name)}
	defer func() {
		switch reason := recover().(type) {
		case nil:
		case aborted:
			o.err = reason.err
		default:
			panic(reason)
		}
		if o.err != nil {
			o.err = errors.Join(o.err, c.keep())
		}
		for _, cleanup := range c.cleanups {
			cleanup()
		}
		c.remove()
		o.notes, o.took = c.notes, time.Since(began)
	}()
	c.must(os.MkdirAll(c.folder, 0o755))
	c.makeNamespace()
	r.run(c)
	return o
}

// must ends the case if there is an error.
func (c *cell) must(err error) {
	if err != nil {
		panic(aborted{err})
	}
}

// check ends the case if a promise does not hold.
func (c *cell) check(holds bool, format string, arguments ...any) {
	if !holds {
		panic(aborted{fmt.Errorf(format, arguments...)})
	}
}

// note adds a line to what is printed of the case.
func (c *cell) note(format string, arguments ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notes = append(c.notes, fmt.Sprintf(format, arguments...))
}

// cleanup has something done when the case is over. It is for what ends at once.
func (c *cell) cleanup(f func()) { c.cleanups = append(c.cleanups, f) }

// until waits for a condition, which says what it sees meanwhile.
func (c *cell) until(what string, holds func() (seen string, done bool)) {
	c.must(c.await(what, holds))
}

// await is until, for goroutines of a case.
func (c *cell) await(what string, holds func() (seen string, done bool)) error {
	limit := time.NewTimer(waitLimit)
	defer limit.Stop()
	again := time.NewTicker(look)
	defer again.Stop()
	for {
		seen, done := holds()
		if done {
			return nil
		}
		select {
		case <-again.C:
		case <-limit.C:
			return fmt.Errorf("waited %v in vain until %s; at last: %s", waitLimit, what, seen)
		case <-c.ctx.Done():
			return fmt.Errorf("%w, while waiting until %s; at last: %s", context.Cause(c.ctx), what, seen)
		}
	}
}

// makeNamespace makes the case's namespace. One with that name that an earlier run left is not there: the cluster is new.
func (c *cell) makeNamespace() {
	labels := map[string]string{}
	for _, mode := range []string{"enforce", "warn"} {
		labels["pod-security.kubernetes.io/"+mode] = "restricted"
	}
	_, err := c.client.CoreV1().Namespaces().Create(c.ctx,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.namespace, Labels: labels}}, metav1.CreateOptions{})
	c.must(err)
}

// remove has the namespace removed, which goes on while other cases run.
func (c *cell) remove() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), 10*time.Second)
	defer cancel()
	_ = c.client.CoreV1().Namespaces().Delete(ctx, c.namespace, metav1.DeleteOptions{}) // the cluster ends soon
}

// keep writes what there is to know about a failure into the case's folder: the pods, the events and all logs.
func (c *cell) keep() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), 30*time.Second)
	defer cancel()
	pods, err := c.client.CoreV1().Pods(c.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var all []error
	for _, pod := range pods.Items {
		content, err := yaml.Marshal(pod)
		all = append(all, err, c.write("pod-"+pod.Name+".yaml", content))
		for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
			for _, previous := range []bool{false, true} {
				log, err := c.log(ctx, pod.Name, container.Name, previous)
				if apierrors.IsBadRequest(err) || apierrors.IsNotFound(err) {
					continue // it has not run so often
				}
				all = append(all, err, c.write(fmt.Sprintf("log-%s-%s%s.txt", pod.Name, container.Name, map[bool]string{true: "-previous"}[previous]), []byte(log)))
			}
		}
	}
	events, err := c.eventLines(ctx)
	return errors.Join(append(all, err, c.write("events.txt", []byte(strings.Join(events, "\n")+"\n")))...)
}

func (c *cell) write(name string, content []byte) error {
	return os.WriteFile(filepath.Join(c.folder, name), content, 0o600)
}
