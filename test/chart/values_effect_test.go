package chart

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"
)

// effects has for each documented value what to set, and what must then be in what is rendered: in the object that is named, the
// texts. Without an object it changes nothing. A value that acts only beside others has those in set, too.
var effects = map[string]struct {
	set    string
	object string
	has    []string
	lacks  []string
	alone  bool // it fits to few others: not part of the property
}{
	"config": {set: "config: {log: {level: debug}}", object: "ConfigMap/flyteconnector-config", has: []string{"level: debug", "probe: 0.0.0.0:9091"}},
	"configFile": {set: "configFile: \"# mine\\nlisten: {probe: '0.0.0.0:9091'}\\nplugins: {a: {command: [/plugins/a/a]}}\\n\"",
		object: "ConfigMap/flyteconnector-config", has: []string{"# mine"}, lacks: []string{"hello"}, alone: true},
	"restartOnChange":            {set: "restartOnChange: always", object: "Deployment/flyteconnector", has: []string{"agenthost/config-sum: "}, lacks: []string{"restart-hash"}},
	"generation":                 {set: "generation: agent", object: "Deployment/flyteagent", has: []string{"name: agent-grpc", "name: flyteagent"}, alone: true},
	"nameOverride":               {set: "nameOverride: gate", object: "Deployment/gate", has: []string{"app.kubernetes.io/name: gate", "        name: flyteconnector\n"}, alone: true},
	"fullnameOverride":           {set: "fullnameOverride: other"},
	"forceNamespace":             {set: "forceNamespace: agents", object: "Service/flyteconnector", has: []string{"namespace: agents"}, alone: true},
	"commonLabels":               {set: "commonLabels: {team: data}", object: "PodDisruptionBudget/flyteconnector", has: []string{"team: data"}},
	"commonAnnotations":          {set: "commonAnnotations: {owner: data}", object: "ConfigMap/flyteconnector-config", has: []string{"owner: data"}},
	"connectorSecret.secretData": {set: "connectorSecret: {secretData: {stringData: {token: 'of {{ .Release.Name }}'}}}", object: "Secret/flyteconnector", has: []string{"token: of flyteconnector"}},
	"agentSecret.secretData":     {set: "agentSecret: {secretData: {stringData: {token: t}}}", object: "Secret/flyteagent", has: []string{"token: t"}, alone: true},
	"secrets": {set: "secrets: [{name: warehouse, items: {password: pw}, env: {WAREHOUSE_USER: user}, optional: true}, {name: plain, mountPath: /etc/plain}]",
		object: "Deployment/flyteconnector", has: []string{"key: password", "path: pw", "mountPath: /etc/agenthost-secrets/warehouse", "name: WAREHOUSE_USER", "key: user", "optional: true", "mountPath: /etc/plain", "secretName: plain"}},
	"replicaCount":                             {set: "replicaCount: 3", object: "Deployment/flyteconnector", has: []string{"replicas: 3"}},
	"image.repository":                         {set: "image: {repository: registry.example.com/agenthost}", object: "Deployment/flyteconnector", has: []string{"image: registry.example.com/agenthost:v0.1.0"}},
	"image.tag":                                {set: "image: {tag: v7}", object: "Job/flyteconnector-rollout", has: []string{"image: agenthost:v7"}, alone: true},
	"image.digest":                             {set: "image: {digest: 'sha256:" + strings.Repeat("a1", 32) + "'}", object: "Deployment/flyteconnector", has: []string{"agenthost@sha256:a1a1"}, lacks: []string{"v0.1.0"}},
	"image.pullPolicy":                         {set: "image: {pullPolicy: Always}", object: "Deployment/flyteconnector", has: []string{"imagePullPolicy: Always"}},
	"pluginImages":                             {set: "pluginImages: [{name: bigquery, image: 'registry.example.com/bigquery:1', subPath: bin}]", object: "Deployment/flyteconnector", has: []string{"reference: registry.example.com/bigquery:1", "pullPolicy: IfNotPresent", "mountPath: /plugins/bigquery", "subPath: bin"}},
	"ports.containerPort":                      {set: "{ports: {containerPort: 8100}, config: {listen: {grpc: '0.0.0.0:8100'}}}", object: "Service/flyteconnector", has: []string{"port: 8100"}, alone: true},
	"ports.name":                               {set: "ports: {name: grpc}", object: "Service/flyteconnector", has: []string{"targetPort: grpc", "name: grpc"}},
	"resources":                                {set: "resources: {limits: {memory: 3Gi, cpu: 2}}", object: "Deployment/flyteconnector", has: []string{"memory: 3Gi", `cpu: "2"`}},
	"memory.check":                             {set: "{memory: {check: false}, resources: {limits: {memory: 100Mi}}}", object: "Deployment/flyteconnector", has: []string{"memory: 100Mi"}, alone: true},
	"memory.host":                              {set: "memory: {host: 64Mi}"},
	"memory.process":                           {set: "memory: {process: 32Mi}"},
	"configPath":                               {set: "configPath: /etc/flyteconnector/config/*.yaml"},
	"service.annotations":                      {set: "service: {annotations: {lb: '{{ .Release.Name }}'}}", object: "Service/flyteconnector", has: []string{"lb: flyteconnector", "projectcontour.io/upstream-protocol.h2c: grpc"}},
	"service.type":                             {set: "service: {type: LoadBalancer}", object: "Service/flyteconnector", has: []string{"type: LoadBalancer"}},
	"service.appProtocol":                      {set: "service: {appProtocol: grpc}", object: "Service/flyteconnector", has: []string{"appProtocol: grpc"}},
	"serviceAccount.create":                    {set: "serviceAccount: {create: false}", object: "Deployment/flyteconnector", alone: true},
	"serviceAccount.name":                      {set: "serviceAccount: {name: agents}", object: "ServiceAccount/agents", has: []string{"automountServiceAccountToken: false", "app.kubernetes.io/name: flyteconnector"}, alone: true},
	"serviceAccount.annotations":               {set: "serviceAccount: {annotations: {role: 'of {{ .Release.Namespace }}'}}", object: "ServiceAccount/flyteconnector", has: []string{"role: of flyte"}},
	"serviceAccount.imagePullSecrets":          {set: "serviceAccount: {imagePullSecrets: [{name: registry}]}", object: "ServiceAccount/flyteconnector", has: []string{"- name: registry"}},
	"serviceAccount.automountToken":            {set: "serviceAccount: {automountToken: true}", object: "Deployment/flyteconnector", has: []string{"automountServiceAccountToken: true"}},
	"rbac.enabled":                             {set: "rbac: {enabled: true}", object: "ClusterRole/flyte-flyteconnector", has: []string{"- secrets", "- get"}},
	"rbac.rules":                               {set: "rbac: {enabled: true, rules: [{apiGroups: [''], resources: [configmaps], verbs: [list]}]}", object: "ClusterRole/flyte-flyteconnector", has: []string{"- configmaps"}, lacks: []string{"secrets"}},
	"rbac.secrets":                             {set: "rbac: {secrets: [warehouse]}", object: "Role/flyteconnector-secrets", has: []string{"resourceNames:\n  - warehouse"}},
	"podSecurityContext":                       {set: "podSecurityContext: {fsGroup: 7}", object: "Deployment/flyteconnector", has: []string{"fsGroup: 7", "runAsNonRoot: true"}},
	"securityContext":                          {set: "securityContext: {runAsUser: 8}", object: "Deployment/flyteconnector", has: []string{"runAsUser: 8", "readOnlyRootFilesystem: true"}},
	"tls.secretName":                           {set: "tls: {secretName: cert}", object: "ConfigMap/flyteconnector-config", has: []string{"cert: /etc/agenthost-tls/tls.crt", "key: /etc/agenthost-tls/tls.key"}, lacks: []string{"client_ca"}},
	"tls.clientCA":                             {set: "tls: {secretName: cert, clientCA: true}", object: "ConfigMap/flyteconnector-config", has: []string{"client_ca: /etc/agenthost-tls/ca.crt"}},
	"check.enabled":                            {set: "check: {enabled: false}", object: "Deployment/flyteconnector", lacks: []string{"initContainers"}},
	"rolloutCheck.enabled":                     {set: "rolloutCheck: {enabled: false}", object: "Deployment/flyteconnector", alone: true},
	"rolloutCheck.timeoutSeconds":              {set: "rolloutCheck: {timeoutSeconds: 300}", object: "Job/flyteconnector-rollout", has: []string{"- 300s", "activeDeadlineSeconds: 360"}},
	"rolloutCheck.resources":                   {set: "rolloutCheck: {resources: {limits: {memory: 77Mi}}}", object: "Job/flyteconnector-rollout", has: []string{"memory: 77Mi"}},
	"readinessProbe":                           {set: "readinessProbe: {grpc: {port: 8000}, initialDelaySeconds: 1}", object: "Deployment/flyteconnector", has: []string{"port: 8000", "initialDelaySeconds: 1", "timeoutSeconds: 5"}, alone: true},
	"livenessProbe":                            {set: "livenessProbe: {periodSeconds: 17}", object: "Deployment/flyteconnector", has: []string{"periodSeconds: 17"}},
	"startupProbe":                             {set: "startupProbe: {failureThreshold: 900}", object: "Deployment/flyteconnector", has: []string{"failureThreshold: 900"}},
	"preStopSeconds":                           {set: "preStopSeconds: 7", object: "Deployment/flyteconnector", has: []string{"sleep:\n", "seconds: 7", "terminationGracePeriodSeconds: 57"}},
	"terminationGracePeriodSeconds":            {set: "terminationGracePeriodSeconds: 90", object: "Deployment/flyteconnector", has: []string{"terminationGracePeriodSeconds: 90"}},
	"strategy":                                 {set: "strategy: {rollingUpdate: {maxSurge: 2}}", object: "Deployment/flyteconnector", has: []string{"maxSurge: 2", "maxUnavailable: 0"}},
	"progressDeadlineSeconds":                  {set: "progressDeadlineSeconds: 300", object: "Deployment/flyteconnector", has: []string{"progressDeadlineSeconds: 300"}},
	"revisionHistoryLimit":                     {set: "revisionHistoryLimit: 3", object: "Deployment/flyteconnector", has: []string{"revisionHistoryLimit: 3"}},
	"persistence.enabled":                      {set: "persistence: {enabled: true}", object: "PersistentVolumeClaim/flyteconnector-data", has: []string{"- ReadWriteOnce", "storage: 5Gi", "helm.sh/resource-policy: keep"}, alone: true},
	"persistence.existingClaim":                {set: "persistence: {enabled: true, accessMode: ReadWriteMany, existingClaim: mine}", object: "Deployment/flyteconnector", has: []string{"claimName: mine"}, lacks: []string{"podAffinity"}},
	"persistence.accessMode":                   {set: "persistence: {enabled: true, accessMode: ReadWriteMany}", object: "PersistentVolumeClaim/flyteconnector-data", has: []string{"- ReadWriteMany"}, alone: true},
	"persistence.size":                         {set: "persistence: {enabled: true, size: 9Gi}", object: "PersistentVolumeClaim/flyteconnector-data", has: []string{"storage: 9Gi"}, alone: true},
	"persistence.storageClassName":             {set: "persistence: {enabled: true, storageClassName: fast}", object: "PersistentVolumeClaim/flyteconnector-data", has: []string{"storageClassName: fast"}, alone: true},
	"persistence.annotations":                  {set: "persistence: {enabled: true, annotations: {backup: daily}}", object: "PersistentVolumeClaim/flyteconnector-data", has: []string{"backup: daily"}, alone: true},
	"persistence.keep":                         {set: "persistence: {enabled: true, keep: false}", object: "PersistentVolumeClaim/flyteconnector-data", lacks: []string{"resource-policy"}, alone: true},
	"persistence.mountPath":                    {set: "{persistence: {mountPath: /data}, config: {state_dir: /data/state}}", object: "Deployment/flyteconnector", has: []string{"mountPath: /data"}, alone: true},
	"persistence.notNeededBy":                  {set: "persistence: {notNeededBy: [duckdb]}"},
	"scratch.runSize":                          {set: "scratch: {runSize: 17Mi}", object: "Deployment/flyteconnector", has: []string{"sizeLimit: 17Mi"}},
	"scratch.tmpSize":                          {set: "scratch: {tmpSize: 18Mi}", object: "Deployment/flyteconnector", has: []string{"sizeLimit: 18Mi"}},
	"scratch.dataSize":                         {set: "scratch: {dataSize: 19Mi}", object: "Deployment/flyteconnector", has: []string{"sizeLimit: 19Mi"}, alone: true},
	"podDisruptionBudget.enabled":              {set: "podDisruptionBudget: {enabled: false}", object: "Deployment/flyteconnector", alone: true},
	"podDisruptionBudget.maxUnavailable":       {set: "podDisruptionBudget: {maxUnavailable: 50%}", object: "PodDisruptionBudget/flyteconnector", has: []string{"maxUnavailable: 50%"}, alone: true},
	"podDisruptionBudget.minAvailable":         {set: "podDisruptionBudget: {minAvailable: 1}", object: "PodDisruptionBudget/flyteconnector", has: []string{"minAvailable: 1"}, lacks: []string{"maxUnavailable"}},
	"autoscaling.enabled":                      {set: "autoscaling: {enabled: true}", object: "HorizontalPodAutoscaler/flyteconnector", has: []string{"name: agenthost_calls_in_flight", `averageValue: "50"`}},
	"autoscaling.minReplicas":                  {set: "autoscaling: {enabled: true, minReplicas: 3}", object: "HorizontalPodAutoscaler/flyteconnector", has: []string{"minReplicas: 3"}},
	"autoscaling.maxReplicas":                  {set: "autoscaling: {enabled: true, maxReplicas: 9}", object: "HorizontalPodAutoscaler/flyteconnector", has: []string{"maxReplicas: 9"}},
	"autoscaling.callsInFlight":                {set: "autoscaling: {enabled: true, callsInFlight: 7}", object: "HorizontalPodAutoscaler/flyteconnector", has: []string{`averageValue: "7"`}},
	"autoscaling.metrics":                      {set: "autoscaling: {enabled: true, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}]}", object: "HorizontalPodAutoscaler/flyteconnector", has: []string{"averageUtilization: 70"}},
	"autoscaling.behavior":                     {set: "autoscaling: {enabled: true, behavior: {scaleDown: {stabilizationWindowSeconds: 900}}}", object: "HorizontalPodAutoscaler/flyteconnector", has: []string{"stabilizationWindowSeconds: 900"}},
	"networkPolicy.enabled":                    {set: "networkPolicy: {enabled: true}", object: "NetworkPolicy/flyteconnector", has: []string{"port: connector-grpc", "port: probe", "- Ingress"}, lacks: []string{"Egress"}, alone: true},
	"networkPolicy.from":                       {set: "networkPolicy: {enabled: true, from: [{podSelector: {matchLabels: {app: flytepropeller}}}]}", object: "NetworkPolicy/flyteconnector", has: []string{"app: flytepropeller"}},
	"networkPolicy.probeFrom":                  {set: "networkPolicy: {enabled: true, probeFrom: [{namespaceSelector: {matchLabels: {name: monitoring}}}]}", object: "NetworkPolicy/flyteconnector", has: []string{"name: monitoring"}},
	"networkPolicy.egress":                     {set: "networkPolicy: {enabled: true, egress: [{ports: [{port: 443, protocol: TCP}]}]}", object: "NetworkPolicy/flyteconnector", has: []string{"- Egress", "port: 443"}},
	"metrics.serviceMonitor.enabled":           {set: "metrics: {serviceMonitor: {enabled: true}}", object: "ServiceMonitor/flyteconnector", has: []string{"port: probe", "app.kubernetes.io/component: pods", "interval: 30s"}},
	"metrics.serviceMonitor.labels":            {set: "metrics: {serviceMonitor: {enabled: true, labels: {release: prometheus}}}", object: "ServiceMonitor/flyteconnector", has: []string{"release: prometheus"}},
	"metrics.serviceMonitor.interval":          {set: "metrics: {serviceMonitor: {enabled: true, interval: 9s}}", object: "ServiceMonitor/flyteconnector", has: []string{"interval: 9s"}},
	"metrics.serviceMonitor.metricRelabelings": {set: "metrics: {serviceMonitor: {enabled: true, metricRelabelings: [{action: drop, sourceLabels: [__name__], regex: 'go_.*'}]}}", object: "ServiceMonitor/flyteconnector", has: []string{"regex: go_.*"}},
	"metrics.prometheusRule.enabled":           {set: "metrics: {prometheusRule: {enabled: true}}", object: "PrometheusRule/flyteconnector", has: []string{"alert: AgenthostAway", `service="flyteconnector-pods"`, "{{ $labels.plugin }}"}},
	"metrics.prometheusRule.labels":            {set: "metrics: {prometheusRule: {enabled: true, labels: {release: prometheus}}}", object: "PrometheusRule/flyteconnector", has: []string{"release: prometheus"}},
	"metrics.prometheusRule.runbooks":          {set: "metrics: {prometheusRule: {enabled: true, runbooks: 'https://wiki.example.com/agenthost'}}", object: "PrometheusRule/flyteconnector", has: []string{"runbook_url: https://wiki.example.com/agenthost#agenthostaway"}},
	"metrics.prometheusRule.rules":             {set: "metrics: {prometheusRule: {enabled: true, rules: [{alert: Mine, expr: agenthost_ready == 0}]}}", object: "PrometheusRule/flyteconnector", has: []string{"alert: Mine"}},
	"metrics.dashboard.enabled":                {set: "metrics: {dashboard: {enabled: true}}", object: "ConfigMap/flyteconnector-dashboard", has: []string{"flyteconnector.json:", "agenthost_plugin_state", `grafana_dashboard: "1"`}},
	"metrics.dashboard.labels":                 {set: "metrics: {dashboard: {enabled: true, labels: {grafana: platform}}}", object: "ConfigMap/flyteconnector-dashboard", has: []string{"grafana: platform"}},
	"metrics.dashboard.annotations":            {set: "metrics: {dashboard: {enabled: true, annotations: {grafana_folder: Flyte}}}", object: "ConfigMap/flyteconnector-dashboard", has: []string{"grafana_folder: Flyte"}},
	"test.task":                                {set: "test: {task: [--type, hello, --input, 'name=you']}", object: "Pod/flyteconnector-test", has: []string{"- name=you", "- flyteconnector.flyte.svc:8000", "helm.sh/hook: test"}},
	"podAnnotations":                           {set: "podAnnotations: {sidecar: 'off'}", object: "Deployment/flyteconnector", has: []string{`sidecar: "off"`}},
	"podEnv":                                   {set: "podEnv: [{name: AWS_REGION, value: eu-central-1}]", object: "Job/flyteconnector-rollout", has: []string{"name: AWS_REGION"}},
	"podEnvFrom":                               {set: "podEnvFrom: [{configMapRef: {name: proxies}}]", object: "Deployment/flyteconnector", has: []string{"name: proxies"}},
	"podLabels":                                {set: "podLabels: {team: data}", object: "Deployment/flyteconnector", has: []string{"team: data"}},
	"nodeSelector":                             {set: "nodeSelector: {pool: '{{ .Release.Name }}'}", object: "Deployment/flyteconnector", has: []string{"pool: flyteconnector"}},
	"tolerations":                              {set: "tolerations: [{key: agents, operator: Exists}]", object: "Deployment/flyteconnector", has: []string{"key: agents"}},
	"affinity":                                 {set: "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: Exists}]}]}}}", object: "Deployment/flyteconnector", has: []string{"key: pool"}},
	"topologySpreadConstraints":                {set: "topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]", object: "Deployment/flyteconnector", has: []string{"topologyKey: zone"}},
	"additionalVolumes":                        {set: "additionalVolumes: [{name: ca, configMap: {name: '{{ .Release.Name }}-ca'}}]", object: "Deployment/flyteconnector", has: []string{"name: flyteconnector-ca"}, alone: true},
	"additionalVolumeMounts":                   {set: "{additionalVolumes: [{name: ca, configMap: {name: ca}}], additionalVolumeMounts: [{name: ca, mountPath: /etc/ca}]}", object: "Deployment/flyteconnector", has: []string{"mountPath: /etc/ca"}},
	"additionalContainers":                     {set: "additionalContainers: [{name: proxy, image: 'proxy:{{ .Chart.AppVersion }}'}]", object: "Deployment/flyteconnector", has: []string{"image: proxy:v0.1.0"}, alone: true},
	"extraArgs":                                {set: "extraArgs: [--set, log.level=debug]", object: "Job/flyteconnector-rollout", has: []string{"- log.level=debug"}},
	"priorityClassName":                        {set: "priorityClassName: high", object: "Deployment/flyteconnector", has: []string{"priorityClassName: high"}},
}

func toYAML(t testingT, value any) string {
	t.Helper()
	content, err := yaml.Marshal(value)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return string(content)
}

// testingT is what testing.T and rapid.T have in common.
type testingT interface {
	Helper()
	Fatalf(format string, args ...any)
}

func TestEveryDocumentedValueDoesWhatItSays(t *testing.T) {
	base := render(t, hello)
	left := maps.Clone(effects)
	for _, v := range documented(t) {
		effect, known := effects[v.key]
		if !known {
			t.Errorf("no test of %s", v.key)
			continue
		}
		delete(left, v.key)
		t.Run(v.key, func(t *testing.T) {
			out := rendering{values: merged(t, hello, effect.set)}.must(t)
			if effect.object == "" {
				for name, object := range out.objects {
					if is, was := toYAML(t, object), toYAML(t, base.objects[name]); is != was {
						t.Errorf("%s is another one:\n%s", name, is)
					}
				}
				return
			}
			object := out.objects[effect.object]
			if object == nil {
				t.Fatalf("there is no %s, but %v", effect.object, slices.Sorted(maps.Keys(out.objects)))
			}
			is := toYAML(t, object)
			for _, has := range effect.has {
				if !strings.Contains(is, has) {
					t.Errorf("there is no %q in\n%s", has, is)
				}
			}
			for _, lacks := range effect.lacks {
				if strings.Contains(is, lacks) {
					t.Errorf("there is %q in\n%s", lacks, is)
				}
			}
			if was := base.objects[effect.object]; was != nil && len(effect.has)+len(effect.lacks) > 0 && toYAML(t, was) == is {
				t.Errorf("%s is as it was without the value", effect.object)
			}
		})
	}
	for key := range left {
		t.Errorf("%s is tested, and not documented", key)
	}
}

// Objects that a value takes away.
func TestWhatIsSwitchedOffIsNotThere(t *testing.T) {
	for values, object := range map[string]string{
		"serviceAccount: {create: false}":       "ServiceAccount/flyteconnector",
		"rolloutCheck: {enabled: false}":        "Job/flyteconnector-rollout",
		"podDisruptionBudget: {enabled: false}": "PodDisruptionBudget/flyteconnector",
	} {
		if render(t, hello).objects[object] == nil {
			t.Errorf("there is no %s anyway", object)
		}
		if render(t, merged(t, hello, values)).objects[object] != nil {
			t.Errorf("%s: there is %s", values, object)
		}
	}
}

// Whatever values are set together, what comes out is valid: decoded strictly, and, where the security contexts are the chart's own, allowed in
// a restricted namespace.
func TestAnySubsetOfTheValuesRendersValidly(t *testing.T) {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(effects)) {
		if !effects[key].alone {
			keys = append(keys, key)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		values := hello
		for _, key := range rapid.SliceOfDistinct(rapid.SampledFrom(keys), rapid.ID[string]).Draw(t, "values") {
			values = merged(t, values, effects[key].set)
		}
		out, err := rendering{values: values, upgrade: rapid.Bool().Draw(t, "upgrade")}.render()
		if err != nil {
			t.Fatalf("%v\nwith the values:\n%s", err, values)
		}
		checkPods(t, out)
	})
}

// merged is YAML over other YAML, as Helm merges values.
func merged(t testingT, texts ...string) string {
	t.Helper()
	out := map[string]any{}
	for _, text := range texts {
		var more map[string]any
		if err := yaml.Unmarshal([]byte(text), &more); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		overlay(out, more)
	}
	return toYAML(t, out)
}

func overlay(into, more map[string]any) {
	for key, value := range more {
		below, isMap := value.(map[string]any)
		if there, isThere := into[key].(map[string]any); isMap && isThere {
			overlay(there, below)
			continue
		}
		into[key] = value
	}
}
