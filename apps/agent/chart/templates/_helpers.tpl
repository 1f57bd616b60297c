{{- define "bpfleet-agent.selector" -}}
app.kubernetes.io/name: bpfleet-agent
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of the agents' pods: `helm test` has one, too. */}}
{{- define "bpfleet-agent.workload" -}}
{{ include "bpfleet-agent.selector" . }}
app.kubernetes.io/component: agent
{{- end }}

{{- define "bpfleet-agent.labels" -}}
{{ include "bpfleet-agent.workload" . }}
app.kubernetes.io/part-of: bpfleet
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- /* Flux adds the commit to the version, behind a plus that no label may have. */}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Of pods: nothing that changes with each commit, which would start all of them anew. */}}
{{- define "bpfleet-agent.podLabels" -}}
{{ include "bpfleet-agent.workload" . }}
app.kubernetes.io/part-of: bpfleet
{{- end }}

{{- define "bpfleet-agent.image" -}}
{{- $image := .Values.image -}}
{{- with $image.registry }}{{ . }}/{{ end }}{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}{{ with $image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* Of a cluster-wide object: two releases of one name may live in two namespaces. */}}
{{- define "bpfleet-agent.clusterName" -}}
{{ .Release.Namespace }}:{{ .Release.Name }}
{{- end }}

{{/* The settings file: what the user says, then what other values decide, which the schema keeps out of the former. */}}
{{- define "bpfleet-agent.settings" -}}
{{- $tls := .Values.server.tls }}
{{- $kernel := dict "cgroup_root" "/host/cgroup" }}
{{- if ne .Values.headerCache.type "none" }}
{{- /* The directory itself may be one that everybody can write (an emptyDir is): the agent makes its own in it. */}}
{{- $_ := set $kernel "cache" "/var/cache/bpfleet/headers" }}
{{- end }}
{{- $server := dict }}
{{- if $tls.secretName }}
{{- $server = dict "certificate_file" (printf "/etc/bpfleet/tls/%s" $tls.certificate) "key_file" (printf "/etc/bpfleet/tls/%s" $tls.key) }}
{{- end }}
{{- if .Values.server.token.secretName }}
{{- $_ := set $server "token_file" (printf "/etc/bpfleet/token/%s" .Values.server.token.key) }}
{{- end }}
{{- $sinks := dict }}
{{- range $sink, $secret := .Values.sinks }}
{{- $files := dict }}
{{- if $secret.secretName }}
{{- range $part, $key := omit $secret "secretName" }}
{{- if $key }}{{ $_ := set $files (printf "%s_file" $part) (printf "/etc/bpfleet/sinks/%s/%s" $sink $key) }}{{ end }}
{{- end }}
{{- end }}
{{- if and $secret.secretName (not $files) }}
{{- fail (printf "sinks.%s.secretName is given and none of its keys: name those that are used" $sink) }}
{{- end }}
{{- if $files }}{{ $_ := set $sinks $sink $files }}{{ end }}
{{- end }}
{{- $own := dict
  "listen" (printf "%s:%d" .Values.listenAddress (int .Values.port))
  "identity" (dict "kubernetes" (ternary "on" "off" .Values.enrichment.enabled) "docker" "off")
  "kernel" $kernel }}
{{- if $server }}{{ $_ := set $own "server" $server }}{{ end }}
{{- if $sinks }}{{ $_ := set $own "sinks" $sinks }}{{ end }}
{{- if .Values.plugins.configMap }}{{ $_ := set $own "plugins" (dict "dir" "/etc/bpfleet/plugins") }}{{ end }}
{{- if .Values.security.policies.configMap }}{{ $_ := set $own "security" (dict "policies" "/etc/bpfleet/policies") }}{{ end }}
{{- toYaml (mustMergeOverwrite (deepCopy .Values.settings) $own) }}
{{- end }}

{{/* Of a Secret: those keys only that are named. */}}
{{- define "bpfleet-agent.secretVolume" -}}
secret:
  secretName: {{ .name }}
  defaultMode: 0400
  items:
    {{- range .keys | uniq }}
    - key: {{ . | quote }}
      path: {{ . | quote }}
    {{- end }}
{{- end }}

{{/* Whether it asks what namespaces ask for, as the agent itself decides it: those of the request log are on unless they
are switched off, and collectors of security events may look at those only who have asked. */}}
{{- define "bpfleet-agent.asksNamespaces" -}}
{{- $asks := ne (dig "requests" "annotations" "on" .Values.settings) "off" }}
{{- range .Values.settings.collectors }}
{{- if has (trimPrefix "+" .) (list "chmod" "egress" "exec" "file_open" "ptrace") }}{{ $asks = true }}{{ end }}
{{- end }}
{{- if $asks }}yes{{ end }}
{{- end }}

{{/* Milliseconds as Prometheus writes a time: it knows no fractions. */}}
{{- define "bpfleet-agent.duration" -}}
{{- if mod . 1000 }}{{ . }}ms{{ else }}{{ div . 1000 }}s{{ end }}
{{- end }}

{{/* What a Prometheus is told of the endpoint, by either monitor. */}}
{{- define "bpfleet-agent.endpoint" -}}
port: metrics
{{- $interval := int64 (round (mulf (float64 .Values.settings.scrape_interval_seconds) 1000) 0) }}
interval: {{ include "bpfleet-agent.duration" $interval }}
# Prometheus refuses one that is longer than the interval.
scrapeTimeout: {{ include "bpfleet-agent.duration" (min $interval (mul (int64 .Values.podMonitor.scrapeTimeoutSeconds) 1000)) }}
# Without it `namespace` and `pod` of a workload's series would be this pod's.
honorLabels: true
relabelings:
  - sourceLabels: [__meta_kubernetes_pod_node_name]
    targetLabel: node
  # By either monitor the one name that rules know.
  - targetLabel: job
    replacement: {{ .Release.Namespace }}/{{ .Release.Name }}
{{- with .Values.server.tls }}
{{- if .secretName }}
scheme: https
tlsConfig:
  {{- if .ca }}
  ca:
    secret:
      name: {{ .secretName }}
      key: {{ .ca }}
  # Pods are asked by address, which no certificate has.
  serverName: {{ required "server.tls.serverName is empty, and with server.tls.ca the certificate's name is checked: give the name that it has" .serverName }}
  {{- else }}
  insecureSkipVerify: true
  {{- end }}
{{- end }}
{{- end }}
{{- with .Values.server.token }}
{{- if .secretName }}
authorization:
  credentials:
    name: {{ .secretName }}
    key: {{ .key }}
{{- end }}
{{- end }}
{{- end }}

{{- define "bpfleet-agent.limits" -}}
sampleLimit: {{ add (int64 .Values.settings.limits.series) (int64 .Values.podMonitor.ownSeries) }}
labelLimit: {{ .Values.podMonitor.labelLimit }}
labelNameLengthLimit: {{ .Values.podMonitor.labelNameLengthLimit }}
labelValueLengthLimit: {{ .Values.podMonitor.labelValueLengthLimit }}
{{- end }}

{{/* The kubelet believes any certificate. */}}
{{- define "bpfleet-agent.probe" -}}
httpGet:
  path: {{ .path }}
  port: metrics
  {{- if .values.server.tls.secretName }}
  scheme: HTTPS
  {{- end }}
{{- end }}
