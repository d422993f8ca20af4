package chart

import (
	"maps"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// pod is what makes a pod.
type pod struct {
	name string
	meta metav1.ObjectMeta
	spec corev1.PodSpec
}

// pods are the pods that rendered objects make.
func (r *rendered) pods() []pod {
	var pods []pod
	for _, name := range slices.Sorted(maps.Keys(r.objects)) {
		switch object := r.objects[name].(type) {
		case *appsv1.Deployment:
			pods = append(pods, pod{name, object.Spec.Template.ObjectMeta, object.Spec.Template.Spec})
		case *batchv1.Job:
			pods = append(pods, pod{name, object.Spec.Template.ObjectMeta, object.Spec.Template.Spec})
		case *corev1.Pod:
			pods = append(pods, pod{name, object.ObjectMeta, object.Spec})
		}
	}
	return pods
}

// checkPods holds what all pods have in common: a restricted namespace takes them, every mount has its volume, and nothing is mounted twice.
func checkPods(t testingT, out *rendered) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatalf("%v", err)
	}
	for _, pod := range out.pods() {
		restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
		if verdict := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &pod.meta, &pod.spec)); !verdict.Allowed {
			t.Fatalf("%s is refused in a restricted namespace: %s", pod.name, verdict.ForbiddenDetail())
		}
		if pod.spec.EnableServiceLinks == nil || *pod.spec.EnableServiceLinks {
			t.Fatalf("%s gets the addresses of all services as variables", pod.name)
		}
		if pod.spec.AutomountServiceAccountToken == nil {
			t.Fatalf("%s leaves it to its account whether there is a token", pod.name)
		}
		volumes := map[string]bool{}
		for _, volume := range pod.spec.Volumes {
			if volumes[volume.Name] {
				t.Fatalf("%s has two volumes %s", pod.name, volume.Name)
			}
			volumes[volume.Name] = true
		}
		for _, container := range append(slices.Clone(pod.spec.InitContainers), pod.spec.Containers...) {
			paths := map[string]bool{}
			for _, mount := range container.VolumeMounts {
				if !volumes[mount.Name] {
					t.Fatalf("%s: there is no volume %s", pod.name, mount.Name)
				}
				if paths[mount.MountPath] {
					t.Fatalf("%s: two volumes at %s", pod.name, mount.MountPath)
				}
				if paths[mount.MountPath] = true; mount.Name == "config" && (mount.SubPath != "" || mount.SubPathExpr != "") {
					t.Fatalf("%s: a subPath never follows its ConfigMap", pod.name)
				}
			}
			if context := container.SecurityContext; context.ReadOnlyRootFilesystem == nil || !*context.ReadOnlyRootFilesystem {
				t.Fatalf("%s: %s can write its root file system", pod.name, container.Name)
			}
		}
	}
}

func TestEveryExampleRunsInARestrictedNamespace(t *testing.T) {
	for name, values := range examples(t) {
		t.Run(name, func(t *testing.T) { checkPods(t, render(t, values)) })
	}
}

// Only the Deployment's pods are endpoints of the Service, and counted by the PodDisruptionBudget.
func TestNoOtherPodIsTakenForAHost(t *testing.T) {
	out := render(t, merged(t, hello, effects["test.task"].set))
	selector := get[*corev1.Service](t, out, "Service/flyteconnector").Spec.Selector
	for _, pod := range out.pods() {
		selected := true
		for key, value := range selector {
			selected = selected && pod.meta.Labels[key] == value
		}
		if selected != (pod.name == "Deployment/flyteconnector") {
			t.Errorf("%s, with the labels %v: selected %t", pod.name, pod.meta.Labels, selected)
		}
	}
}

// deploymentOf is the Deployment that values make, and its only own container.
func deploymentOf(t *testing.T, values string) (*appsv1.Deployment, corev1.Container) {
	t.Helper()
	d := get[*appsv1.Deployment](t, render(t, values), "Deployment/flyteconnector")
	return d, d.Spec.Template.Spec.Containers[0]
}

func TestARolloutKeepsTheOldPodsUntilTheNewOnesServe(t *testing.T) {
	d, host := deploymentOf(t, hello)
	if unavailable := d.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue(); unavailable != 0 {
		t.Errorf("maxUnavailable is %d", unavailable)
	}
	ready := host.ReadinessProbe
	if ready.GRPC == nil || ready.GRPC.Port != 9091 || ready.TimeoutSeconds != 5 {
		t.Errorf("readiness is asked otherwise: %+v", ready)
	}
	check := d.Spec.Template.Spec.InitContainers[0]
	if want := []string{"check", "--start", "--config", "/etc/agenthost/agenthost.yaml"}; !slices.Equal(check.Args, want) {
		t.Errorf("the check is %v", check.Args)
	}
	if !slices.EqualFunc(check.VolumeMounts, host.VolumeMounts, func(a, b corev1.VolumeMount) bool { return a.Name == b.Name && a.MountPath == b.MountPath }) {
		t.Errorf("the check sees other files than the host: %v and %v", check.VolumeMounts, host.VolumeMounts)
	}
	// drain_delay 5s, shutdown_timeout 30s, the longest stop_timeout 10s, and 5 s.
	if grace := *d.Spec.Template.Spec.TerminationGracePeriodSeconds; grace != 50 {
		t.Errorf("the grace period is %d", grace)
	}
	d, _ = deploymentOf(t, merged(t, hello, "config: {drain_delay: 1m30s, shutdown_timeout: 1500ms, plugins: {slow: {command: [x], stop_timeout: 2m}, far: {address: ['a:1'], drain_timeout: 1h}}}"))
	if grace := *d.Spec.Template.Spec.TerminationGracePeriodSeconds; grace != 90+2+120+5 {
		t.Errorf("the grace period is %d", grace)
	}
}

func TestOnlyWhatAHostCannotTakeUpRestartsThePods(t *testing.T) {
	annotations := func(values string) map[string]string {
		d, _ := deploymentOf(t, merged(t, hello, values))
		return d.Spec.Template.Annotations
	}
	base := annotations("{}")
	for values, restarts := range map[string]bool{
		"config: {plugins: {b: {command: [b]}}}":                            false,
		"config: {routes: [{task: a, plugin: hello}]}":                      false,
		"config: {create: {on_record: on}}":                                 false,
		"config: {access: {rules: [{anyone: true, may: [list]}]}}":          false,
		"config: {log: {level: debug}}":                                     true,
		"config: {listen: {pprof: on}}":                                     true,
		"config: {shutdown_timeout: 31s}":                                   true,
		"config: {limits: {calls: 7}}":                                      true,
		"{restartOnChange: never, config: {log: {level: debug}}}":           true, // the annotation is gone
		"{restartOnChange: always, config: {plugins: {b: {command: [b]}}}}": true,
	} {
		if now := annotations(values); maps.Equal(now, base) == restarts {
			t.Errorf("%s: %v, was %v", values, now, base)
		}
	}
	never := annotations("restartOnChange: never")
	if !maps.Equal(never, annotations("{restartOnChange: never, config: {log: {level: debug}}}")) {
		t.Error("never: a change restarts all the same")
	}
	always := annotations("restartOnChange: always")
	if maps.Equal(always, annotations("{restartOnChange: always, config: {plugins: {b: {command: [b]}}}}")) {
		t.Error("always: a change of a plugin restarts nothing")
	}
}

func TestAClaimNamesAStorageClassOrNone(t *testing.T) {
	for class, want := range map[string]string{"''": "the cluster's", "fast": "fast", "'-'": ""} {
		out := render(t, merged(t, hello, "persistence: {enabled: true, storageClassName: "+class+"}"))
		got := "the cluster's"
		if named := get[*corev1.PersistentVolumeClaim](t, out, "PersistentVolumeClaim/flyteconnector-data").Spec.StorageClassName; named != nil {
			got = *named
		}
		if got != want {
			t.Errorf("%s: %q, not %q", class, got, want)
		}
	}
}

func TestPodsGetATokenWhereTheyNeedOne(t *testing.T) {
	for values, token := range map[string]bool{
		"{}":                    false,
		"rbac: {secrets: [db]}": true,
		"config: {create: {keys: 'kubernetes://flyte/keys#keys'}}":                                            true,
		"config: {plugins: {hello: {secrets: {a: 'vault://secret/a?auth=kubernetes&role=agenthost#token'}}}}": true,
		"{rbac: {secrets: [db]}, serviceAccount: {automountToken: false}}":                                    false,
	} {
		d, _ := deploymentOf(t, merged(t, hello, values))
		if got := *d.Spec.Template.Spec.AutomountServiceAccountToken; got != token {
			t.Errorf("%s: %t", values, got)
		}
	}
}
