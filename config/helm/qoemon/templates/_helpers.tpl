{{/*
Name of everything: at most 52 characters, so that those with a suffix keep within 63. Kubernetes adds 11 to the name of a
set. Services may have no dot in their names and begin with a letter; releases need not.
*/}}
{{- define "qoemon.fullname" -}}
{{- $name := .Release.Name -}}
{{- if not (contains "qoemon" $name) }}{{ $name = printf "%s-qoemon" $name }}{{ end -}}
{{- if regexMatch "^[0-9]" $name }}{{ $name = printf "qoemon-%s" $name }}{{ end -}}
{{- include "qoemon.shortened" (list (default ($name | replace "." "-") .Values.fullnameOverride) 52) -}}
{{- end -}}

{{/* A name of at most so many characters that does not end in a dash; arguments: name, characters. */}}
{{- define "qoemon.shortened" -}}
{{- index . 0 | trunc (index . 1) | trimAll "-" -}}
{{- end -}}

{{/* Name of the set of a bridge; arguments: the chart, the bridge. */}}
{{- define "qoemon.bridgeName" -}}
{{- $suffix := printf "-bridge-%s" (index . 1).name -}}
{{- include "qoemon.shortened" (list (include "qoemon.fullname" (index . 0)) (sub 52 (len $suffix) | int)) }}{{ $suffix -}}
{{- end -}}

{{/* Labels by which the pods of the release are selected. */}}
{{- define "qoemon.selector" -}}
app.kubernetes.io/name: qoemon
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The daemons of all releases in the namespace, as a peer of a policy: those of a pair ask each other. */}}
{{- define "qoemon.daemons" -}}
podSelector:
  matchLabels:
    app.kubernetes.io/name: qoemon
    app.kubernetes.io/component: daemon
{{- end -}}

{{- define "qoemon.labels" -}}
{{ include "qoemon.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The image; a digest says which one it is, whatever the tag. */}}
{{- define "qoemon.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{/* Seconds of a duration such as 1m30s; milliseconds are left out. */}}
{{- define "qoemon.seconds" -}}
{{- $seconds := 0 -}}
{{- range $unit, $length := dict "d" 86400 "h" 3600 "m" 60 "s" 1 -}}
{{- with regexFind (printf "[0-9]+%s" $unit) (regexReplaceAll "[0-9]+ms" $ "") -}}
{{- $seconds = add $seconds (mul (trimSuffix $unit . | int) $length) -}}
{{- end -}}
{{- end -}}
{{- $seconds -}}
{{- end -}}

{{/* "true" if a cluster counts the reports. */}}
{{- define "qoemon.clustered" -}}
{{- if eq (dig "engine" "kind" "" .Values.config) "spark" }}true{{ end -}}
{{- end -}}

{{/* The component with the inputs: it has the collector. */}}
{{- define "qoemon.receiver" -}}
{{- if include "qoemon.clustered" . }}bridge{{ else }}daemon{{ end -}}
{{- end -}}

{{- define "qoemon.httpPort" -}}
{{- dig "http" "port" 9877 .Values.config | int -}}
{{- end -}}

{{/* Port of the collector; "" if there is none. With {} there is one, with null there is none. */}}
{{- define "qoemon.collectorPort" -}}
{{- if kindIs "map" .Values.config.collector }}{{ dig "port" 9878 .Values.config.collector | int }}{{ end -}}
{{- end -}}

{{/* What is wrong with the values and is better said here than by a pod. */}}
{{- define "qoemon.checked" -}}
{{- $config := .Values.config -}}
{{- $collects := kindIs "map" $config.collector -}}
{{- $mqtt := $config.mqtt -}}
{{- $broker := and (kindIs "map" $mqtt) (or (dig "host" "" (default dict $mqtt)) (dig "hosts" "" (default dict $mqtt))) -}}
{{- $none := and (hasKey $config "mqtt") (not (kindIs "map" $mqtt)) -}}
{{- if not (or $broker (and $none $collects)) -}}
{{- fail "config.mqtt.host is not set: name the MQTT broker; or, for players that post over HTTP only, set config.mqtt to null and config.collector to {host: 0.0.0.0}" -}}
{{- end -}}
{{- if $collects -}}
{{- if has (default "127.0.0.1" $config.collector.host) (list "127.0.0.1" "localhost" "::1") -}}
{{- fail "config.collector.host is a loopback address, so no player can reach the pod: set it to 0.0.0.0" -}}
{{- end -}}
{{- end -}}
{{- if not $config.state.dir -}}
{{- fail "config.state.dir is not set: it is where the volume with the state is mounted, such as /var/lib/qoemon" -}}
{{- end -}}
{{- range list "/etc" "/tmp" "/opt" "/usr" "/dev" "/proc" "/sys" -}}
{{- if or (eq (trimSuffix "/" $config.state.dir) .) (hasPrefix (printf "%s/" .) $config.state.dir) -}}
{{- fail (printf "config.state.dir is %s, where the pod has files of its own: set it to a folder for the volume with the state, such as /var/lib/qoemon" $config.state.dir) -}}
{{- end -}}
{{- end -}}
{{- if or (not (hasPrefix "/" $config.state.dir)) (eq $config.state.dir "/") -}}
{{- fail (printf "config.state.dir is %s: set it to the absolute path of a folder for the volume with the state, such as /var/lib/qoemon" $config.state.dir) -}}
{{- end -}}
{{- $stop := include "qoemon.seconds" (default "10s" $config.shutdown_timeout | toString) | int -}}
{{- if le (int .Values.terminationGracePeriodSeconds) $stop -}}
{{- fail (printf "terminationGracePeriodSeconds is %d: set it to more than config.shutdown_timeout (%s), or the daemon is killed while it stores its state" (int .Values.terminationGracePeriodSeconds) (default "10s" $config.shutdown_timeout)) -}}
{{- end -}}
{{- if has $config.http.host (list "127.0.0.1" "localhost" "::1") -}}
{{- fail "config.http.host is a loopback address, so neither probes nor Prometheus can reach the pod: set it to 0.0.0.0" -}}
{{- end -}}
{{- if and .Values.collector.ingress.enabled (not $collects) -}}
{{- fail "collector.ingress.enabled needs config.collector, for example {host: 0.0.0.0}" -}}
{{- end -}}
{{- if and (include "qoemon.clustered" .) (not .Values.persistence.enabled) -}}
{{- fail "persistence.enabled is false, but the driver of a cluster needs its state directory" -}}
{{- end -}}
{{- if and .Values.maintenance .Values.spark.operator -}}
{{- fail "maintenance is for the pod of a StatefulSet: set spark.operator to false while you work on the state" -}}
{{- end -}}
{{- end -}}

{{/* Keys of the configuration that its rules depend on. A test compares them with what `qoemon rules` writes. */}}
{{- define "qoemon.rulesDependOn" -}}
alerts collector labels limits.groups limits.inbox_bytes limits.inbox_messages limits.sessions mqtt.topics
notify.alertmanagers notify.mqtt notify.webhooks pair services sessions.rating_interval sessions.tick
sessions.timeout state.journal_bytes
{{- end -}}

{{/* Fails if the rules of the default configuration do not fit. */}}
{{- define "qoemon.rulesFit" -}}
{{- $config := .Values.config -}}
{{- $changed := list -}}
{{- range $path := regexSplit "\\s+" (include "qoemon.rulesDependOn" .) -1 -}}
{{- $value := $config -}}
{{- range splitList "." $path -}}
{{- $value = ternary $value dict (kindIs "map" $value) -}}
{{- $value = ternary (get $value .) nil (hasKey $value .) -}}
{{- end -}}
{{- /* An empty value is the default one, but no alerts are fewer, and a collector without keys is one more. */ -}}
{{- $empty := and (kindIs "invalid" $value | not) (has $path (list "alerts" "collector")) -}}
{{- if or $value $empty }}{{ $changed = append $changed (printf "config.%s" $path) }}{{ end -}}
{{- end -}}
{{- if include "qoemon.clustered" . }}{{ $changed = append $changed "config.engine.kind" }}{{ end -}}
{{- if $changed -}}
{{- fail (printf "prometheusRule.rules is not set, and the rules of the default configuration do not fit, since %s is set. Write those of your configuration: qoemon rules -c qoemon.yaml > rules.yml, and add to this and each later helm command: --set-file prometheusRule.rules=rules.yml" (join ", " $changed)) -}}
{{- end -}}
{{- end -}}

{{/* Fails if the boards of the default configuration do not fit: their panels would have no data. */}}
{{- define "qoemon.boardsFit" -}}
{{- $config := .Values.config -}}
{{- $changed := list -}}
{{- range list "services" "windows" "labels" -}}
{{- if hasKey $config . }}{{ $changed = append $changed (printf "config.%s" .) }}{{ end -}}
{{- end -}}
{{- range $section, $key := dict "collector" "paths" "sessions" "rating_interval" -}}
{{- if hasKey (default dict (get $config $section)) $key }}{{ $changed = append $changed (printf "config.%s.%s" $section $key) }}{{ end -}}
{{- end -}}
{{- $usual := list "qoe/v1/{service}/{region}/{cdn}" -}}
{{- if ne (toJson $usual) (toJson (dig "topics" $usual (default dict $config.mqtt))) }}{{ $changed = append $changed "config.mqtt.topics" }}{{ end -}}
{{- if $changed -}}
{{- fail (printf "dashboards.boards is not set, and the boards of the default configuration do not fit, since %s is set. Write those of your configuration: qoemon dashboards grafana/ -c qoemon.yaml, and add each of them to this and each later helm command: --set-file 'dashboards.boards.qoemon-slo\\.json=grafana/dashboards/qoemon-slo.json'" (join ", " $changed)) -}}
{{- end -}}
{{- end -}}

{{/*
The configuration as it is in the values. For a cluster, what follows from the release is added to engine.options;
what the values say takes precedence.
*/}}
{{- define "qoemon.config" -}}
{{- include "qoemon.checked" . -}}
{{- $config := deepCopy .Values.config -}}
{{- if include "qoemon.clustered" . -}}
{{- $name := include "qoemon.fullname" . -}}
{{- $options := dict
    "spark.kubernetes.namespace" .Release.Namespace
    "spark.kubernetes.container.image" (include "qoemon.image" .)
    "spark.kubernetes.container.image.pullPolicy" .Values.image.pullPolicy
    "spark.kubernetes.executor.podNamePrefix" (include "qoemon.shortened" (list $name 47))
    "spark.kubernetes.executor.podTemplateFile" "/etc/qoemon/executor.yaml"
    "spark.jars.ivy" "/tmp/ivy" -}}
{{- if not .Values.spark.operator -}}
{{- /* Executors find the driver by its name; by default they would look for it at its bind address. */ -}}
{{- $options = merge $options (dict
    "spark.kubernetes.executor.useDriverPodIP" "false"
    "spark.kubernetes.driver.pod.name" (printf "%s-0" $name)
    "spark.driver.host" (printf "%s-0.%s-pods.%s.svc" $name $name .Release.Namespace)
    "spark.driver.bindAddress" "0.0.0.0"
    "spark.driver.port" "7078"
    "spark.driver.blockManager.port" "7079") -}}
{{- end -}}
{{- with .Values.image.pullSecrets -}}
{{- $names := list -}}
{{- range . }}{{ $names = append $names .name }}{{ end -}}
{{- $_ := set $options "spark.kubernetes.container.image.pullSecrets" (join "," $names) -}}
{{- end -}}
{{- $engine := dict "master" "k8s://https://kubernetes.default.svc" -}}
{{- if .Values.spark.checkpoint.enabled -}}
{{- $_ := set $engine "checkpoint" "/var/lib/qoemon-checkpoint" -}}
{{- end -}}
{{- $engine = merge $engine (dict "options" $options) -}}
{{- $_ := set $config "engine" (mergeOverwrite $engine $config.engine) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "qoemon.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
# Without this, the owner of every file of the volume would be set at each start.
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* Folders with the files of Secrets, for a container. */}}
{{- define "qoemon.secretMounts" -}}
{{- range $folder, $_ := .Values.secrets }}
- {name: secret-{{ $folder }}, mountPath: /etc/qoemon-secrets/{{ $folder }}, readOnly: true}
{{- end }}
{{- end -}}

{{- define "qoemon.secretVolumes" -}}
{{- range $folder, $secret := .Values.secrets }}
- name: secret-{{ $folder }}
  # Readable for the group of the pod.
  secret: {secretName: {{ default (printf "%s-%s" (include "qoemon.fullname" $) $folder) $secret.existing }}, defaultMode: 0440}
{{- end }}
{{- end -}}

{{/*
How Kubernetes sees whether the daemon runs. /healthz fails when ticks stop, whatever the broker does: only then a
restart helps. /readyz is 503 without the broker. Both are answered while the state is loaded, but not before Python has
imported everything. With a web configuration file they may ask for a password or TLS, so that only the port is tried.
*/}}
{{- define "qoemon.probes" -}}
{{- $open := empty .Values.config.http.web_config_file -}}
startupProbe:
  {{- if $open }}
  httpGet: {path: /healthz, port: http}
  {{- else }}
  tcpSocket: {port: http}
  {{- end }}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 60
livenessProbe:
  {{- if $open }}
  httpGet: {path: /healthz, port: http}
  {{- else }}
  tcpSocket: {port: http}
  {{- end }}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  {{- if $open }}
  httpGet: {path: /readyz, port: http}
  {{- else }}
  tcpSocket: {port: http}
  {{- end }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}

{{/*
Metadata and spec of a pod. root: that of the chart; component; labels: further ones, by which its set selects it;
args: after the name of the program; resources; operator: whether Spark's operator makes the pod.
*/}}
{{- define "qoemon.pod" -}}
{{- $root := .root -}}
{{- $clustered := include "qoemon.clustered" $root -}}
{{- $driver := and $clustered (eq .component "daemon") -}}
{{- $idle := and $root.Values.maintenance (eq .component "daemon") -}}
metadata:
  labels:
    {{- include "qoemon.selector" $root | nindent 4 }}
    {{- toYaml .labels | nindent 4 }}
    {{- with $root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # Changed files restart the pod: not every key changes at run time, and a restart loses nothing.
    checksum/config: {{ include (print $root.Template.BasePath "/configmap.yaml") $root | sha256sum }}
    checksum/secrets: {{ include (print $root.Template.BasePath "/secrets.yaml") $root | sha256sum }}
    {{- with $root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "qoemon.fullname" $root }}
  # Only the driver speaks to Kubernetes, to start executors.
  automountServiceAccountToken: {{ not (empty $driver) }}
  terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds }}
  securityContext:
    {{- include "qoemon.podSecurity" $root | nindent 4 }}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  containers:
    {{- if .operator }}
    # The operator sets image and command of the container with this name.
    - name: spark-kubernetes-driver
    {{- else }}
    - name: qoemon
      image: {{ include "qoemon.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      {{- if $idle }}
      # The first process of a container gets no signal that it does not ask for.
      command: [sh, -c, "trap exit TERM; sleep infinity & wait"]
      {{- else }}
      # The entry point of the image for a cluster is a script of Spark, which takes a command.
      args: {{ concat (ternary (list "qoemon") list (not (empty $clustered))) .args | toJson }}
      {{- end }}
      {{- with .resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
      {{- with $root.Values.env }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - {name: http, containerPort: {{ include "qoemon.httpPort" $root }}}
        {{- if and (include "qoemon.collectorPort" $root) (eq .component (include "qoemon.receiver" $root)) }}
        - {name: collector, containerPort: {{ include "qoemon.collectorPort" $root }}}
        {{- end }}
        {{- if $driver }}
        - {name: driver, containerPort: 7078}
        - {name: blocks, containerPort: 7079}
        {{- end }}
      {{- if not $idle }}
      {{- include "qoemon.probes" $root | nindent 6 }}
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: config, mountPath: /etc/qoemon, readOnly: true}
        - {name: state, mountPath: {{ $root.Values.config.state.dir | quote }}}
        - {name: tmp, mountPath: /tmp}
        {{- if and $driver $root.Values.spark.checkpoint.enabled }}
        - {name: checkpoint, mountPath: /var/lib/qoemon-checkpoint}
        {{- end }}
        {{- with include "qoemon.secretMounts" $root }}
        {{- . | trim | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ include "qoemon.fullname" $root }}}
    - name: tmp
      emptyDir: {}
    {{- if not $root.Values.persistence.enabled }}
    - name: state
      emptyDir: {}
    {{- end }}
    {{- if .operator }}
    - name: state
      persistentVolumeClaim: {claimName: {{ include "qoemon.fullname" $root }}-state}
    {{- end }}
    {{- if and $driver $root.Values.spark.checkpoint.enabled }}
    - name: checkpoint
      persistentVolumeClaim: {claimName: {{ include "qoemon.fullname" $root }}-checkpoint}
    {{- end }}
    {{- with include "qoemon.secretVolumes" $root }}
    {{- . | trim | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Claim of a state directory. root: the chart; component. */}}
{{- define "qoemon.claim" -}}
accessModes: [ReadWriteOnce]
{{- with .root.Values.persistence.storageClassName }}
storageClassName: {{ . | quote }}
{{- end }}
# A bridge has only what it knows of its session at the broker.
resources:
  requests: {storage: {{ ternary "1Gi" .root.Values.persistence.size (eq .component "bridge") }}}
{{- end -}}

{{/* A set of one pod with its volume. name; and what qoemon.pod takes. */}}
{{- define "qoemon.set" -}}
{{- $root := .root -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ .name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "qoemon.labels" $root | nindent 4 }}
    {{- toYaml .labels | nindent 4 }}
spec:
  serviceName: {{ include "qoemon.fullname" $root }}-pods
  # A state directory and a session at the broker belong to one process.
  replicas: 1
  # With OrderedReady, a pod that does not become ready would have to be deleted by hand before a rollback.
  podManagementPolicy: Parallel
  selector:
    matchLabels:
      {{- include "qoemon.selector" $root | nindent 6 }}
      {{- toYaml .labels | nindent 6 }}
  template:
    {{- include "qoemon.pod" . | nindent 4 }}
  {{- if $root.Values.persistence.enabled }}
  volumeClaimTemplates:
    - metadata: {name: state}
      spec:
        {{- include "qoemon.claim" . | nindent 8 }}
  {{- end }}
{{- end -}}
