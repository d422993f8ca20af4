package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/agenthost/agenthost/proto/agentclient"
)

// The cases about what goes wrong.

// deletePod deletes the pod that serves, and waits until another one does.
func (c *cell) deletePod() {
	pod := c.server().Name
	began := time.Now()
	c.must(c.client.CoreV1().Pods(c.namespace).Delete(c.ctx, pod, metav1.DeleteOptions{}))
	c.until("another pod is there", func() (string, bool) {
		servers := c.servers()
		return describe(servers), len(servers) == 1 && servers[0].Name != pod && isReady(servers[0])
	})
	c.note("another pod served after %.1f s", time.Since(began).Seconds())
}

func deletionOfDuckDB(c *cell) {
	c.install(c.chartValues(values{"duckdb": duckdb(nil)}, c.shared()))
	conn := c.byEndpoints()
	done := c.begin(conn, "deleted-done", query("select 6 * 7 as answer"))
	c.succeed(conn, done)
	running := c.begin(conn, "deleted-running", query(slowQuery))
	c.deletePod()
	answer := c.succeed(conn, running).GetOutputs().GetLiterals()["answer"].GetScalar().GetPrimitive().GetInteger()
	c.check(answer == slowAnswer, "the answer is %d", answer)
	c.succeed(conn, done)
}

func deletionOfChaos(c *cell) {
	c.install(c.chartValues(values{"chaos": c.chaos()}))
	conn := c.byEndpoints()
	running := c.begin(conn, "deleted-chaos", chaosTask())
	c.deletePod()
	c.succeed(conn, running)
	c.madeOnce(running.task)
}

// flytekit is the plugin with flytekit's connectors, and the test's own.
func (c *cell) flytekit(others ...string) values {
	return values{
		"command": append([]string{filepath.Join(c.Python, "agenthost-flytekit"), "--modules", "cluster_connectors", "--task-types"},
			strings.Join(append([]string{"file_json", "file_pickle"}, others...), ",")),
		"env":     values{"PYTHONPATH": c.Modules},
		"sandbox": values{"read": append([]string{"/signals"}, c.Read...)}, "start_timeout": "60s",
	}
}

// python gives the values by which pods see what they need of this machine's Python: by volumes that they can only read.
func (c *cell) python() values {
	volumes, mounts := []values{}, []values{}
	add := func(claim, path, at string) {
		c.volume(claim, path, corev1.ReadOnlyMany)
		volumes = append(volumes, values{"name": claim, "persistentVolumeClaim": values{"claimName": claim, "readOnly": true}})
		mounts = append(mounts, values{"name": claim, "mountPath": at, "readOnly": true})
	}
	for i, path := range c.Read {
		add(fmt.Sprintf("python-%d", i), path, path)
	}
	folder := filepath.Join(c.Volumes, c.namespace+"-signals")
	c.must(os.MkdirAll(folder, 0o755))
	add("signals", folder, "/signals")
	return values{"additionalVolumes": volumes, "additionalVolumeMounts": mounts}
}

// fileTask is a task of the test's connectors: it is over when the file "go" is there.
func fileTask(taskType string) task {
	custom, err := structpb.NewStruct(map[string]any{"file": "/signals/go"})
	if err != nil {
		panic(err) // it is a string
	}
	return task{template: &core.TaskTemplate{Type: taskType, Interface: &core.TypedInterface{}, Custom: custom}}
}

// signalFile ends the jobs that wait for a file.
func (c *cell) signalFile(name string) {
	c.must(os.WriteFile(filepath.Join(c.Volumes, c.namespace+"-signals", name), nil, 0o644)) // for every user
}

func deletionOfFlytekit(c *cell) {
	c.install(c.chartValues(values{"flytekit": c.flytekit()}, c.python()))
	conn := c.byEndpoints()
	jobs := []job{c.begin(conn, "deleted-json", fileTask("file_json")), c.begin(conn, "deleted-pickle", fileTask("file_pickle"))}
	c.deletePod()
	for _, j := range jobs {
		c.check(c.phase(conn, j) == core.TaskExecution_RUNNING, "%s does not run on", j.task)
	}
	c.signalFile("go")
	for _, j := range jobs {
		c.succeed(conn, j)
	}
}

// phase is a job's phase, by a poll that may fail as polls do while pods come and go.
func (c *cell) phase(conn grpc.ClientConnInterface, j job) core.TaskExecution_Phase {
	var phase core.TaskExecution_Phase
	c.until(j.task+" can be polled", func() (string, bool) {
		resource, err := get(c.ctx, conn, j)
		phase = resource.GetPhase()
		return fmt.Sprint(err), err == nil
	})
	return phase
}

// greedyQuery takes a gigabyte of memory, all of it its answer's.
const greedyQuery = "select len(list(repeat('x', 1000) || range)) as answer from range(1500000)"

func outOfMemory(c *cell) {
	v := c.chartValues(values{"duckdb": duckdb(values{"memory_limit": "4GiB", "max_attempts": 1}), "chaos": c.chaos()}, values{
		"memory": values{"check": false}, "resources": values{"limits": values{"memory": "400Mi"}},
	})
	c.install(v)
	pod, conn := c.server().Name, c.byService()
	before := c.plugin(pod, "duckdb").PID
	polled := c.poll(map[string]func(context.Context) error{"polls of another plugin": polls(conn, c.begin(conn, "oom"+endless, chaosTask()))})
	greedy := c.begin(conn, "oom-greedy", query(greedyQuery))
	resource := c.end(conn, greedy)
	c.check(resource.GetPhase() != core.TaskExecution_SUCCEEDED, "the query found memory")
	c.until("duckdb has been started again", func() (string, bool) {
		status := c.plugin(pod, "duckdb")
		return status.State, status.PID != before && status.State == "running"
	})
	c.check(c.restarts(pod) == 0, "the kernel killed the host, too")
	c.note("the job: %s; %d calls of another plugin", resource.GetMessage(), c.over(polled))
	c.answers(conn, "oom-after")
}

func memoryLimit(c *cell) {
	plugin := duckdb(values{"memory_limit": "2GiB", "max_attempts": 1, "max_concurrent": 1})
	merge(plugin, values{"sandbox": values{"memory": "300MiB"}})
	v := c.chartValues(values{"duckdb": plugin, "chaos": c.chaos()}, values{
		"memory": values{"check": false}, "resources": values{"limits": values{"memory": "1500Mi"}},
	})
	c.install(v)
	pod, conn := c.server().Name, c.byService()
	before := c.plugin(pod, "duckdb").PID
	polled := c.poll(map[string]func(context.Context) error{"polls of another plugin": polls(conn, c.begin(conn, "limit"+endless, chaosTask()))})
	greedy := c.begin(conn, "limit-greedy", query(greedyQuery))
	c.until("duckdb has been started again", func() (string, bool) {
		status := c.plugin(pod, "duckdb")
		return status.State + " " + status.Reason, status.PID != before && status.State == "running"
	})
	c.check(c.restarts(pod) == 0, "the host was killed, too")
	reason := c.plugin(pod, "duckdb").Reason
	// The next process takes the query up, and meets the same end.
	c.must(agentclient.Client{Conn: conn, Flyte: agentclient.Flyte1}.Delete(c.ctx, greedy.Job))
	c.check(strings.Contains(reason, "memory"), "the host does not say why it restarted the plugin: %q", reason)
	c.note("%s; %d calls of another plugin", reason, c.over(polled))
	c.answers(conn, "limit-after")
}

func groupKill(c *cell) {
	c.killed(func(pod string) { c.signal(syscall.SIGKILL, c.processes(pod)...) })
}

func hostKill(c *cell) {
	c.killed(func(pod string) { c.signal(syscall.SIGKILL, c.host(pod)) })
}

// killed has the container restarted by what kills it, and holds that its jobs go on.
func (c *cell) killed(kill func(pod string)) {
	c.install(c.chartValues(values{"duckdb": duckdb(nil), "chaos": c.chaos()}))
	pod, conn := c.server().Name, c.byEndpoints()
	done := c.begin(conn, c.name+"-done", query("select 6 * 7 as answer"))
	c.succeed(conn, done)
	jobs := []job{c.begin(conn, c.name+"-query", query(slowQuery)), c.begin(conn, c.name+"-outside", chaosTask())}
	began := time.Now()
	kill(pod)
	c.until("the container has been started again", func() (string, bool) {
		return "", c.restarts(pod) == 1
	})
	c.untilReady(1)
	c.note("ready again after %.1f s", time.Since(began).Seconds())
	for _, j := range append(jobs, done) {
		c.succeed(conn, j)
	}
	c.madeOnce(c.name + "-outside")
}

func serviceAway(c *cell) {
	const giveUp = "6s"
	// An agent server elsewhere, which is away: nothing is wrong with the configuration, and its check says so.
	elsewhere := c.elsewhere()
	v := c.chartValues(values{"hello": hello(), "away": values{"address": []string{elsewhere.address}, "tls": "off"}},
		values{"config": values{"ready": values{"plugins": "all", "give_up": giveUp}}})
	c.must(elsewhere.open())
	c.install(v)
	types, err := listed(c.ctx, c.byService())
	c.must(err)
	c.check(types["hello"] && types[elsewhereType], "not all types are served: %v", types)

	// All pods go while it is away: as a node is lost, and a credential has run out.
	elsewhere.shut()
	before := c.server().Name
	began := time.Now()
	c.must(c.client.CoreV1().Pods(c.namespace).DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + hostContainer}))
	c.until("the new pod serves", func() (string, bool) {
		servers := c.servers()
		return describe(servers), len(servers) == 1 && servers[0].Name != before && isReady(servers[0])
	})
	c.note("the sound plugin served %.1f s after all pods were deleted; ready.give_up is %s", time.Since(began).Seconds(), giveUp)
	conn := c.byService()
	types, err = listed(c.ctx, conn)
	c.must(err)
	c.check(types["hello"], "the sound plugin does not serve: %v", types)
	pod := c.server().Name
	status := c.plugin(pod, "away")
	c.check(status.State != "running" && status.Reason != "", "the host does not say how the other plugin is: %+v", status)
	checked, err := c.log(c.ctx, pod, "check", false)
	c.must(err)
	c.check(strings.Contains(checked, "away: AWAY"), "the check does not say what is away: %s", checked)
	said := c.hostLog(pod)
	c.check(strings.Contains(said, "give_up"), "the host does not say that it has given up: %s", said)
	// When it is back, so is the plugin.
	c.must(elsewhere.open())
	c.until("both plugins serve", func() (string, bool) {
		types, err := listed(c.ctx, conn)
		return fmt.Sprint(types, err), types["hello"] && types[elsewhereType]
	})
}

func frozen(c *cell) {
	c.install(c.chartValues(values{"chaos": c.chaos()}, values{"replicaCount": 2}))
	pod := c.servers()[0]
	conn := c.byEndpoints()
	j := c.begin(conn, "frozen"+endless, chaosTask())
	host := c.host(pod.Name)
	began := time.Now()
	c.signal(syscall.SIGSTOP, host)
	c.cleanup(func() { _ = syscall.Kill(host.pid, syscall.SIGCONT) }) // it may have gone
	c.until("the pod gets no calls", func() (string, bool) {
		return describe(c.servers()), !isReady(c.pod(pod.Name))
	})
	c.note("out after %.1f s", time.Since(began).Seconds())
	fresh := freshly{"passthrough:///" + c.address()}
	c.until("the Service leads to the other pod", func() (string, bool) {
		_, err := get(c.ctx, fresh, j)
		return fmt.Sprint(err), err == nil
	})
	polled := c.poll(map[string]func(context.Context) error{"polls on fresh connections": polls(fresh, j)})
	began = time.Now()
	c.signal(syscall.SIGCONT, host)
	c.untilReady(2)
	c.note("back after %.1f s; %d calls meanwhile", time.Since(began).Seconds(), c.over(polled))
	c.check(c.restarts(pod.Name) == 0, "the host was restarted, which is not what a readiness probe is for")
}
