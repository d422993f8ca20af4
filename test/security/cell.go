package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agenthost/agenthost/test/replica"
	"github.com/agenthost/agenthost/test/security/hostile"
)

const (
	worldName   = "w"
	victimName  = "victim"
	victimType  = "hello"
	secretName  = "token"
	secretValue = "the-victims-own-secret"
	envSecret   = "VICTIM_TOKEN"
	// hostDescriptors is what a host may have open, in the words `ulimit -n 512`.
	hostDescriptors = 512
	// largestAnswer is what the runner itself takes, so that what a host lets through is seen.
	largestAnswer = 128 << 20
	callLimit     = 30 * time.Second
	startLimit    = time.Minute
	stopLimit     = time.Minute
)

// cell is one field of the matrix: a host that runs as a user, with its plugins in sandboxes or not.
type cell struct {
	place    place
	options  options
	dir      string // the jail's
	uid      int
	host     *replica.Replica
	settings map[string]any
	grpc     string
	admin    string
	conn     *grpc.ClientConn
	load     *load
	strays   []net.Listener
	secret   string    // the file behind the victim's secret
	identity *identity // nil: the Flyte port speaks no TLS, and asks nobody who it is
}

// world is a path in the world, the small file system of this cell's hosts.
func (c *cell) world(elements ...string) string {
	return filepath.Join(append([]string{c.dir, worldName, c.place.short()}, elements...)...)
}

func (c *cell) program(name string) string { return filepath.Join(c.dir, "programs", name) }

// start makes the world and starts the host.
func (c *cell) start(ctx context.Context) error {
	c.secret = c.world("secrets", secretName)
	if err := os.MkdirAll(c.world(), 0o755); err != nil { // the plugins' users have to get in
		return err
	}
	for _, folder := range []string{"conf", "secrets", "run", "state", "sockets"} {
		if err := errors.Join(os.Mkdir(c.world(folder), 0o700), os.Chown(c.world(folder), c.uid, c.uid)); err != nil {
			return err
		}
	}
	for _, plugin := range []string{goType, pythonType, thiefName} {
		if err := errors.Join(os.Mkdir(c.world(plugin), 0o700), os.Chmod(c.world(plugin), 0o777|os.ModeSticky)); err != nil { // whoever the plugin runs as
			return err
		}
	}
	err := errors.Join(os.WriteFile(c.secret, []byte(secretValue), 0o600), os.Chown(c.secret, c.uid, c.uid), c.listen(ctx))
	if err != nil {
		return err
	}
	if err := cgroupsOf(filepath.Base(c.dir)).delegate(c.uid); err != nil {
		return err
	}
	if c.grpc, err = freeAddress(ctx); err != nil {
		return err
	}
	if c.admin, err = freeAddress(ctx); err != nil {
		return err
	}
	if c.place.sandbox {
		c.admin = c.world("sockets", "admin")
		if c.identity, err = newIdentity(c.world("secrets", "tls.crt"), c.world("secrets", "tls.key")); err != nil {
			return err
		}
		if err := errors.Join(os.Chown(c.identity.cert, c.uid, c.uid), os.Chown(c.identity.key, c.uid, c.uid)); err != nil {
			return err
		}
	}
	c.settings = c.configuration()
	if err := c.write(); err != nil {
		return err
	}
	started := filepath.Join(c.dir, "programs", "as-"+c.place.short())
	script := fmt.Sprintf("#!/bin/sh\nexec %s %s %d %d %s \"$@\"\n", c.program("hostile"), launchMarker, c.uid, hostDescriptors, c.program("agenthost"))
	if err := os.WriteFile(started, []byte(script), 0o755); err != nil { // a program
		return err
	}
	c.host = &replica.Replica{
		Name: "host-" + c.place.short(), Program: started, Config: c.config(), Logs: c.dir,
		Env: []string{"AGENTHOST_LISTEN__GRPC=" + c.grpc, "AGENTHOST_LISTEN__ADMIN=" + c.adminURL(), envSecret + "=" + secretValue},
	}
	if err := c.restart(ctx); err != nil {
		return err
	}
	c.load = startLoad(c)
	return nil
}

func (c *cell) config() string { return c.world("conf", "agenthost.json") }

// listen makes the neighbours: what else there is on a machine, of the host's own user where that matters.
func (c *cell) listen(ctx context.Context) error {
	for _, stray := range [][2]string{{"tcp", "127.0.0.1:0"}, {"unix", "@agenthost-security-" + c.place.short() + "-" + filepath.Base(c.dir)}, {"unix", c.world("sockets", "s")}} {
		listener, err := new(net.ListenConfig).Listen(ctx, stray[0], stray[1])
		if err != nil {
			return err
		}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				conn.Close()
			}
		}()
		c.strays = append(c.strays, listener)
	}
	return os.Chown(c.world("sockets", "s"), c.uid, c.uid)
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// pluginMemory and pluginTasks are what a hostile plugin may take.
const (
	pluginMemory = "160MiB"
	pluginTasks  = 100
)

// users are the ids that plugins run as where the host may choose.
const users = "70000-79999"

// configuration is the host's, with its plugins: where plugins are in sandboxes, it is the one that docs/security.md shows for plugins
// that are not trusted.
func (c *cell) configuration() map[string]any {
	settings := map[string]any{
		"run_dir": c.world("run"), "state_dir": c.world("state"),
		"plugins": map[string]any{
			victimName: c.sandboxed(map[string]any{
				"command": []string{c.program(victimType)},
				"secrets": map[string]any{secretName: "file://" + c.secret, "other": "env:" + envSecret},
			}, "", victimType),
			"hostile-go":     c.hostile(goType, hostile.Command(c.program("hostile"), hostile.Flags{Type: goType}), goType),
			"hostile-python": c.hostile(pythonType, []string{c.options.Python, c.program("hostile.py"), pythonType}, pythonType),
		},
	}
	if c.identity != nil {
		settings["listen"] = map[string]any{"tls": map[string]any{"cert": c.identity.cert, "key": c.identity.key, "client_ca": c.identity.cert, "client_certificates": "optional"}}
		settings["access"] = map[string]any{"rules": []any{map[string]any{"certificate": "CN=" + callerName, "may": []string{"run", "poll", "delete", "list"}}}}
	}
	return settings
}

// hostile configures a plugin that may write to a folder of its own.
func (c *cell) hostile(folder string, command []string, types ...string) map[string]any {
	return c.sandboxed(map[string]any{
		"command": command,
		"restart": map[string]any{"max_backoff": "200ms", "crash_loop": map[string]any{"failures": 1000}},
	}, folder, types...)
}

// sandboxed puts a plugin into a sandbox, where this cell has them, with what it needs: the task types that it may list, and a folder.
func (c *cell) sandboxed(plugin map[string]any, folder string, types ...string) map[string]any {
	if !c.place.sandbox {
		plugin["sandbox"] = "off"
		return plugin
	}
	sandbox := map[string]any{"connect": []int{}, "read": []string{c.dir + "/programs"}}
	if folder != "" {
		sandbox["write"] = []string{c.world(folder)}
		sandbox["memory"], sandbox["pids"], sandbox["cpu"] = pluginMemory, pluginTasks, 1
	}
	if folder == pythonType {
		sandbox["read"] = append([]string{c.dir + "/programs"}, c.options.Packages...)
	}
	if c.place.root {
		sandbox["user"] = users
	}
	plugin["sandbox"] = sandbox
	if len(types) > 0 {
		plugin["task_types"] = types
	}
	return plugin
}

// write writes the configuration as deployments do, at once.
func (c *cell) write() error {
	content, err := json.Marshal(c.settings)
	if err != nil {
		return err
	}
	next := c.config() + ".next"
	return errors.Join(os.WriteFile(next, content, 0o600), os.Chown(next, c.uid, c.uid), os.Rename(next, c.config()))
}

// reload has the host take up other plugins beside its own, for as long as do takes.
func (c *cell) reload(ctx context.Context, plugins map[string]any) (said string, err error) {
	all := maps.Clone(c.configuration()["plugins"].(map[string]any)) // as configuration made it
	for name, plugin := range plugins {
		if all[name] = plugin; plugin == nil {
			delete(all, name)
		}
	}
	c.settings["plugins"] = all
	if err := c.write(); err != nil {
		return "", err
	}
	return c.command(ctx, "reload", "--admin", c.adminURL())
}

// command runs the program as an operator does, and gives all that it printed.
func (c *cell) command(ctx context.Context, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, c.program("agenthost"), arguments...).CombinedOutput()
	return string(out), err
}

// restart starts the host, and waits until all its plugins answer.
func (c *cell) restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := c.host.Start(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, c.logEnd())
	}
	if c.conn != nil {
		c.conn.Close()
	}
	var err error
	if c.conn, err = c.dial(); err != nil {
		return err
	}
	return c.whole(ctx)
}

// dial opens a connection as Flyte does.
func (c *cell) dial(options ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(c.grpc, append([]grpc.DialOption{
		grpc.WithTransportCredentials(c.transport(true)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largestAnswer), grpc.MaxCallSendMsgSize(largestAnswer)),
	}, options...)...)
}

// dialPlain is a connection with the limits of gRPC's own.
func (c *cell) dialPlain() (*grpc.ClientConn, error) {
	return grpc.NewClient(c.grpc, grpc.WithTransportCredentials(c.transport(true)))
}

// dialStranger is one of somebody who shows nothing of itself.
func (c *cell) dialStranger() (*grpc.ClientConn, error) {
	return grpc.NewClient(c.grpc, grpc.WithTransportCredentials(c.transport(false)))
}

// transport is what a caller shows of itself.
func (c *cell) transport(shows bool) credentials.TransportCredentials {
	if c.identity == nil {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(c.identity.client(shows))
}

// adminURL is the admin address as commands take it.
func (c *cell) adminURL() string {
	if network, address := networkOf(c.admin); network == "unix" {
		return "unix:" + address
	}
	return c.admin
}

// whole waits until every plugin answers.
func (c *cell) whole(ctx context.Context) error {
	for _, taskType := range []string{goType, pythonType} {
		for {
			result, err := c.order(ctx, taskType, "inherited", hostile.World{})
			if err == nil && result.Outcome != "" {
				break
			}
			if ctx.Err() != nil || !c.alive() {
				return fmt.Errorf("%s does not answer: %w\n%s", taskType, err, c.logEnd())
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	_, err := c.victimTask(ctx, c.conn)
	return err
}

// alive says whether the host's process is there.
func (c *cell) alive() bool {
	_, _, ready := c.host.Ready()
	return ready && running(c.host.PID())
}

// dies says whether the host dies, after a call to it failed: a process that ends closes its sockets before it is seen to end.
func (c *cell) dies() bool {
	for range 25 {
		if !c.alive() {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

func (c *cell) logPath() string { return filepath.Join(c.dir, c.host.Name+".log") }

func (c *cell) logEnd() string {
	content, err := os.ReadFile(c.logPath())
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-2<<10):])
}

// stop ends the host, and all else of the cell.
func (c *cell) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	for _, stray := range c.strays {
		stray.Close()
	}
	if c.conn != nil {
		c.conn.Close()
	}
	_ = c.host.Signal(syscall.SIGTERM) // an error says that it has ended
	err := c.host.Wait(ctx)
	if err != nil {
		_ = c.host.Signal(syscall.SIGKILL)
		_ = c.host.Wait(ctx)
	}
	return errors.Join(err, os.RemoveAll(c.world()))
}

// order has a hostile plugin make an attempt.
func (c *cell) order(ctx context.Context, taskType, attempt string, w hostile.World) (hostile.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	resource, err := c.sync(ctx, taskType, attempt, w)
	if err != nil {
		return hostile.Result{}, err
	}
	if resource.GetPhase() != core.TaskExecution_SUCCEEDED {
		return hostile.Result{}, fmt.Errorf("the task ended %s: %s", resource.GetPhase(), resource.GetMessage())
	}
	said := resource.GetOutputs().GetLiterals()
	return hostile.Result{
		Outcome:  hostile.Outcome(said["outcome"].GetScalar().GetPrimitive().GetStringValue()),
		Evidence: said["evidence"].GetScalar().GetPrimitive().GetStringValue(),
	}, nil
}

// sync runs a task of a hostile plugin's.
func (c *cell) sync(ctx context.Context, taskType, attempt string, w hostile.World) (*admin.Resource, error) {
	known, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	custom, err := structpb.NewStruct(map[string]any{"attempt": attempt, "world": string(known)})
	if err != nil {
		return nil, err
	}
	stream, err := service.NewSyncAgentServiceClient(c.conn).ExecuteTaskSync(ctx)
	if err != nil {
		return nil, err
	}
	err = stream.Send(&admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Header{Header: &admin.CreateRequestHeader{
		Template: &core.TaskTemplate{Type: taskType, Custom: custom},
	}}})
	if err = errors.Join(ignoreEnd(err), stream.CloseSend()); err != nil {
		return nil, err
	}
	answer, err := stream.Recv()
	return answer.GetHeader().GetResource(), err
}

// ignoreEnd drops what a stream says when its real error is still to be received.
func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// create begins a task of the victim's.
func (c *cell) create(ctx context.Context, conn *grpc.ClientConn, name string) ([]byte, error) {
	answer, err := service.NewAsyncAgentServiceClient(conn).CreateTask(ctx, &admin.CreateTaskRequest{
		Template: &core.TaskTemplate{Type: victimType},
		Inputs:   &core.LiteralMap{Literals: map[string]*core.Literal{"name": text(name)}},
	})
	return answer.GetResourceMeta(), err
}

// poll asks for it, and says who did it.
func (c *cell) poll(ctx context.Context, conn *grpc.ClientConn, job []byte) (string, error) {
	answer, err := service.NewAsyncAgentServiceClient(conn).GetTask(ctx, &admin.GetTaskRequest{
		TaskCategory: &admin.TaskCategory{Name: victimType}, ResourceMeta: job,
	})
	return answer.GetResource().GetOutputs().GetLiterals()["greeting"].GetScalar().GetPrimitive().GetStringValue(), err
}

// victimTask runs a task of the victim's as Flyte does, and holds its outputs to what they must be.
func (c *cell) victimTask(ctx context.Context, conn *grpc.ClientConn) (calls int, err error) {
	ctx, cancel := context.WithTimeout(ctx, victimLimit)
	defer cancel()
	job, err := c.create(ctx, conn, "Ada")
	if err != nil {
		return 0, fmt.Errorf("CreateTask: %w", err)
	}
	greeting, err := c.poll(ctx, conn, job)
	if err != nil {
		return 1, fmt.Errorf("GetTask: %w", err)
	}
	if greeting != "Hello, Ada" {
		return 1, fmt.Errorf("GetTask: the victim's task greets %q: somebody else did it", greeting)
	}
	_, err = service.NewAsyncAgentServiceClient(conn).DeleteTask(ctx, &admin.DeleteTaskRequest{
		TaskCategory: &admin.TaskCategory{Name: victimType}, ResourceMeta: job,
	})
	if err != nil {
		return 2, fmt.Errorf("DeleteTask: %w", err)
	}
	return 3, nil
}

func text(value string) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{
		Primitive: &core.Primitive{Value: &core.Primitive_StringValue{StringValue: value}},
	}}}}
}

// known is what an attacker knows, as of now.
func (c *cell) known(ctx context.Context, own string) (hostile.World, error) {
	w := hostile.World{
		Host: c.host.PID(), SecretSource: c.secret, SecretName: envSecret, Config: c.config(), RunDir: c.world("run"), StateDir: c.world("state"),
		Programs: filepath.Join(c.dir, "programs"), Own: c.world(own), GRPC: c.grpc, Admin: c.admin, JobType: victimType,
		Neighbour: c.strays[0].Addr().String(), Abstract: c.strays[1].Addr().String(), Socket: c.strays[2].Addr().String(),
	}
	if c.identity != nil {
		w.Authority = string(c.identity.pem)
	}
	if os.Geteuid() == 0 {
		w.SetUser = c.program("set-user")
	}
	var err error
	if w.Job, err = c.create(ctx, c.conn, "Ada"); err != nil {
		return w, fmt.Errorf("a job of the victim's: %w", err)
	}
	if w.Victim, err = processOf(c.program(victimType)); err != nil {
		return w, err
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", w.Victim))
	if err != nil {
		return w, err
	}
	for entry := range strings.SplitSeq(string(environ), "\x00") {
		if dir, found := strings.CutPrefix(entry, "FLYTE_SECRETS_DEFAULT_DIR="); found {
			w.SecretFile = filepath.Join(dir, secretName)
			sockets, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "plugin*"))
			if err != nil || len(sockets) == 0 {
				return w, fmt.Errorf("the victim's socket is not beside %s", dir)
			}
			w.VictimSocket = sockets[0]
		}
	}
	if w.SecretFile == "" {
		return w, errors.New("the victim's environment does not say where its secrets are")
	}
	return w, nil
}

// processOf finds the process of a program.
func processOf(program string) (int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if running, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && running == program {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no process runs %s", program)
}

// victimLimit is Flyte's own for a call.
const victimLimit = 10 * time.Second

// load calls the victim all the while.
type load struct {
	cell *cell
	stop context.CancelFunc
	done sync.WaitGroup
	hold sync.RWMutex // read by calls under way; written by who has the connection changed, or wants none under way

	mu   sync.Mutex // guards what follows
	made int
	lost []error
}

// loadCallers and loadPause make a hundred or two calls in a second.
const (
	loadCallers = 2
	loadPause   = 20 * time.Millisecond
)

func startLoad(c *cell) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{cell: c, stop: stop}
	for range loadCallers {
		l.done.Go(func() {
			for ctx.Err() == nil {
				l.one(ctx)
				time.Sleep(loadPause)
			}
		})
	}
	return l
}

// one runs one task. A task that the end of the load ends counts as nothing.
func (l *load) one(ctx context.Context) {
	l.hold.RLock()
	defer l.hold.RUnlock()
	calls, err := l.cell.victimTask(ctx, l.cell.conn)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made += calls
	if err != nil && ctx.Err() == nil {
		l.lost = append(l.lost, err)
	}
}

// taken gives what was lost since it was last asked, when no call is under way any more.
func (l *load) taken() (lost []error) {
	l.hold.Lock()
	defer l.hold.Unlock()
	lost, l.lost = l.lost, nil
	return lost
}

// end has the load reach a number of calls, and ends it.
func (l *load) end(ctx context.Context, calls int) int {
	for ctx.Err() == nil {
		l.mu.Lock()
		enough := l.made >= calls
		l.mu.Unlock()
		if enough {
			break
		}
		l.one(ctx)
	}
	l.stop()
	l.done.Wait()
	return l.made
}

// describe says what was lost, in a line.
func describe(lost []error) string {
	texts := make([]string, len(lost))
	for i, err := range lost {
		texts[i] = err.Error()
	}
	slices.Sort(texts)
	texts = slices.Compact(texts)
	return fmt.Sprintf("%d of the victim's tasks were lost: %s", len(lost), texts[0])
}
