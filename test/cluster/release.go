package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// release is the name of every release, and serviceName that of its Service.
const (
	release     = "flyteconnector"
	serviceName = "flyteconnector"
	configName  = "flyteconnector-config"
)

// table of values, as in a file for helm.
type values = map[string]any

// chartValues are values for the chart: the image, and these plugins.
func (c *cell) chartValues(plugins values, others ...values) values {
	repository, tag, _ := strings.Cut(c.Image, ":")
	made := values{
		"image":     values{"repository": repository, "tag": tag},
		"resources": values{"requests": values{"cpu": "50m", "memory": "64Mi"}, "limits": values{"memory": "1Gi"}},
		"config":    values{"plugins": plugins, "drain_delay": "2s"},
		// One that fails does so within the time of a case.
		"rolloutCheck":            values{"timeoutSeconds": 60},
		"progressDeadlineSeconds": 60,
	}
	for _, other := range others {
		merge(made, other)
	}
	return made
}

// merge puts values over others, as helm does.
func merge(into, from values) {
	for key, value := range from {
		below, isTable := value.(values)
		if present, ok := into[key].(values); ok && isTable {
			merge(present, below)
			continue
		}
		into[key] = value
	}
}

// install installs the chart, and waits until it serves.
func (c *cell) install(v values) {
	c.must(c.helm("install", c.Chart, v, "--wait", "--timeout", "90s"))
}

// upgrade upgrades the release.
func (c *cell) upgrade(v values, flags ...string) error {
	return c.helm("upgrade", c.Chart, v, append(flags, "--timeout", "90s")...)
}

// helm runs a command of helm's on the release, with all that it prints in its error.
func (c *cell) helm(verb, chart string, v values, flags ...string) error {
	content, err := yaml.Marshal(v)
	c.must(err)
	c.releases++
	file := filepath.Join(c.folder, fmt.Sprintf("values-%d.yaml", c.releases))
	c.must(os.WriteFile(file, content, 0o600))
	return c.helmCommand(append([]string{verb, release, chart, "--values", file}, flags...)...)
}

func (c *cell) helmCommand(arguments ...string) error {
	command := exec.CommandContext(c.ctx, "helm", append(arguments, "--namespace", c.namespace)...)
	var said bytes.Buffer
	command.Stdout, command.Stderr = &said, &said
	err := command.Run()
	c.mu.Lock()
	defer c.mu.Unlock()
	log, openErr := os.OpenFile(filepath.Join(c.folder, "helm.txt"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if openErr == nil {
		fmt.Fprintf(log, "$ helm %s\n%s\n", strings.Join(arguments, " "), said.String())
		log.Close()
	}
	if err != nil {
		return fmt.Errorf("helm %s: %w: %s", arguments[0], err, said.String())
	}
	return nil
}

// The plugins of the image.

// duckdb is the plugin for SQL, which keeps its jobs in the volume.
func duckdb(config values) values {
	all := values{"state_dir": "/var/lib/agenthost/duckdb", "memory_limit": "100MiB", "max_concurrent": 2, "threads": 1, "local_inputs": false}
	merge(all, config)
	return values{"command": []string{"/plugins/duckdb/duckdb"}, "config": all, "sandbox": values{"write": []string{"/var/lib/agenthost/duckdb"}}}
}

// hello is the smallest plugin.
func hello() values { return values{"command": []string{"/plugins/hello/hello"}} }

// chaos is the plugin whose jobs are those of the system outside.
func (c *cell) chaos() values {
	return values{
		"command": []string{"/plugins/chaos/chaos", "agenthost-chaos-plugin", "-agent", c.name, "-type", chaosType, "-idempotent"},
		"env":     values{"CHAOS_LEDGER": c.system.url},
	}
}

// volume makes a volume for the case, and a claim of that name that is bound to it.
func (c *cell) volume(claim, path string, mode corev1.PersistentVolumeAccessMode) {
	name := c.namespace + "-" + claim
	storage := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	none := ""
	source := corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path}}
	_, err := c.client.CoreV1().PersistentVolumes().Create(c.ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeSource: source, Capacity: storage, AccessModes: []corev1.PersistentVolumeAccessMode{mode},
			ClaimRef: &corev1.ObjectReference{Namespace: c.namespace, Name: claim},
		},
	}, metav1.CreateOptions{})
	c.must(err)
	_, err = c.client.CoreV1().PersistentVolumeClaims(c.namespace).Create(c.ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: claim},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{mode}, StorageClassName: &none, VolumeName: name,
			Resources: corev1.VolumeResourceRequirements{Requests: storage},
		},
	}, metav1.CreateOptions{})
	c.must(err)
	c.until("the claim "+claim+" is bound", func() (string, bool) {
		found, err := c.client.CoreV1().PersistentVolumeClaims(c.namespace).Get(c.ctx, claim, metav1.GetOptions{})
		c.must(err)
		return string(found.Status.Phase), found.Status.Phase == corev1.ClaimBound
	})
}

// shared makes a volume that all replicas can write, and gives the values that have the release use it.
func (c *cell) shared() values {
	folder := c.sharedFolder()
	c.volume("jobs", folder, corev1.ReadWriteMany)
	return values{"persistence": values{"enabled": true, "existingClaim": "jobs", "accessMode": "ReadWriteMany"}}
}

// sharedFolder makes a folder that the pods' user can write: to a volume of this kind, unlike to those of clouds, fsGroup does nothing.
func (c *cell) sharedFolder() string {
	folder := filepath.Join(c.Volumes, c.namespace)
	c.must(os.MkdirAll(folder, 0o755))
	c.must(os.Chown(folder, podUser, podUser))
	return folder
}

// podUser is the user of the chart's pods.
const podUser = 65532
