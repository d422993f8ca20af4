package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/agenthost/agenthost/test/chaos/ledger"
)

// The cases about pods that are replaced, added and taken away on purpose.

// slowQuery takes some seconds of a processor.
const slowQuery = "select count(*) as answer from range(16000) a, range(16000) b where (a.range * b.range) % 7 = 3"

// slowAnswer is its answer.
const slowAnswer = 31345632

// flyteClients are the calls that go on while pods come and go: polls of a job, new jobs and discovery, over connections of Flyte's kinds.
func (c *cell) flyteClients() map[string]func(context.Context) error {
	endpoints, kept, fresh := c.byEndpoints(), c.byService(), freshly{"passthrough:///" + c.address()}
	endlessJob := c.begin(endpoints, c.name+endless, chaosTask())
	var made int
	return map[string]func(context.Context) error{
		"polls by k8s://":            polls(endpoints, endlessJob),
		"polls by the ClusterIP":     polls(kept, endlessJob),
		"polls on fresh connections": polls(fresh, endlessJob),
		"discovery by k8s://":        lists(endpoints, chaosType),
		"discovery by the ClusterIP": lists(kept, chaosType),
		"creations by k8s://": func(ctx context.Context) error {
			made++
			return creates(ctx, endpoints, fmt.Sprintf("%s-new-%d", c.name, made))
		},
		"discovery, fresh connections": lists(fresh, chaosType),
	}
}

func creates(ctx context.Context, conn grpc.ClientConnInterface, name string) error {
	_, err := begin(ctx, conn, name, chaosTask())
	return err
}

func rollingUpdate(c *cell) {
	v := c.chartValues(values{"chaos": c.chaos()}, values{"replicaCount": 2})
	c.install(v)
	polled := c.poll(c.flyteClients())
	for i := range 2 {
		before := c.names()
		began := time.Now()
		merge(v, values{"podAnnotations": values{"rollout": fmt.Sprint(i)}})
		c.must(c.upgrade(v, "--wait"))
		c.until("the former pods have gone", func() (string, bool) {
			names := c.names()
			for name := range before {
				if names[name] {
					return strings.Join(keys(names), ", "), false
				}
			}
			return "", true
		})
		c.note("rollout %d took %.1f s until the last former pod had gone", i+1, time.Since(began).Seconds())
		if i == 0 {
			events, err := c.eventLines(c.ctx)
			c.must(err)
			c.must(c.write("events-of-a-rollout.txt", []byte(strings.Join(events, "\n")+"\n")))
		}
	}
	c.note("%d calls", c.over(polled))
}

// names are those of all pods that are there.
func (c *cell) names() map[string]bool {
	names := map[string]bool{}
	for _, pod := range c.pods() {
		names[pod.Name] = true
	}
	return names
}

func keys(names map[string]bool) []string {
	var all []string
	for name := range names {
		all = append(all, name)
	}
	return all
}

func replicas(c *cell) {
	bare := c.chartValues(values{"duckdb": duckdb(nil)}, values{"replicaCount": 2})
	err := c.helm("install", c.Chart, bare)
	c.check(err != nil && strings.Contains(err.Error(), "duckdb") && strings.Contains(err.Error(), "persistence"),
		"two replicas without a volume that both can write are not refused for that: %v", err)
	c.install(c.chartValues(values{"duckdb": duckdb(nil)}, c.shared(), values{"replicaCount": 2}))
	servers := c.servers()
	c.check(len(servers) == 2, "there are %d replicas", len(servers))
	first, second := c.toPod(servers[0]), c.toPod(servers[1])
	const jobs = 20
	var all []job
	for i := range jobs {
		all = append(all, c.begin([]*grpc.ClientConn{first, second}[i%2], fmt.Sprintf("replicas-%d", i), query("select 6 * 7 as answer")))
	}
	slow := c.begin(first, "replicas-slow", query(slowQuery))
	for _, conn := range []*grpc.ClientConn{first, second} {
		for _, j := range all {
			c.succeed(conn, j)
		}
	}
	// While it runs in one pod, the other says so.
	resource, err := get(c.ctx, second, slow)
	c.must(err)
	c.check(!isOver(resource.GetPhase()) || resource.GetPhase().String() == "SUCCEEDED", "the other replica says %s: %s", resource.GetPhase(), resource.GetMessage())
	answer := c.succeed(second, slow).GetOutputs().GetLiterals()["answer"].GetScalar().GetPrimitive().GetInteger()
	c.check(answer == slowAnswer, "the answer is %d", answer)
	again := c.begin(second, "replicas-slow", query(slowQuery))
	c.succeed(first, again)
	c.note("%d jobs, each polled at both", jobs)
}

func autoscaler(c *cell) {
	v := c.chartValues(values{"chaos": c.chaos()}, values{"autoscaling": values{
		"enabled": true, "minReplicas": 1, "maxReplicas": 3, "callsInFlight": 4,
		"behavior": values{"scaleDown": values{"stabilizationWindowSeconds": 0}},
	}})
	c.install(v)
	scaler := c.hpa()
	c.check(len(scaler.Spec.Metrics) > 0 && scaler.Spec.Metrics[0].Pods != nil, "the autoscaler looks at no metric of pods: %v", scaler.Spec.Metrics)
	metric := scaler.Spec.Metrics[0].Pods.Metric.Name
	_, err := scrape(c.ctx, c.server(), metric)
	c.check(err == nil, "the host has no metric %s, which the autoscaler looks at: %v", metric, err)
	c.serveMetrics(metric)

	// Each call takes its time, so that there are as many in flight as there are clients.
	c.system.SetWeather(c.name, ledger.Weather{Until: time.Now().Add(caseLimit), Delay: time.Second})
	conn := c.byEndpoints()
	calls := map[string]func(context.Context) error{}
	for i := range 12 {
		j := c.begin(conn, fmt.Sprintf("autoscaler-%d%s", i, endless), chaosTask())
		calls[j.task] = polls(conn, j)
	}
	polled := c.poll(calls)
	began := time.Now()
	c.until("there are 3 replicas", func() (string, bool) {
		scaler := c.hpa()
		return fmt.Sprint(scaler.Status.DesiredReplicas, scaler.Status.Conditions), scaler.Status.CurrentReplicas == 3
	})
	c.untilReady(3)
	c.note("3 replicas %.1f s after there were 12 calls in flight", time.Since(began).Seconds())
	c.system.SetWeather(c.name, ledger.Weather{})
	c.until("there is 1 replica", func() (string, bool) {
		servers := c.servers()
		return describe(servers), len(servers) == 1
	})
	c.note("%d calls", c.over(polled))
}

func (c *cell) hpa() autoscalingv2.HorizontalPodAutoscaler {
	found, err := c.client.AutoscalingV2().HorizontalPodAutoscalers(c.namespace).Get(c.ctx, serviceName, metav1.GetOptions{})
	c.must(err)
	return *found
}

// serveMetrics serves a metric of pods to the autoscaler, as an adapter for Prometheus does.
func (c *cell) serveMetrics(metric string) {
	address, _ := c.serveTLS(&metricsAPI{c.client, metric})
	_, port, _ := strings.Cut(address, ":")
	file := filepath.Join(c.folder, "metrics.yaml")
	c.must(os.WriteFile(file, fmt.Appendf(nil, `
apiVersion: v1
kind: Service
metadata: {name: metrics, namespace: kube-system}
spec: {ports: [{port: 443, targetPort: %[1]s}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: metrics, namespace: kube-system, labels: {kubernetes.io/service-name: metrics}}
addressType: IPv4
ports: [{port: %[1]s}]
endpoints: [{addresses: [%[2]s]}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta2.%[3]s}
spec:
  group: %[3]s
  version: v1beta2
  service: {name: metrics, namespace: kube-system}
  insecureSkipTLSVerify: true
  groupPriorityMinimum: 100
  versionPriority: 100
`, port, nodeAddress, metricsGroup), 0o600))
	_, err := c.kubectl("apply", "--namespace", "kube-system", "--filename", file)
	c.must(err)
	// Without its server, the group would keep namespaces from being removed.
	c.cleanup(func() { _, _ = c.kubectl("delete", "apiservice", "v1beta2."+metricsGroup) })
}

func stop(c *cell) {
	folder := c.sharedFolder()
	c.volume("jobs", folder, corev1.ReadWriteMany)
	c.install(c.chartValues(values{"duckdb": duckdb(nil), "chaos": c.chaos()}, values{"persistence": values{"enabled": true, "existingClaim": "jobs"}}))
	pod := c.server()
	conn := c.byService()
	c.answers(conn, "stop-before")
	c.begin(conn, "stop-slow", query(slowQuery))
	watch, err := c.client.CoreV1().Pods(c.namespace).Watch(c.ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + pod.Name})
	c.must(err)
	defer watch.Stop()
	logged := make(chan string, 1)
	go func() {
		stream, err := c.client.CoreV1().Pods(c.namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: hostContainer, Follow: true}).Stream(c.ctx)
		logged <- readAll(stream, err)
	}()
	began := time.Now()
	c.must(c.helmCommand("uninstall", release))
	var last *corev1.ContainerStateTerminated
	for event := range watch.ResultChan() {
		if seen, ok := event.Object.(*corev1.Pod); ok {
			for _, status := range seen.Status.ContainerStatuses {
				if status.State.Terminated != nil {
					last = status.State.Terminated
				}
			}
		}
		if event.Type == "DELETED" {
			break
		}
	}
	c.check(last != nil && last.ExitCode == 0, "the container did not end by itself: %+v", last)
	said := <-logged
	c.check(strings.Contains(said, "agenthost has stopped"), "the host does not say that it has stopped: %s", said)
	c.note("stopped after %.1f s with a query running", time.Since(began).Seconds())
	claim, err := c.client.CoreV1().PersistentVolumeClaims(c.namespace).Get(c.ctx, "jobs", metav1.GetOptions{})
	c.must(err)
	c.check(claim.DeletionTimestamp == nil, "the claim of the jobs' volume goes with the release")
	left, err := c.kubectl("get", "all", "--output", "name")
	c.must(err)
	c.check(strings.TrimSpace(left) == "", "the release leaves %s", left)
}

func drain(c *cell) {
	v := c.chartValues(values{"chaos": c.chaos()}, values{"replicaCount": 2})
	c.install(v)
	polled := c.poll(c.flyteClients())
	c.cordon(true)
	c.cleanup(func() { c.cordon(false) })
	before := c.servers()
	c.must(c.evict(before[0].Name))
	c.until("the first pod has gone", func() (string, bool) {
		return "", !c.names()[before[0].Name]
	})
	// There is no room for another pod, and so the budget holds the last one.
	err := c.evict(before[1].Name)
	c.check(apierrors.IsTooManyRequests(err) && strings.Contains(err.Error(), "disruption budget"), "the last pod is not held by the budget: %v", err)
	c.cordon(false)
	c.untilReady(2)
	c.until("the budget lets the second pod go", func() (string, bool) {
		err := c.evict(before[1].Name)
		return fmt.Sprint(err), err == nil
	})
	c.until("the second pod has gone", func() (string, bool) {
		return "", !c.names()[before[1].Name]
	})
	c.untilReady(2)
	c.note("%d calls", c.over(polled))
}

// evict asks for a pod to go, as a drain does.
func (c *cell) evict(pod string) error {
	return c.client.PolicyV1().Evictions(c.namespace).Evict(c.ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: c.namespace}})
}

// cordon has no pod put on the node, or again.
func (c *cell) cordon(closed bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), callLimit)
	defer cancel()
	_, err := c.client.CoreV1().Nodes().Patch(ctx, "node", types.MergePatchType, fmt.Appendf(nil, `{"spec": {"unschedulable": %t}}`, closed), metav1.PatchOptions{})
	if !closed {
		return // also when the case is over
	}
	c.must(err)
}
