{{/* agenthost.config is the text of /etc/agenthost/agenthost.yaml. */}}
{{- define "agenthost.config" -}}
{{- if .Values.configFile -}}
{{- .Values.configFile -}}
{{- else -}}
{{- $config := deepCopy .Values.config -}}
{{- if and .Values.tls.secretName (not (dig "listen" "tls" "cert" "" $config)) -}}
{{- $tls := dict "cert" "/etc/agenthost-tls/tls.crt" "key" "/etc/agenthost-tls/tls.key" -}}
{{- if .Values.tls.clientCA -}}{{- $_ := set $tls "client_ca" "/etc/agenthost-tls/ca.crt" -}}{{- end -}}
{{- $_ := set $config.listen "tls" (merge $tls (dig "listen" "tls" dict $config)) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
{{- end -}}

{{/* agenthost.settings is what that text says, as YAML. */}}
{{- define "agenthost.settings" -}}
{{- $settings := include "agenthost.config" . | fromYaml -}}
{{- with $settings.Error -}}
{{- fail (printf "configFile is no YAML (nor JSON): %s" .) -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* agenthost.port is the port of an address host:port. */}}
{{- define "agenthost.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end -}}

{{- define "agenthost.probePort" -}}
{{- include "agenthost.port" (dig "listen" "probe" "" (include "agenthost.settings" . | fromYaml)) -}}
{{- end -}}

{{/* agenthost.restartHash stands for what a running host does not take up: everything but these four. */}}
{{- define "agenthost.restartHash" -}}
{{- omit (include "agenthost.settings" . | fromYaml) "plugins" "routes" "access" "create" | toYaml | sha256sum | trunc 16 -}}
{{- end -}}

{{/* agenthost.stopSeconds is how long the host may take to stop, in seconds. */}}
{{- define "agenthost.stopSeconds" -}}
{{- $settings := include "agenthost.settings" . | fromYaml -}}
{{- $longest := 0 -}}
{{- range $plugin := $settings.plugins -}}
{{- if not $plugin.address -}}
{{- $longest = max $longest (include "agenthost.seconds" ($plugin.stop_timeout | default "10s") | int64) -}}
{{- end -}}
{{- end -}}
{{- add (include "agenthost.seconds" ($settings.drain_delay | default "0s")) (include "agenthost.seconds" ($settings.shutdown_timeout | default "30s")) $longest .Values.preStopSeconds -}}
{{- end -}}

{{- define "agenthost.graceSeconds" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- add (include "agenthost.stopSeconds" .) 5 -}}
{{- else -}}
{{- int64 .Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}

{{/* agenthost.isDuckDB says, by its program or else its name, whether a plugin is duckdb: a dict of name and plugin. */}}
{{- define "agenthost.isDuckDB" -}}
{{- if .plugin.command -}}
{{- if eq (base (first .plugin.command)) "duckdb" -}}yes{{- end -}}
{{- else if and .plugin.image (eq .name "duckdb") -}}yes{{- end -}}
{{- end -}}

{{/*
agenthost.jobsDirectory is the directory in which a plugin keeps its jobs, empty where it keeps none: jobs in a bucket (jobs: s3://…)
are in none. A plugin that nothing is known of, but that it has a state_dir, keeps something there. A dict of name and plugin.
*/}}
{{- define "agenthost.jobsDirectory" -}}
{{- $config := .plugin.config | default dict -}}
{{- $jobs := toString ($config.jobs | default "") -}}
{{- if .plugin.address -}}
{{- else if hasPrefix "file://" $jobs -}}
{{- trimPrefix "file://" $jobs -}}
{{- else if hasPrefix "/" $jobs -}}
{{- $jobs -}}
{{- else if contains "://" $jobs -}}
{{- else if $config.state_dir -}}
{{- $config.state_dir -}}
{{- else if include "agenthost.isDuckDB" . -}}
its default state_dir
{{- end -}}
{{- end -}}

{{/*
agenthost.keepers are the plugins that keep jobs in the data volume, as a YAML list. A directory on one of additionalVolumeMounts is
somebody's own, who knows who can write it.
*/}}
{{- define "agenthost.keepers" -}}
{{- $keepers := list -}}
{{- range $name, $plugin := (include "agenthost.settings" . | fromYaml).plugins -}}
{{- $directory := include "agenthost.jobsDirectory" (dict "name" $name "plugin" $plugin) -}}
{{- $own := has $name $.Values.persistence.notNeededBy -}}
{{- range $.Values.additionalVolumeMounts -}}
{{- if hasPrefix (printf "%s/" (trimSuffix "/" .mountPath)) (printf "%s/" $directory) -}}{{- $own = true -}}{{- end -}}
{{- end -}}
{{- if and $directory (not $own) -}}
{{- $keepers = append $keepers $name -}}
{{- end -}}
{{- end -}}
{{- toYaml $keepers -}}
{{- end -}}

{{/* agenthost.replicas is the most replicas that there may be. */}}
{{- define "agenthost.replicas" -}}
{{- if .Values.autoscaling.enabled -}}{{- .Values.autoscaling.maxReplicas | int -}}{{- else -}}{{- .Values.replicaCount | int -}}{{- end -}}
{{- end -}}
