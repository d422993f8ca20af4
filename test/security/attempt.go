package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/agenthost/agenthost/test/security/hostile"
)

// attemptLimit bounds an attempt with all that has to be put right after it.
const attemptLimit = 2 * time.Minute

// attempt makes one attempt, sees what became of the host and of its other plugin, and leaves the host as it was before.
func (c *cell) attempt(ctx context.Context, r row, by string) (hostile.Result, error) {
	if r.name == "much-memory" && !cgroupsOf(filepath.Base(c.dir)).bounded() {
		return hostile.Result{Outcome: hostile.NotTried, Evidence: "no memory cgroup can be made here"}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	w, err := c.known(ctx, by)
	if err != nil {
		return hostile.Result{}, err
	}
	w.Bound = r.bound
	pid := c.host.PID()
	try := r.try
	if try == nil {
		try = func(ctx context.Context, c *cell, by string, w hostile.World) (hostile.Result, error) {
			return c.order(ctx, by, r.name, w)
		}
	}
	result, err := try(ctx, c, by, w)
	if err != nil && strings.Contains(err.Error(), "died while it answered") && c.alive() && c.whole(ctx) == nil {
		result, err = try(ctx, c, by, w) // of what was attempted before, perhaps
	}
	if err != nil && r.who == plugin && !r.deadly && c.alive() && !c.dies() { // nobody refused anything
		return result, fmt.Errorf("it was not made: %w", err)
	}
	if err != nil { // the call failed: the plugin has ended, or the answer was refused
		result = hostile.Result{Outcome: hostile.Refused, Evidence: err.Error()}
	}
	if ctx.Err() != nil {
		return result, ctx.Err()
	}
	if result.Outcome == hostile.Succeeded && r.unsaid.has(c.place) {
		result = hostile.Result{Outcome: hostile.Refused, Evidence: "others were served meanwhile, though it " + result.Evidence}
	}
	if c.host.PID() == pid && (err != nil && c.dies() || !c.alive()) {
		result = hostile.Result{Outcome: hostile.Succeeded, Evidence: fmt.Sprintf("the host died (%v)", err)}
		c.load.taken()
		return result, c.revive(ctx)
	}
	// The load's calls that are under way count, and so does one that begins now.
	c.load.one(ctx)
	lost := c.load.taken()
	if len(lost) > 0 {
		result = hostile.Result{Outcome: hostile.Succeeded, Evidence: describe(lost) + " (" + result.Evidence + ")"}
	}
	if len(lost) > 0 && c.dies() || !c.alive() {
		return hostile.Result{Outcome: hostile.Succeeded, Evidence: "the host died (" + result.Evidence + ")"}, c.revive(ctx)
	}
	if err == nil && len(lost) == 0 && r.try == nil {
		return result, nil
	}
	return result, c.whole(ctx)
}

// revive starts the host again, and has the load wait meanwhile.
func (c *cell) revive(ctx context.Context) error {
	c.load.hold.Lock()
	defer c.load.hold.Unlock()
	c.load.lost = nil
	if err := c.host.Signal(syscall.SIGKILL); err == nil {
		_ = c.host.Wait(ctx) // which says that it was killed
	}
	return c.restart(ctx)
}

// large has a plugin answer with much, several times at once. It succeeds where Flyte would get it.
func large(name string) tryFunc {
	return func(ctx context.Context, c *cell, by string, w hostile.World) (hostile.Result, error) {
		return c.largeAnswers(ctx, name, by, w), nil
	}
}

func (c *cell) largeAnswers(ctx context.Context, name, by string, w hostile.World) hostile.Result {
	const atOnce = 8
	type answer struct {
		size int
		err  error
	}
	answers := make(chan answer, atOnce)
	for range atOnce {
		go func() {
			ctx, cancel := context.WithTimeout(ctx, callLimit)
			defer cancel()
			resource, err := c.sync(ctx, by, name, w)
			size := len(resource.GetMessage()) + len(resource.GetOutputs().GetLiterals()["large"].GetScalar().GetPrimitive().GetStringValue())
			answers <- answer{size, err}
		}()
	}
	result := hostile.Result{Outcome: hostile.Refused}
	for range atOnce {
		got := <-answers
		if got.err != nil {
			got.size += len(got.err.Error())
			if result.Evidence == "" {
				result.Evidence = got.err.Error()
			}
		}
		if got.size > 10<<20 { // Flyte itself takes 4 MiB
			result = hostile.Result{Outcome: hostile.Succeeded, Evidence: fmt.Sprintf("an answer of %d MiB came through", got.size>>20)}
		}
	}
	return result
}

// goneLimit is how long something may take to be gone after what it hung on.
const goneLimit = 5 * time.Second

// outlivePlugin has a plugin leave a process behind, and removes the plugin.
func outlivePlugin(ctx context.Context, c *cell, by string, w hostile.World) (hostile.Result, error) {
	pid, err := c.leaveBehind(ctx, by, w)
	if err != nil {
		return hostile.Result{}, err
	}
	name := map[string]string{goType: "hostile-go", pythonType: "hostile-python"}[by]
	said, err := c.reload(ctx, map[string]any{name: nil})
	if err != nil {
		return hostile.Result{}, fmt.Errorf("%w: %s", err, said)
	}
	result := gone(pid)
	if said, err = c.reload(ctx, nil); err != nil {
		return result, fmt.Errorf("%w: %s", err, said)
	}
	return result, nil
}

// outliveHost has a plugin leave a process behind, and stops the host.
func outliveHost(ctx context.Context, c *cell, by string, w hostile.World) (hostile.Result, error) {
	pid, err := c.leaveBehind(ctx, by, w)
	if err != nil {
		return hostile.Result{}, err
	}
	c.load.hold.Lock()
	defer c.load.hold.Unlock()
	if err := c.end(ctx); err != nil {
		return hostile.Result{}, err
	}
	result := gone(pid)
	return result, c.restart(ctx)
}

// again stops the host, and starts it again.
func (c *cell) again(ctx context.Context) error {
	c.load.hold.Lock()
	defer c.load.hold.Unlock()
	if err := c.end(ctx); err != nil {
		return err
	}
	return c.restart(ctx)
}

func (c *cell) end(ctx context.Context) error {
	if err := c.host.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return c.host.Wait(ctx)
}

func (c *cell) leaveBehind(ctx context.Context, by string, w hostile.World) (int, error) {
	result, err := c.order(ctx, by, "outlive", w)
	if err != nil {
		return 0, err
	}
	if result.Outcome != hostile.Succeeded {
		return 0, errors.New(result.Evidence)
	}
	inside, err := strconv.Atoi(result.Evidence)
	if err != nil {
		return 0, err
	}
	return inside, nil
}

// gone says whether a process goes, and ends it if it does not.
func gone(pid int) hostile.Result {
	for until := time.Now().Add(goneLimit); ; time.Sleep(20 * time.Millisecond) {
		if !running(pid) {
			return hostile.Result{Outcome: hostile.Refused, Evidence: "the process that was left behind was ended"}
		}
		if time.Now().After(until) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			return hostile.Result{Outcome: hostile.Succeeded, Evidence: fmt.Sprintf("the process that was left behind ran on %v later", goneLimit)}
		}
	}
}

// running says whether a process is there and no zombie.
func running(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(status, []byte(") Z "))
}

// forgedLog looks for what a plugin printed among the host's own words.
func forgedLog(ctx context.Context, c *cell, by string, w hostile.World) (hostile.Result, error) {
	return c.logged(func() error {
		result, err := c.order(ctx, by, "forged-log", w)
		if err == nil && result.Outcome != hostile.Succeeded {
			err = errors.New(result.Evidence)
		}
		return err
	})
}

func isControl(r rune) bool { return r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 }

// terminal runs a task as a person does, and looks at what a terminal would get.
func terminal(ctx context.Context, c *cell, by string, w hostile.World) (hostile.Result, error) {
	known, err := json.Marshal(w)
	if err != nil {
		return hostile.Result{}, err
	}
	var shown []string
	for _, attempt := range []string{"terminal-answer", "terminal-error"} {
		order, err := json.Marshal(hostile.Order{Attempt: attempt, World: string(known)})
		if err != nil {
			return hostile.Result{}, err
		}
		file := filepath.Join(c.dir, "order.json")
		if err := os.WriteFile(file, order, 0o600); err != nil {
			return hostile.Result{}, err
		}
		arguments := []string{"task", "run", "--type", by, "--custom", "@" + file, "--address", c.grpc}
		if c.identity != nil { // which the command cannot show
			command := hostile.Command(c.program("hostile"), hostile.Flags{Type: goType})
			if by == pythonType {
				command = []string{c.options.Python, c.program("hostile.py"), pythonType}
			}
			arguments = append(append(arguments[:len(arguments)-2], "--"), command...)
		}
		run, cancel := context.WithTimeout(ctx, callLimit)
		out, _ := exec.CommandContext(run, c.program("agenthost"), arguments...).CombinedOutput() // its failure is what it shows
		cancel()
		if i := bytes.IndexFunc(out, isControl); i >= 0 {
			return succeeded("agenthost task run shows %.60q", out[max(0, i-20):]), nil
		}
		shown = append(shown, strings.TrimSpace(string(out)))
	}
	return hostile.Result{Outcome: hostile.Refused, Evidence: strings.Join(shown, " / ")}, nil
}
