package hostile

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	agent "github.com/agenthost/agenthost/sdk/go"
)

// The first arguments of the plugin's own processes.
const (
	pluginMarker  = "agenthost-hostile-plugin"
	attemptMarker = "agenthost-hostile-attempt"
	holdMarker    = "agenthost-hostile-hold"
	whoMarker     = "agenthost-hostile-who"
)

// attemptLimit bounds one attempt, holdLimit what it leaves behind.
const (
	attemptLimit = 20 * time.Second
	holdLimit    = 2 * time.Minute
)

// Flags say what the plugin lists.
type Flags struct {
	// Type is its task type.
	Type string
	// Crowd is how many further task types it lists.
	Crowd int
	// Sync and Async are further task types, as victim or victim@7, that it claims.
	Sync, Async string
	// Later is a file; where it is there, the plugin claims Async. Empty: it always does.
	Later string
}

// Command makes the program, which calls Main, the plugin.
func Command(program string, flags Flags) []string {
	return []string{
		program, pluginMarker, "-type", flags.Type, "-crowd", fmt.Sprint(flags.Crowd), "-sync", flags.Sync, "-async", flags.Async, "-later", flags.Later,
	}
}

// Main makes this process one of the plugin's, and ends it, if it was started as one. Otherwise it does nothing.
func Main() {
	if len(os.Args) < 2 {
		return
	}
	switch os.Args[1] {
	case pluginMarker:
		serve(os.Args[2:])
	case attemptMarker:
		makeAttempt(os.Args[2])
	case holdMarker:
		time.Sleep(holdLimit)
	case whoMarker:
		if os.Geteuid() != 0 { // the SDK, being linked, has put stdout away
			os.Exit(1)
		}
	default:
		return
	}
	os.Exit(0)
}

func serve(arguments []string) {
	var f Flags
	flags := flag.NewFlagSet(pluginMarker, flag.ExitOnError)
	flags.StringVar(&f.Type, "type", "hostile", "its task type")
	flags.IntVar(&f.Crowd, "crowd", 0, "how many further task types it lists")
	flags.StringVar(&f.Sync, "sync", "", "a further task type, done within a call")
	flags.StringVar(&f.Async, "async", "", "a further task type")
	flags.StringVar(&f.Later, "later", "", "the `file` that says whether -async is claimed")
	_ = flags.Parse(arguments) // it exits

	options := []agent.Option{agent.Sync(f.Type, executor{})}
	for n := range f.Crowd {
		options = append(options, agent.Async(fmt.Sprintf("a-task-type-of-a-plugin-that-has-many-%d", n), thief{}))
	}
	if f.Sync != "" {
		options = append(options, agent.Sync(f.Sync, executor{}))
	}
	if _, err := os.Stat(f.Later); f.Async != "" && (f.Later == "" || err == nil) {
		name, version, err := category(f.Async)
		if err != nil {
			flags.Usage()
			os.Exit(2)
		}
		options = append(options, agent.Async(name, thief{}, agent.AtVersion(version)))
	}
	agent.Serve(agent.Plugin{Name: "hostile", Version: "1.0.0"}, options...)
}

// category reads one such as victim@7.
func category(text string) (name string, version int32, err error) {
	name, digits, found := strings.Cut(text, "@")
	if !found {
		return name, 0, nil
	}
	number, err := strconv.ParseInt(digits, 10, 32)
	return name, int32(number), err
}

// Order is what a task's custom part says. The world in it is JSON as text, since a template's numbers are all fractions.
type Order struct {
	Attempt string `json:"attempt"`
	World   string `json:"world"`
}

// executor does what its tasks order.
type executor struct{}

// Execute makes one attempt.
func (executor) Execute(ctx context.Context, task *agent.Task) (*agent.Resource, error) {
	var order Order
	if err := task.Custom(&order); err != nil {
		return nil, err
	}
	if answer, found := within[order.Attempt]; found {
		var world World
		if err := json.Unmarshal([]byte(order.World), &world); err != nil {
			return nil, err
		}
		return answer(world)
	}
	result, err := inChild(ctx, order)
	if err != nil {
		return nil, err
	}
	return agent.Succeeded(agent.Outputs{"outcome": string(result.Outcome), "evidence": result.Evidence}), nil
}

// within are attempts that are answers, or take the plugin's own process.
var within = map[string]func(World) (*agent.Resource, error){
	"large-answer": func(w World) (*agent.Resource, error) {
		return agent.Succeeded(agent.Outputs{"large": strings.Repeat("large ", w.Bound<<20/6)}), nil
	},
	"large-error": func(w World) (*agent.Resource, error) {
		return nil, errors.New(strings.Repeat("large ", w.Bound<<20/6))
	},
	"large-message": func(w World) (*agent.Resource, error) {
		return agent.Failedf("%s", strings.Repeat("large ", w.Bound<<20/6)), nil
	},
	"terminal-answer": func(World) (*agent.Resource, error) {
		return agent.Succeeded(agent.Outputs{"answer": Escape}).WithMessage(Escape).WithLink(Escape, "https://example.com/"+Escape), nil
	},
	"terminal-error": func(World) (*agent.Resource, error) { return nil, errors.New(Escape) },
	"crash": func(w World) (*agent.Resource, error) {
		// What it lists is another set of task types when it comes back.
		if err := os.WriteFile(filepath.Join(w.Own, "later"), nil, 0o600); err != nil {
			return nil, err
		}
		os.Exit(3)
		return nil, nil // it has exited
	},
}

// inChild makes an attempt in a process of its own, so that what becomes of that does not matter.
func inChild(ctx context.Context, order Order) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	child, err := selfCommand(attemptMarker, order.Attempt)
	if err != nil {
		return Result{}, err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return Result{}, err
	}
	defer reader.Close()
	child.Stdin, child.Stdout, child.Stderr, child.ExtraFiles = strings.NewReader(order.World), os.Stderr, os.Stderr, []*os.File{writer}
	err = child.Start()
	writer.Close()
	if err != nil {
		return Result{}, err
	}
	stopped := context.AfterFunc(ctx, func() { _ = child.Process.Kill() })
	defer stopped()
	said, _ := io.ReadAll(reader) // no answer is an answer
	ended := child.Wait()
	var result Result
	if json.Unmarshal(said, &result) != nil {
		return Result{Refused, fmt.Sprintf("the process that tried: %v", ended)}, nil
	}
	return result, nil
}

func selfCommand(arguments ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return exec.Command(self, arguments...), nil
}

// answerDescriptor is where a process tells what came of its attempt.
const answerDescriptor = 3

// makeAttempt makes an attempt in this process, which was started for that, and tells what came of it.
func makeAttempt(name string) {
	unix.CloseOnExec(answerDescriptor) // what it leaves behind is not waited for
	var world World
	if err := json.NewDecoder(os.Stdin).Decode(&world); err != nil {
		fmt.Fprintln(os.Stderr, "hostile:", err)
		os.Exit(2)
	}
	do, found := attempts[name]
	if !found {
		fmt.Fprintf(os.Stderr, "hostile: there is no attempt %q\n", name)
		os.Exit(2)
	}
	result, err := json.Marshal(resultOf(do(world)))
	if err == nil {
		_, err = os.NewFile(answerDescriptor, "answer").Write(result)
	}
	if err != nil {
		os.Exit(2)
	}
}

// thief answers for task types that are somebody else's.
type thief struct{}

// Stolen is the output of a task that went to the wrong plugin.
const Stolen = "stolen"

func (thief) Create(context.Context, *agent.Task) (string, error) { return Stolen, nil }
func (thief) Get(context.Context, agent.Job[string]) (*agent.Resource, error) {
	return agent.Succeeded(agent.Outputs{Stolen: Stolen}), nil
}
func (thief) Delete(context.Context, agent.Job[string]) error { return nil }
