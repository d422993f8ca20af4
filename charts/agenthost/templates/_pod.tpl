{{/* agenthost.podSpec is what all pods of the chart have. */}}
{{- define "agenthost.podSpec" -}}
serviceAccountName: {{ include "agenthost.serviceAccount" . }}
enableServiceLinks: false
{{- with .Values.podSecurityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- include "agenthost.rendered" (list . $) | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- include "agenthost.rendered" (list . $) | nindent 2 }}
{{- end }}
{{- end -}}

{{/* agenthost.containerOf is what all containers of the chart have. */}}
{{- define "agenthost.containerOf" -}}
image: {{ include "agenthost.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.securityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* agenthost.environment is the host's environment, of which its check sees the same. */}}
{{- define "agenthost.environment" -}}
{{- $env := list -}}
{{- range $secret := .Values.secrets -}}
{{- range $variable, $key := $secret.env -}}
{{- $ref := dict "name" $secret.name "key" $key -}}
{{- if $secret.optional -}}{{- $_ := set $ref "optional" true -}}{{- end -}}
{{- $env = append $env (dict "name" $variable "valueFrom" (dict "secretKeyRef" $ref)) -}}
{{- end -}}
{{- end -}}
{{- range .Values.podEnv -}}{{- $env = append $env . -}}{{- end -}}
{{- with $env }}
env: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.podEnvFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* agenthost.args are the arguments of a command that reads the configuration as the host does: a list of the command's and the root. */}}
{{- define "agenthost.args" -}}
{{- $extra := (index . 1).Values.extraArgs | default list -}}
{{- concat (index . 0) (list "--config" "/etc/agenthost/agenthost.yaml") $extra | toYaml -}}
{{- end -}}

{{- define "agenthost.volumes" -}}
- name: config
  configMap:
    name: {{ include "agenthost.name" . }}-config
- name: run
  emptyDir:
    medium: Memory
    sizeLimit: {{ .Values.scratch.runSize }}
- name: tmp
  emptyDir:
    medium: Memory
    sizeLimit: {{ .Values.scratch.tmpSize }}
- name: data
{{- if .Values.persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ include "agenthost.claim" . }}
{{- else if .Values.scratch.dataSize }}
  emptyDir:
    sizeLimit: {{ .Values.scratch.dataSize }}
{{- else }}
  emptyDir: {}
{{- end }}
{{- if include "agenthost.secretData" . | fromYaml }}
- name: {{ include "agenthost.name" . }}
  secret:
    secretName: {{ include "agenthost.name" . }}
{{- end }}
{{- range $i, $secret := .Values.secrets }}
{{- if or $secret.items (not $secret.env) }}
- name: secret-{{ $i }}
  secret:
    secretName: {{ $secret.name }}
    {{- if $secret.optional }}
    optional: true
    {{- end }}
    {{- with $secret.items }}
    items:
    {{- range $key, $path := . }}
    - key: {{ $key | quote }}
      path: {{ $path | quote }}
    {{- end }}
    {{- end }}
{{- end }}
{{- end }}
{{- with .Values.tls.secretName }}
- name: tls
  secret:
    secretName: {{ . }}
{{- end }}
{{- range .Values.pluginImages }}
- name: plugin-{{ .name }}
  image:
    reference: {{ .image | quote }}
    pullPolicy: {{ .pullPolicy | default "IfNotPresent" }}
{{- end }}
{{- with .Values.additionalVolumes }}
{{ include "agenthost.rendered" (list . $) }}
{{- end }}
{{- end -}}

{{- define "agenthost.volumeMounts" -}}
- name: config
  mountPath: /etc/agenthost
  readOnly: true
- name: run
  mountPath: /run
- name: tmp
  mountPath: /tmp
- name: data
  mountPath: {{ .Values.persistence.mountPath }}
{{- if include "agenthost.secretData" . | fromYaml }}
- name: {{ include "agenthost.name" . }}
  mountPath: /etc/secrets
  readOnly: true
{{- end }}
{{- range $i, $secret := .Values.secrets }}
{{- if or $secret.items (not $secret.env) }}
- name: secret-{{ $i }}
  mountPath: {{ $secret.mountPath | default (printf "/etc/agenthost-secrets/%s" $secret.name) }}
  readOnly: true
{{- end }}
{{- end }}
{{- if .Values.tls.secretName }}
- name: tls
  mountPath: /etc/agenthost-tls
  readOnly: true
{{- end }}
{{- range .Values.pluginImages }}
- name: plugin-{{ .name }}
  mountPath: {{ .mountPath | default (printf "/plugins/%s" .name) }}
  {{- with .subPath }}
  subPath: {{ . }}
  {{- end }}
  readOnly: true
{{- end }}
{{- with .Values.additionalVolumeMounts }}
{{ include "agenthost.rendered" (list . $) }}
{{- end }}
{{- end -}}

{{/* agenthost.probe is a probe with the handler that it is given if it has none: a list of probe, handler and root. */}}
{{- define "agenthost.probe" -}}
{{- $probe := index . 0 -}}
{{- if not (or $probe.grpc $probe.httpGet $probe.tcpSocket $probe.exec) -}}
{{- $probe = merge (deepCopy $probe) (index . 1) -}}
{{- end -}}
{{- include "agenthost.rendered" (list $probe (index . 2)) -}}
{{- end -}}
