{{/* agenthost.checks fails where the values do not fit together. It renders nothing. */}}
{{- define "agenthost.checks" -}}
{{- $settings := include "agenthost.settings" . | fromYaml -}}
{{- $file := ternary "configFile" "config" (ne .Values.configFile "") -}}
{{- $mount := .Values.persistence.mountPath -}}

{{- if regexMatch "(^|/)flyteorg/(flyteagent|flyte-connectors)$" .Values.image.repository -}}
{{- fail (printf "image.repository is %s, Flyte's own image: a value that the release kept. Upgrade with --reset-values, and with the values that are to stay in a file" .Values.image.repository) -}}
{{- end -}}
{{- if and .Values.connectorSecret.secretData .Values.agentSecret.secretData -}}
{{- fail "connectorSecret.secretData and agentSecret.secretData are both set: they are one Secret; leave one out" -}}
{{- end -}}

{{- if not $settings.plugins -}}
{{- fail (printf "%s.plugins names no plugin: say which the host runs, such as plugins: {duckdb: {command: [/plugins/duckdb/duckdb]}}" $file) -}}
{{- end -}}
{{- $grpc := dig "listen" "grpc" "0.0.0.0:8000" $settings -}}
{{- if ne (include "agenthost.port" $grpc) (toString (int .Values.ports.containerPort)) -}}
{{- fail (printf "%s.listen.grpc is %s and ports.containerPort is %d: Flyte calls the port of the Service; make them equal" $file $grpc (int .Values.ports.containerPort)) -}}
{{- end -}}
{{- $probe := dig "listen" "probe" "" $settings -}}
{{- if not $probe -}}
{{- fail (printf "%s.listen.probe is not set: the kubelet's probes, Prometheus and the rollout check ask there; set it to 0.0.0.0:9091" $file) -}}
{{- end -}}
{{- range $key, $address := dict "grpc" $grpc "probe" $probe -}}
{{- if regexMatch "^(127\\.|localhost:|\\[::1\\]:)" $address -}}
{{- fail (printf "%s.listen.%s is %s, which only the pod itself reaches: listen on 0.0.0.0 or [::]" $file $key $address) -}}
{{- end -}}
{{- end -}}
{{- if eq (include "agenthost.port" $grpc) (include "agenthost.port" $probe) -}}
{{- fail (printf "%s.listen.grpc and listen.probe have the same port, %s: they are two listeners; 9091 is the probe's by default" $file (include "agenthost.port" $probe)) -}}
{{- end -}}
{{- if and .Values.tls.secretName .Values.configFile (not (dig "listen" "tls" "cert" "" $settings)) -}}
{{- fail "tls.secretName is set and configFile has no listen.tls: add cert: /etc/agenthost-tls/tls.crt and key: /etc/agenthost-tls/tls.key to it" -}}
{{- end -}}
{{- if and .Values.tls.clientCA (not .Values.tls.secretName) -}}
{{- fail "tls.clientCA is set without tls.secretName, which has the ca.crt" -}}
{{- end -}}
{{- $ready := .Values.readinessProbe | default dict -}}
{{- if and (dig "listen" "tls" "cert" "" $settings) (eq (toString (int (dig "grpc" "port" 0 $ready))) (include "agenthost.port" $grpc)) -}}
{{- fail (printf "readinessProbe.grpc.port is %s, where the host speaks TLS and the kubelet does not: leave it out, and the probe goes to listen.probe" (include "agenthost.port" $grpc)) -}}
{{- end -}}

{{- $writable := list "/run" "/tmp" $mount -}}
{{- range .Values.additionalVolumeMounts -}}{{- $writable = append $writable .mountPath -}}{{- end -}}
{{- $directories := dict (printf "%s.run_dir" $file) $settings.run_dir (printf "%s.state_dir" $file) $settings.state_dir -}}
{{- range $name, $plugin := $settings.plugins -}}
{{- range $key := list "state_dir" "scratch_dir" "jobs" -}}
{{- $directory := toString (dig "config" $key "" $plugin) | trimPrefix "file://" -}}
{{- if hasPrefix "/" $directory -}}{{- $_ := set $directories (printf "%s.plugins.%s.config.%s" $file $name $key) $directory -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.securityContext.readOnlyRootFilesystem -}}
{{- range $key, $directory := $directories -}}
{{- if $directory -}}
{{- $below := false -}}
{{- range $writable -}}{{- if hasPrefix (printf "%s/" (trimSuffix "/" .)) (printf "%s/" $directory) -}}{{- $below = true -}}{{- end -}}{{- end -}}
{{- if not $below -}}
{{- fail (printf "%s is %s, which cannot be written: the root file system is read-only. Put it below %s, or mount a volume there (additionalVolumeMounts)" $key $directory (join ", " $writable)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- include "agenthost.checks.replicas" . -}}
{{- include "agenthost.checks.memory" . -}}
{{- include "agenthost.checks.cluster" . -}}

{{- $stop := include "agenthost.stopSeconds" . | int64 -}}
{{- $grace := include "agenthost.graceSeconds" . | int64 -}}
{{- if le $grace $stop -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, and the host may take %d to stop: preStopSeconds, drain_delay, shutdown_timeout and the longest stop_timeout together. Set it to %d or more, or leave it out" $grace $stop (add $stop 1)) -}}
{{- end -}}
{{- end -}}

{{/* agenthost.checks.replicas: a job that one pod has in its own volume is unknown to the others. */}}
{{- define "agenthost.checks.replicas" -}}
{{- $replicas := include "agenthost.replicas" . | int -}}
{{- $keepers := include "agenthost.keepers" . | fromYamlArray -}}
{{- $shared := and .Values.persistence.enabled (eq .Values.persistence.accessMode "ReadWriteMany") -}}
{{- if and (gt $replicas 1) $keepers (not $shared) -}}
{{- fail (printf "%d replicas, and the plugins %s keep jobs in a directory, where only one pod would find them: polls at another would fail the jobs. Keep them in a bucket (duckdb: jobs: s3://…), set persistence.enabled and accessMode: ReadWriteMany, or name those in persistence.notNeededBy whose jobs are elsewhere; now persistence.enabled is %t and accessMode %s" $replicas (join ", " $keepers) .Values.persistence.enabled .Values.persistence.accessMode) -}}
{{- end -}}
{{- if and (gt $replicas 1) .Values.persistence.enabled (not $shared) -}}
{{- fail (printf "%d replicas mount one volume with accessMode %s, which pods on other nodes could not: use ReadWriteMany, or no persistence" $replicas .Values.persistence.accessMode) -}}
{{- end -}}
{{- if and .Values.persistence.enabled (eq .Values.persistence.accessMode "ReadWriteOncePod") (ne .Values.strategy.type "Recreate") -}}
{{- fail "persistence.accessMode ReadWriteOncePod lets no second pod mount the volume, and strategy.type RollingUpdate starts one before the first ends: use ReadWriteOnce or ReadWriteMany, or strategy: {type: Recreate, rollingUpdate: null}" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail (printf "autoscaling.minReplicas is %d and maxReplicas %d" (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- end -}}

{{/* agenthost.checks.memory: where the container's limit is reached first, the kernel ends the host with all plugins. */}}
{{- define "agenthost.checks.memory" -}}
{{- $limit := dig "limits" "memory" "" .Values.resources -}}
{{- if and .Values.memory.check $limit -}}
{{- $has := include "agenthost.mebibytes" $limit | int64 -}}
{{- $host := include "agenthost.mebibytes" .Values.memory.host | int64 -}}
{{- $process := include "agenthost.mebibytes" .Values.memory.process | int64 -}}
{{- $sum := $host -}}
{{- $parts := list (printf "%dMi for the host" $host) -}}
{{- range $name, $plugin := (include "agenthost.settings" . | fromYaml).plugins -}}
{{- if not $plugin.address -}}
{{- $instances := $plugin.instances | default 1 | int64 -}}
{{- $config := $plugin.config | default dict -}}
{{- $own := 0 -}}
{{- $why := "" -}}
{{- $sandbox := ternary $plugin.sandbox dict (kindIs "map" $plugin.sandbox) -}}
{{- if $sandbox.memory -}}
{{- $own = include "agenthost.mebibytes" $sandbox.memory | int64 -}}
{{- $why = "sandbox.memory" -}}
{{- else if include "agenthost.isDuckDB" (dict "name" $name "plugin" $plugin) -}}
{{- $query := include "agenthost.mebibytes" ($config.memory_limit | default "1GiB") | int64 -}}
{{- $queries := $config.max_concurrent | default 4 | int64 -}}
{{- $own = add $process (mul $query $queries) -}}
{{- $why = printf "max_concurrent %d times memory_limit %dMi, and %dMi" $queries $query $process -}}
{{- else -}}
{{- $own = $process -}}
{{- $why = "no limit of its own" -}}
{{- end -}}
{{- $all := mul $own $instances -}}
{{- $sum = add $sum $all -}}
{{- $parts = append $parts (printf "%dMi for %s (%s%s)" $all $name $why (ternary (printf "; %d instances" $instances) "" (gt $instances 1))) -}}
{{- end -}}
{{- end -}}
{{- if gt $sum $has -}}
{{- fail (printf "resources.limits.memory is %v, and the plugins' own limits with the host need %dMi: %s. Raise it, or lower the plugins' limits: where the container reaches its limit first, the kernel ends the host with all plugins (memory.check: false skips this)" $limit $sum (join ", " $parts)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* agenthost.checks.cluster: what an older cluster would refuse, or drop without a word. */}}
{{- define "agenthost.checks.cluster" -}}
{{- $version := .Capabilities.KubeVersion.Version -}}
{{- if and (gt (int .Values.preStopSeconds) 0) (semverCompare "<1.30.0-0" $version) -}}
{{- fail (printf "preStopSeconds needs Kubernetes 1.30, and this is %s: leave it out; config.drain_delay does the same" $version) -}}
{{- end -}}
{{- if and .Values.pluginImages (semverCompare "<1.31.0-0" $version) -}}
{{- fail (printf "pluginImages needs image volumes, which Kubernetes has from 1.31 (with the feature gate ImageVolume; without it from 1.35), and this is %s: build the plugins into the image, or let the host pull them (config.plugins.NAME.image)" $version) -}}
{{- end -}}
{{- range .Values.pluginImages -}}
{{- if and .subPath (semverCompare "<1.33.0-0" $version) -}}
{{- fail (printf "pluginImages: subPath of %s needs Kubernetes 1.33, and this is %s" .name $version) -}}
{{- end -}}
{{- end -}}
{{- end -}}
