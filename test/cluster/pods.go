package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/agenthost/agenthost/host/admin"
)

// hostContainer is the name of the container with the host, which is that of the release's objects.
const hostContainer = "flyteconnector"

// pods are the pods of the release, the oldest first. Those of hooks are none of them.
func (c *cell) pods() []corev1.Pod {
	pods, err := c.listPods(c.ctx)
	c.must(err)
	return pods
}

func (c *cell) listPods(ctx context.Context) ([]corev1.Pod, error) {
	pods, err := c.client.CoreV1().Pods(c.namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + hostContainer})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(pods.Items, func(a, b corev1.Pod) int {
		if order := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); order != 0 {
			return order
		}
		return strings.Compare(a.Name, b.Name)
	})
	return pods.Items, nil
}

// servers are the pods that are not on their way out.
func (c *cell) servers() []corev1.Pod {
	return slices.DeleteFunc(c.pods(), func(p corev1.Pod) bool {
		return p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
}

// server is the only pod that serves.
func (c *cell) server() corev1.Pod {
	servers := c.servers()
	c.check(len(servers) == 1, "there are %d pods, where one was expected", len(servers))
	return servers[0]
}

// pod is a pod as it is now.
func (c *cell) pod(name string) corev1.Pod {
	pod, err := c.client.CoreV1().Pods(c.namespace).Get(c.ctx, name, metav1.GetOptions{})
	c.must(err)
	return *pod
}

func isReady(pod corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(condition corev1.PodCondition) bool {
		return condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue
	})
}

// untilReady waits until so many pods are there and ready, and no others on their way in.
func (c *cell) untilReady(count int) {
	c.until(fmt.Sprintf("%d pods are ready", count), func() (string, bool) {
		servers := c.servers()
		ready := 0
		for _, pod := range servers {
			if isReady(pod) {
				ready++
			}
		}
		return describe(servers), ready == count && len(servers) == count
	})
}

// describe says how pods are.
func describe(pods []corev1.Pod) string {
	var all []string
	for _, pod := range pods {
		said := fmt.Sprintf("%s %s, ready %t", pod.Name, pod.Status.Phase, isReady(pod))
		for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			if waiting := status.State.Waiting; waiting != nil {
				said += fmt.Sprintf(", %s waits: %s %s", status.Name, waiting.Reason, waiting.Message)
			}
		}
		all = append(all, said)
	}
	return strings.Join(all, "; ")
}

// container is how a container of a pod is.
func (c *cell) container(pod, name string) corev1.ContainerStatus {
	found := c.pod(pod)
	statuses := slices.Concat(found.Status.InitContainerStatuses, found.Status.ContainerStatuses)
	at := slices.IndexFunc(statuses, func(s corev1.ContainerStatus) bool { return s.Name == name })
	c.check(at >= 0, "the pod %s has no container %s", pod, name)
	return statuses[at]
}

// restarts is how often the host's container was started again.
func (c *cell) restarts(pod string) int32 { return c.container(pod, hostContainer).RestartCount }

func (c *cell) log(ctx context.Context, pod, container string, previous bool) (string, error) {
	stream, err := c.client.CoreV1().Pods(c.namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container, Previous: previous}).Stream(ctx)
	if err != nil {
		return "", err
	}
	defer stream.Close()
	content, err := io.ReadAll(stream)
	return string(content), err
}

// hostLog is what the host in a pod has logged.
func (c *cell) hostLog(pod string) string {
	log, err := c.log(c.ctx, pod, hostContainer, false)
	c.must(err)
	return log
}

// eventLines are the events of the namespace, in order.
func (c *cell) eventLines(ctx context.Context) ([]string, error) {
	events, err := c.client.CoreV1().Events(c.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(events.Items, func(a, b corev1.Event) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	var lines []string
	for _, event := range events.Items {
		lines = append(lines, fmt.Sprintf("%s %s %s/%s: %s", event.CreationTimestamp.Format("15:04:05"), event.Reason, event.InvolvedObject.Kind, event.InvolvedObject.Name, event.Message))
	}
	return lines, nil
}

// inPod runs agenthost in a pod's container, as `kubectl exec` does for an operator.
func (c *cell) inPod(pod string, arguments ...string) (string, error) {
	return c.kubectl(append([]string{"exec", pod, "--container", hostContainer, "--", "agenthost"}, arguments...)...)
}

// status is what `agenthost status` says in a pod.
func (c *cell) status(pod string) admin.Status {
	said, err := c.inPod(pod, "status", "--output", "json")
	c.must(err)
	var status admin.Status
	c.must(json.Unmarshal([]byte(said), &status))
	return status
}

// plugin is how a plugin is, by the status of a pod's host.
func (c *cell) plugin(pod, name string) admin.PluginStatus {
	plugins := c.status(pod).Plugins
	at := slices.IndexFunc(plugins, func(p admin.PluginStatus) bool { return p.Name == name })
	c.check(at >= 0, "the host in %s knows no plugin %s", pod, name)
	return plugins[at]
}

// kubectl runs kubectl in the case's namespace.
func (c *cell) kubectl(arguments ...string) (string, error) {
	command := exec.CommandContext(c.ctx, "kubectl", append([]string{"--namespace", c.namespace}, arguments...)...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %s: %w: %s%s", strings.Join(arguments, " "), err, out, stderr.String())
	}
	return string(out), nil
}

// process is a process of a container, as the node sees it.
type process struct {
	pid     int
	command string // its program's path
}

// processes are the processes of the host's container in a pod.
func (c *cell) processes(pod string) []process {
	_, id, _ := strings.Cut(c.container(pod, hostContainer).ContainerID, "://")
	c.check(id != "", "the container in %s does not run", pod)
	entries, err := os.ReadDir("/proc")
	c.must(err)
	var found []process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		// Whoever has ended since then is not there.
		group, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cgroup"))
		line, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if program, _, _ := strings.Cut(string(line), "\x00"); program != "" && strings.Contains(string(group), id) {
			found = append(found, process{pid, program})
		}
	}
	return found
}

// host is the host's process in a pod.
func (c *cell) host(pod string) process {
	return c.processOf(pod, "agenthost")
}

// processOf is the process in a pod that runs a program, by its name.
func (c *cell) processOf(pod, program string) process {
	processes := c.processes(pod)
	at := slices.IndexFunc(processes, func(p process) bool { return filepath.Base(p.command) == program })
	c.check(at >= 0, "no process in %s runs %s: %v", pod, program, processes)
	return processes[at]
}

// signal sends a signal to processes.
func (c *cell) signal(signal syscall.Signal, processes ...process) {
	for _, p := range processes {
		c.must(syscall.Kill(p.pid, signal))
	}
}
