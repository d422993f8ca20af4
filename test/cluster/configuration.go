package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The cases about configurations: sound ones, changed ones, refused ones.

func install(c *cell) {
	c.install(c.chartValues(values{"duckdb": duckdb(nil)}, values{
		"test": values{"task": []string{"--type", "duckdb_query", "--sql", "select 6 * 7 as answer", "--want", "answer:int"}},
	}))
	c.answers(c.byService(), "install-service")
	c.answers(c.byEndpoints(), "install-endpoints")
	c.must(c.helmCommand("test", release))
	said, err := os.ReadFile(filepath.Join(c.folder, "helm.txt"))
	c.must(err)
	c.check(!strings.Contains(string(said), "would violate PodSecurity"), "the namespace's PodSecurity warns: %s", said)
	pod := c.server()
	for _, volume := range pod.Spec.Volumes {
		c.check(volume.Projected == nil, "the pod has a token of its service account: %s", volume.Name)
	}
	for _, container := range pod.Spec.Containers {
		c.check(container.ReadinessProbe != nil && container.ReadinessProbe.GRPC != nil, "readiness of %s is not asked by gRPC", container.Name)
	}
	c.check(c.restarts(pod.Name) == 0, "the host was restarted")
}

func swapByConfigMap(c *cell) {
	c.install(c.chartValues(values{"duckdb": duckdb(nil), "chaos": c.chaos()}))
	pod, before := c.server().Name, c.plugin(c.server().Name, "duckdb").PID
	conn := c.byService()
	slow := c.begin(conn, "swap-slow", query(slowQuery))
	polled := c.poll(map[string]func(context.Context) error{"polls of duckdb": polls(conn, slow), "discovery": lists(freshly{"passthrough:///" + c.address()}, "duckdb_query")})
	began := time.Now()
	// The hook of the release waits until the host runs it.
	c.must(c.upgrade(c.chartValues(values{"duckdb": duckdb(values{"memory_limit": "120MiB"}), "chaos": c.chaos()}), "--wait"))
	c.note("the release knew after %.1f s", time.Since(began).Seconds())
	c.check(c.server().Name == pod && c.restarts(pod) == 0, "the pod %s was replaced", pod)
	c.check(c.plugin(pod, "duckdb").PID != before, "the plugin is the same process")
	c.succeed(conn, slow)
	c.note("%d calls", c.over(polled))
	c.answers(conn, "swap-after")
}

func swapBySecret(c *cell) {
	v := func(token string) values {
		plugin := c.chaos()
		plugin["secrets"] = values{"token": "file:///etc/secrets/token"}
		return c.chartValues(values{"chaos": plugin}, values{"connectorSecret": values{"secretData": values{"stringData": values{"token": token}}}})
	}
	c.install(v("first"))
	pod := c.server().Name
	c.check(c.secretOf(pod, "chaos", "token") == "first", "the plugin has another secret: %q", c.secretOf(pod, "chaos", "token"))
	conn := c.byService()
	polled := c.poll(map[string]func(context.Context) error{"polls": polls(conn, c.begin(conn, "secret"+endless, chaosTask()))})
	began := time.Now()
	c.must(c.upgrade(v("second")))
	c.hasten(pod)
	c.until("the plugin has the new secret", func() (string, bool) {
		secret := c.secretOf(pod, "chaos", "token")
		return secret, secret == "second"
	})
	c.note("the plugin had it after %.1f s", time.Since(began).Seconds())
	c.check(c.server().Name == pod && c.restarts(pod) == 0, "the pod %s was replaced", pod)
	c.note("%d calls", c.over(polled))
}

// secretOf reads a secret where the plugin that serves finds it.
func (c *cell) secretOf(pod, program, secret string) string {
	processes := c.processes(pod)
	found := ""
	for _, p := range processes {
		if filepath.Base(p.command) != program {
			continue
		}
		environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid))
		if err != nil {
			continue // it has ended
		}
		for _, variable := range strings.Split(string(environment), "\x00") {
			if folder, ok := strings.CutPrefix(variable, "FLYTE_SECRETS_DEFAULT_DIR="); ok {
				if content, err := os.ReadFile(filepath.Join(fmt.Sprintf("/proc/%d/root", p.pid), folder, secret)); err == nil {
					found = string(content)
				}
			}
		}
	}
	return found
}

// hasten has the kubelet look at a pod's volumes now instead of within a minute.
func (c *cell) hasten(pod string) {
	_, err := c.kubectl("annotate", "--overwrite", "pod", pod, fmt.Sprintf("cluster-test/hastened=%d", time.Now().UnixNano()))
	c.must(err)
}

func refusedRollout(c *cell) {
	good := values{"duckdb": duckdb(nil)}
	c.install(c.chartValues(good))
	before := c.server()
	conn := c.byService()
	polled := c.poll(map[string]func(context.Context) error{"discovery": lists(conn, "duckdb_query")})
	// What the first container says is only there while its pod is.
	told := make(chan string, 1)
	go func() { told <- c.refusal(before.Name) }()
	bad := c.chartValues(values{"duckdb": duckdb(values{"memory_limit": "nonsense"})}, values{"podAnnotations": values{"release": "2"}})
	err := c.upgrade(bad, "--atomic", "--timeout", "25s")
	c.check(err != nil, "a refused configuration was rolled out")
	c.check(strings.Contains(err.Error(), "rolled back") || strings.Contains(err.Error(), "has been rolled back"), "helm failed for another reason: %v", err)
	reason := <-told
	c.check(strings.Contains(reason, "duckdb") && strings.Contains(reason, "memory_limit") && strings.Contains(reason, "nonsense"),
		"the new pod does not say what is wrong: %s", reason)
	after := c.pod(before.Name)
	c.check(isReady(after) && c.restarts(before.Name) == 0, "the old pod does not serve: %s", describe([]corev1.Pod{after}))
	c.note("%d calls", c.over(polled))
	c.answers(conn, "refused-rollout")
}

// refusal waits for a pod beside another one whose first container has failed, and gives its log.
func (c *cell) refusal(beside string) string {
	said := ""
	err := c.await("a new pod refuses its configuration", func() (string, bool) {
		pods, err := c.listPods(c.ctx)
		if err != nil {
			return err.Error(), false
		}
		for _, pod := range pods {
			if pod.Name == beside {
				continue
			}
			for _, status := range pod.Status.InitContainerStatuses {
				if status.State.Terminated == nil && status.LastTerminationState.Terminated == nil {
					continue
				}
				log, err := c.log(c.ctx, pod.Name, status.Name, status.State.Terminated == nil)
				if err == nil && log != "" {
					said = log
					return "", true
				}
			}
		}
		return describe(pods), false
	})
	if err != nil {
		return err.Error()
	}
	return said
}

func refusedSwap(c *cell) {
	c.install(c.chartValues(values{"duckdb": duckdb(nil)}))
	pod := c.server().Name
	conn := c.byService()
	polled := c.poll(map[string]func(context.Context) error{"discovery": lists(conn, "duckdb_query")})
	began := time.Now()
	err := c.upgrade(c.chartValues(values{"duckdb": duckdb(values{"memory_limit": "nonsense"})}), "--wait")
	c.check(err != nil, "helm says that a configuration is deployed which no host runs")
	c.check(strings.Contains(err.Error(), "post-upgrade"), "helm failed for another reason: %v", err)
	c.note("the release had failed after %.1f s", time.Since(began).Seconds())
	reason := c.hookLog()
	c.check(strings.Contains(reason, "duckdb"), "the hook does not say what is wrong: %s", reason)
	status := c.plugin(pod, "duckdb")
	c.check(strings.Contains(status.SwapError, "memory_limit"), "the host does not say what is wrong: %q", status.SwapError)
	c.check(c.server().Name == pod && c.restarts(pod) == 0, "the pod %s was replaced", pod)
	c.note("%d calls", c.over(polled))
	c.answers(conn, "refused-swap")
}

// hookLog is what the pods of hooks have said.
func (c *cell) hookLog() string {
	pods, err := c.client.CoreV1().Pods(c.namespace).List(c.ctx, metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name"})
	c.must(err)
	c.check(len(pods.Items) > 0, "no pod of a hook is left that could say why")
	said := ""
	for _, pod := range pods.Items {
		for _, container := range pod.Spec.Containers {
			log, err := c.log(c.ctx, pod.Name, container.Name, false)
			c.must(err)
			said += log
		}
	}
	return said
}

func brokenFile(c *cell) {
	c.install(c.chartValues(values{"duckdb": duckdb(nil)}))
	pod := c.server().Name
	conn := c.byService()
	c.answers(conn, "broken-before")
	found, err := c.client.CoreV1().ConfigMaps(c.namespace).Get(c.ctx, configName, metav1.GetOptions{})
	c.must(err)
	sound := found.Data["agenthost.yaml"]
	c.check(sound != "", "the ConfigMap has no agenthost.yaml")
	c.setFile("plugins: {duckdb: {comand: [/plugins/duckdb/duckdb]}}\n")
	c.hasten(pod)
	c.until("the host sees the broken file", func() (string, bool) {
		said := c.status(pod).Host.ConfigError
		return said, strings.Contains(said, "comand")
	})
	c.signal(9, c.host(pod))
	c.until("the container has been restarted", func() (string, bool) {
		return "", c.restarts(pod) == 1
	})
	c.untilReady(1)
	c.answers(conn, "broken-restarted")
	status := c.status(pod).Host
	c.check(strings.Contains(status.ConfigError, "comand"), "the status does not say what is wrong with the file: %q", status.ConfigError)
	log := c.hostLog(pod)
	c.check(strings.Contains(log, "starts with the last sound one"), "the log does not say what is served: %s", log)
	// A broken file keeps new pods out, which is told before any of them serves.
	_, err = c.inPod(pod, "check", "--config", "/etc/agenthost/agenthost.yaml")
	c.check(err != nil && strings.Contains(err.Error(), "comand"), "check does not say what is wrong: %v", err)
	c.setFile(sound)
	c.hasten(pod)
	c.until("the host has the sound file again", func() (string, bool) {
		said := c.status(pod).Host.ConfigError
		return said, said == ""
	})
	c.answers(conn, "broken-mended")
}

// setFile changes the host's file in the ConfigMap, past helm.
func (c *cell) setFile(content string) {
	patch := fmt.Sprintf(`{"data": {"agenthost.yaml": %q}}`, content)
	_, err := c.client.CoreV1().ConfigMaps(c.namespace).Patch(c.ctx, configName, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	c.must(err)
}
