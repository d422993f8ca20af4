{{/* agenthost.generation is whose place the release takes: connector or agent. */}}
{{- define "agenthost.generation" -}}
{{- if ne .Values.generation "auto" -}}
{{- .Values.generation -}}
{{- else if .Values.agentSecret.secretData -}}
agent
{{- else -}}
{{- $there := lookup "apps/v1" "Deployment" (include "agenthost.namespace" .) (.Values.nameOverride | default "flyteagent") | default dict -}}
{{- $release := dig "metadata" "annotations" "meta.helm.sh/release-name" "" $there -}}
{{- $containers := dig "spec" "template" "spec" "containers" list $there -}}
{{- $named := false -}}
{{- range $containers -}}{{- if eq .name "flyteagent" -}}{{- $named = true -}}{{- end -}}{{- end -}}
{{- if and $named (eq $release .Release.Name) -}}agent{{- else -}}connector{{- end -}}
{{- end -}}
{{- end -}}

{{/* agenthost.container is the name of the host's container, which in Flyte's charts is no value. */}}
{{- define "agenthost.container" -}}flyte{{ include "agenthost.generation" . }}{{- end -}}

{{/* agenthost.name is what objects are called, and the label that Flyte's charts select pods by: it must be theirs. */}}
{{- define "agenthost.name" -}}
{{- .Values.nameOverride | default (include "agenthost.container" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "agenthost.namespace" -}}
{{- .Values.forceNamespace | default .Release.Namespace | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* agenthost.selectorLabels cannot change once a Deployment is there. */}}
{{- define "agenthost.selectorLabels" -}}
app.kubernetes.io/name: {{ include "agenthost.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "agenthost.labels" -}}
{{- $labels := include "agenthost.selectorLabels" . | fromYaml -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $labels "app.kubernetes.io/part-of" "agenthost" -}}
{{- merge $labels (deepCopy .Values.commonLabels) | toYaml -}}
{{- end -}}

{{/* agenthost.metadata is the metadata of an object: a dict of root, and optionally name or suffix, labels, annotations. */}}
{{- define "agenthost.metadata" -}}
{{- $labels := merge (deepCopy (.labels | default dict)) (include "agenthost.labels" .root | fromYaml) -}}
{{- $annotations := merge (deepCopy (.annotations | default dict)) (deepCopy .root.Values.commonAnnotations) -}}
name: {{ .name | default (include "agenthost.name" .root) }}{{ with .suffix }}-{{ . }}{{ end }}
namespace: {{ include "agenthost.namespace" .root }}
labels: {{- toYaml $labels | nindent 2 }}
{{- with $annotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* agenthost.rendered is a value that may have template values: a list of the value and the root. */}}
{{- define "agenthost.rendered" -}}
{{- tpl (toYaml (index . 0)) (index . 1) -}}
{{- end -}}

{{- define "agenthost.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "agenthost.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "agenthost.name" .) -}}
{{- end -}}

{{- define "agenthost.portName" -}}
{{- .Values.ports.name | default (printf "%s-grpc" (include "agenthost.generation" .)) -}}
{{- end -}}

{{- define "agenthost.secretData" -}}
{{- .Values.connectorSecret.secretData | default .Values.agentSecret.secretData | toYaml -}}
{{- end -}}

{{- define "agenthost.claim" -}}
{{- .Values.persistence.existingClaim | default (printf "%s-data" (include "agenthost.name" .)) -}}
{{- end -}}

{{/* agenthost.seconds reads a duration of Go's, and rounds up. */}}
{{- define "agenthost.seconds" -}}
{{- $total := 0.0 -}}
{{- $factors := dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 0.001 "us" 0.000001 "µs" 0.000001 "ns" 0.000000001 -}}
{{- range regexFindAll "[0-9.]+(ms|us|µs|ns|h|m|s)" (toString .) -1 -}}
{{- $unit := regexFind "[^0-9.]+$" . -}}
{{- $total = addf $total (mulf (float64 (trimSuffix $unit .)) (get $factors $unit)) -}}
{{- end -}}
{{- ceil $total | int64 -}}
{{- end -}}

{{/* agenthost.mebibytes reads a size of the host's or a quantity of Kubernetes', in MiB, rounded up. */}}
{{- define "agenthost.mebibytes" -}}
{{- if kindIs "string" . -}}
{{- $unit := regexFind "[A-Za-z]*$" . | trimSuffix "B" -}}
{{- $number := float64 (regexFind "^[0-9.]+" (trim .)) -}}
{{- $ki := 1024.0 -}}
{{- $units := dict "" 1.0 "k" 1000.0 "K" 1000.0 "M" 1000000.0 "G" 1000000000.0 "T" 1000000000000.0 "Ki" $ki "Mi" (mulf $ki $ki) "Gi" (mulf $ki $ki $ki) "Ti" (mulf $ki $ki $ki $ki) -}}
{{- ceil (divf (mulf $number (get $units $unit | default 1.0)) $ki $ki) | int64 -}}
{{- else -}}
{{- ceil (divf (float64 .) 1024.0 1024.0) | int64 -}}
{{- end -}}
{{- end -}}
