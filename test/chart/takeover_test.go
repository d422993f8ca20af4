package chart

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// flyteCharts is what an upgrade of a release of Flyte's own charts must find again: flyteagent (Flyte up to 1.15) and flyteconnector (1.16, 2).
var flyteCharts = map[string]struct{ name, port, values string }{
	"flyteagent": {name: "flyteagent", port: "agent-grpc", values: `
nameOverride: ""
fullnameOverride: ""
commonLabels: {}
commonAnnotations: {}
agentSecret: {secretData: {data: {username: VXNlcg==}}}
replicaCount: 1
ports: {containerPort: 8000, name: agent-grpc}
resources:
  limits: {cpu: 500m, ephemeral-storage: 200Mi, memory: 300Mi}
  requests: {cpu: 500m, ephemeral-storage: 200Mi, memory: 200Mi}
configPath: /etc/flyteagent/config/*.yaml
service: {annotations: {projectcontour.io/upstream-protocol.h2c: grpc}, type: ClusterIP}
serviceAccount: {create: true, annotations: {}, imagePullSecrets: []}
podSecurityContext: {}
readinessProbe: {grpc: {port: 8000}, initialDelaySeconds: 1, periodSeconds: 3}
securityContext: {allowPrivilegeEscalation: false}
podAnnotations: {}
podEnv: {}
podLabels: {}
nodeSelector: {}
tolerations: []
affinity: {}
additionalVolumes: []
additionalVolumeMounts: []
additionalContainers: []
extraArgs: {}
priorityClassName: ""
`},
	"flyteconnector": {name: "flyteconnector", port: "connector-grpc", values: `
nameOverride: ""
fullnameOverride: ""
commonLabels: {}
commonAnnotations: {}
connectorSecret: {secretData: {stringData: {username: user}}}
replicaCount: 1
ports: {containerPort: 8000, name: connector-grpc}
resources:
  limits: {cpu: 500m, ephemeral-storage: 200Mi, memory: 300Mi}
  requests: {cpu: 500m, ephemeral-storage: 200Mi, memory: 200Mi}
configPath: /etc/flyteconnector/config/*.yaml
service: {annotations: {projectcontour.io/upstream-protocol.h2c: grpc}, type: ClusterIP}
serviceAccount: {create: true, annotations: {}, imagePullSecrets: []}
rbac: {enabled: true, rules: [{apiGroups: [""], resources: [secrets], verbs: [get]}]}
podSecurityContext: {}
readinessProbe: {grpc: {port: 8000}, initialDelaySeconds: 1, periodSeconds: 3}
securityContext: {allowPrivilegeEscalation: false}
podAnnotations: {}
podEnv: {}
podLabels: {}
nodeSelector: {}
tolerations: []
affinity: {}
additionalVolumes: []
additionalVolumeMounts: []
additionalContainers: []
extraArgs: {}
priorityClassName: ""
`},
}

// All values that Flyte's charts have, at what they are there by default but for the image, are taken; and names, selectors, port, account and
// Secret stay as they are: the selector of a Deployment cannot be changed, and another name would be another Deployment.
func TestAReleaseOfFlytesChartKeepsItsNamesAndSelectors(t *testing.T) {
	for chart, flyte := range flyteCharts {
		t.Run(chart, func(t *testing.T) {
			out := rendering{values: merged(t, flyte.values, hello), release: "mine", upgrade: true}.must(t)
			selector := map[string]string{"app.kubernetes.io/name": flyte.name, "app.kubernetes.io/instance": "mine"}

			deployment := get[*appsv1.Deployment](t, out, "Deployment/"+flyte.name)
			if !maps.Equal(deployment.Spec.Selector.MatchLabels, selector) {
				t.Errorf("the selector is %v", deployment.Spec.Selector.MatchLabels)
			}
			pod := deployment.Spec.Template
			for key, value := range selector {
				if pod.Labels[key] != value {
					t.Errorf("the pods' labels are %v", pod.Labels)
				}
			}
			container := pod.Spec.Containers[0]
			if container.Name != flyte.name || container.Ports[0].Name != flyte.port || container.Ports[0].ContainerPort != 8000 {
				t.Errorf("the container is %s, its port %+v", container.Name, container.Ports[0])
			}
			if pod.Spec.ServiceAccountName != flyte.name {
				t.Errorf("the account is %s", pod.Spec.ServiceAccountName)
			}
			if !slices.ContainsFunc(container.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/etc/secrets" && m.Name == flyte.name }) {
				t.Errorf("nothing is mounted at /etc/secrets: %v", container.VolumeMounts)
			}
			service := get[*corev1.Service](t, out, "Service/"+flyte.name)
			if port := service.Spec.Ports[0]; !maps.Equal(service.Spec.Selector, selector) || port.Name != flyte.port || port.Port != 8000 || port.TargetPort.String() != flyte.port || len(service.Spec.Ports) != 1 {
				t.Errorf("the Service is %+v", service.Spec)
			}
			get[*corev1.ServiceAccount](t, out, "ServiceAccount/"+flyte.name)
			get[*corev1.Secret](t, out, "Secret/"+flyte.name)
			if chart == "flyteconnector" && out.objects["ClusterRole/flyte-flyteconnector"] == nil {
				t.Error("the ClusterRole is gone")
			}
			checkPods(t, out)
		})
	}
}

// objects is a cluster in which one may look things up.
type objects map[string]*unstructured.Unstructured

func (o objects) GetClientFor(apiVersion, kind string) (dynamic.NamespaceableResourceInterface, bool, error) {
	return &looked{objects: o, kind: apiVersion + " " + kind}, true, nil
}

// looked answers Get, and nothing else.
type looked struct {
	dynamic.NamespaceableResourceInterface
	objects objects
	kind    string
}

func (l *looked) Namespace(name string) dynamic.ResourceInterface {
	return &looked{objects: l.objects, kind: l.kind + " " + name}
}

func (l *looked) Get(_ context.Context, name string, _ metav1.GetOptions, _ ...string) (*unstructured.Unstructured, error) {
	if object := l.objects[l.kind+" "+name]; object != nil {
		return object, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{}, name)
}

// deployed is a Deployment of a release of Helm's, with a container and three replicas.
func deployed(t *testing.T, release, name, container string) objects {
	t.Helper()
	content, err := json.Marshal(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Annotations: map[string]string{"meta.helm.sh/release-name": release}},
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(3)), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: container}}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	object := map[string]any{}
	if err := json.Unmarshal(content, &object); err != nil {
		t.Fatal(err)
	}
	return objects{"apps/v1 Deployment " + namespace + " " + name: {Object: runtime.DeepCopyJSON(object)}}
}

func TestWhoseReleaseItIsIsSeenInTheCluster(t *testing.T) {
	for name, c := range map[string]struct {
		cluster objects
		values  string
		want    string // name and port
	}{
		"nothing is there":                             {cluster: objects{}, want: "flyteconnector connector-grpc"},
		"a release of flyteagent":                      {cluster: deployed(t, "mine", "flyteagent", "flyteagent"), want: "flyteagent agent-grpc"},
		"flyteagent under another name":                {cluster: deployed(t, "mine", "gate", "flyteagent"), values: "nameOverride: gate", want: "gate agent-grpc"},
		"a release of flyteconnector":                  {cluster: deployed(t, "mine", "flyteconnector", "flyteconnector"), want: "flyteconnector connector-grpc"},
		"flyteconnector under another name":            {cluster: deployed(t, "mine", "gate", "flyteconnector"), values: "nameOverride: gate", want: "gate connector-grpc"},
		"flyteagent of another release":                {cluster: deployed(t, "other", "flyteagent", "flyteagent"), want: "flyteconnector connector-grpc"},
		"what is said counts":                          {cluster: deployed(t, "mine", "flyteagent", "flyteagent"), values: "generation: connector", want: "flyteconnector connector-grpc"},
		"what is said counts where there is none":      {cluster: objects{}, values: "generation: agent", want: "flyteagent agent-grpc"},
		"the Secret's name of flyteagent":              {cluster: objects{}, values: "agentSecret: {secretData: {stringData: {a: b}}}", want: "flyteagent agent-grpc"},
		"the Secret's name of flyteagent in the other": {cluster: objects{}, values: "{generation: connector, agentSecret: {secretData: {stringData: {a: b}}}}", want: "flyteconnector connector-grpc"},
	} {
		t.Run(name, func(t *testing.T) {
			values := hello
			if c.values != "" {
				values = merged(t, hello, c.values)
			}
			out := rendering{values: values, release: "mine", cluster: c.cluster, upgrade: true}.must(t)
			var got []string
			for _, object := range out.objects {
				if d, is := object.(*appsv1.Deployment); is {
					got = append(got, d.Name+" "+d.Spec.Template.Spec.Containers[0].Ports[0].Name)
				}
			}
			if strings.Join(got, ", ") != c.want {
				t.Errorf("got %v, want %s", got, c.want)
			}
		})
	}
}

// Helm takes a number of replicas away that is not rendered any more, and Kubernetes then makes it 1.
func TestAnAutoscalerBeginsWithTheReplicasThatThereAre(t *testing.T) {
	values := merged(t, hello, "autoscaling: {enabled: true}")
	replicas := func(cluster objects) *int32 {
		out := rendering{values: values, release: "mine", cluster: cluster, upgrade: true}.must(t)
		return get[*appsv1.Deployment](t, out, "Deployment/flyteconnector").Spec.Replicas
	}
	if n := replicas(objects{}); n != nil {
		t.Errorf("%d replicas of a new release", *n)
	}
	if n := replicas(deployed(t, "mine", "flyteconnector", "flyteconnector")); n == nil || *n != 3 {
		t.Errorf("replicas: %v", n)
	}
}
