package chart

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// The commands of the pods are the program's: it knows their flags. What it says without a cluster is that it finds no host.
func TestTheProgramKnowsTheCommandsOfThePods(t *testing.T) {
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	out := render(t, merged(t, hello, "extraArgs: [--set, log.level=debug]", effects["test.task"].set))
	file := filepath.Join(t.TempDir(), "agenthost.yaml")
	content := get[*corev1.ConfigMap](t, out, "ConfigMap/flyteconnector-config").Data["agenthost.yaml"]
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"check":   {get[*appsv1.Deployment](t, out, "Deployment/flyteconnector").Spec.Template.Spec.InitContainers[0].Args, 0, "1 plugin"},
		"rollout": {get[*batchv1.Job](t, out, "Job/flyteconnector-rollout").Spec.Template.Spec.Containers[0].Args, 1, "there are no hosts to ask"},
		"task":    {get[*corev1.Pod](t, out, "Pod/flyteconnector-test").Spec.Containers[0].Args, 1, "flyteconnector.flyte.svc"},
	} {
		t.Run(name, func(t *testing.T) {
			var args []string
			for _, arg := range c.args {
				switch arg {
				case "/etc/agenthost/agenthost.yaml":
					arg = file
				case "180s":
					arg = "1s"
				case "dns:///flyteconnector-pods:9091":
					arg = "dns:///flyteconnector-pods.invalid:9091"
				case "--start": // there is no such plugin here
					continue
				}
				args = append(args, arg)
			}
			command := exec.Command(path, args...)
			said, err := command.CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if code := command.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(said), c.says) {
				t.Errorf("agenthost %s: exit code %d, not %d, or not %q:\n%s", strings.Join(args, " "), code, c.code, c.says, said)
			}
		})
	}
}

// The rollout check asks each pod by its address, and waits for the configuration that the pods read.
func TestTheRolloutCheckAsksEveryPod(t *testing.T) {
	out := render(t, merged(t, hello, "{config: {listen: {probe: '[::]:9191'}}, podEnv: [{name: AGENTHOST_LOG__LEVEL, value: debug}]}"))
	job := get[*batchv1.Job](t, out, "Job/flyteconnector-rollout")
	pods := get[*corev1.Service](t, out, "Service/flyteconnector-pods")
	host := get[*appsv1.Deployment](t, out, "Deployment/flyteconnector").Spec.Template.Spec
	container := job.Spec.Template.Spec.Containers[0]
	if !slices.Contains(container.Args, "dns:///flyteconnector-pods:9191") || pods.Spec.ClusterIP != "None" || pods.Spec.Ports[1].Port != 9191 || pods.Spec.PublishNotReadyAddresses {
		t.Errorf("it asks %v, and the Service is %+v", container.Args, pods.Spec)
	}
	if container.Image != host.Containers[0].Image || len(container.Env) != 1 || container.Env[0].Value != "debug" {
		t.Errorf("it reads the configuration otherwise than the host: %s %v", container.Image, container.Env)
	}
	if hook := job.Annotations["helm.sh/hook"]; hook != "post-install,post-upgrade" || *job.Spec.BackoffLimit != 0 {
		t.Errorf("it runs at %q, and again %d times", hook, *job.Spec.BackoffLimit)
	}
	if !strings.Contains(job.Annotations["helm.sh/hook-delete-policy"], "before-hook-creation") || strings.Contains(job.Annotations["helm.sh/hook-delete-policy"], "hook-failed") {
		t.Errorf("what it said is gone when it fails: %v", job.Annotations)
	}
	if *job.Spec.ActiveDeadlineSeconds <= 180 {
		t.Errorf("it is ended after %d s, before it has said anything", *job.Spec.ActiveDeadlineSeconds)
	}
}
