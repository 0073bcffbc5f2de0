{{- define "tenantry.labels" -}}
app.kubernetes.io/name: tenantry
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "tenantry.selector" -}}
app.kubernetes.io/name: tenantry
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* Pod and container take a dict: the chart's root as `root`, a row of the tables in values.yaml as `row`. */}}

{{- define "tenantry.pod" -}}
automountServiceAccountToken: false
securityContext: {runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
{{- range $name := list "nodeSelector" "tolerations" "affinity" }}
{{- with get $.row $name | default (get $.root.Values $name) }}
{{ $name }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- if .row.tenancy }}
hostPID: true  # LMDB knows its readers by their process ids
{{- end }}
{{- if .row.hostNetwork }}
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
{{- end }}
volumes:
  - {name: data, emptyDir: {}}
  - {name: tmp, emptyDir: {}}
  - {name: config, configMap: {name: {{ .root.Release.Name }}-config}}
{{- if .row.masterKey }}
  - {name: keys, secret: {secretName: {{ .root.Values.existingSecret }}, defaultMode: 0440, items: [{key: master-key, path: master.key}]}}
{{- end }}
{{- with .row.files }}
  - {name: files, secret: {secretName: {{ . }}, defaultMode: 0440}}
{{- end }}
{{- if .row.tenancy }}
  - {name: tenancy, hostPath: {path: {{ .root.Values.tenancyDir }}, type: {{ eq .row.tenancy "owner" | ternary "DirectoryOrCreate" "Directory" }}}}
{{- end }}
{{- if eq (.row.tenancy | default "") "owner" }}
initContainers:  # kubelet makes the directory for root; its owner must be the sidecar's user
  - name: owner
    image: {{ include "tenantry.image" .root }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command: [chown, "10001:10001", /run/tenancy]
    securityContext:
      runAsNonRoot: false
      runAsUser: 0
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL], add: [CHOWN]}
    volumeMounts: [{name: tenancy, mountPath: /run/tenancy}]
{{- end }}
{{- end }}

{{- define "tenantry.image" -}}
"{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
{{- end }}

{{- define "tenantry.container" -}}
image: {{ include "tenantry.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
env:
{{- if .row.database }}
  - {name: TENANTRY_CONFIG, value: /etc/tenantry/tenantry.toml}
  - {name: TENANTRY_KAFKA_BOOTSTRAP, value: {{ .root.Values.kafkaBootstrap | quote }}}
  - name: TENANTRY_DATABASE_URL
    valueFrom: {secretKeyRef: {name: {{ .root.Values.existingSecret }}, key: database-url}}
{{- end }}
{{- if .row.masterKey }}
  - {name: TENANTRY_MASTER_KEY_FILE, value: /run/tenantry/keys/master.key}
{{- end }}
{{- if .row.metrics }}
  - {name: TENANTRY_METRICS_PORT, value: {{ .root.Values.metricsPort | quote }}}
  - {name: TENANTRY_METRICS_ADDRESS, value: "0.0.0.0"}
{{- end }}
{{- if .row.sealKey }}
  - name: TENANTRY_SEAL_KEY
    valueFrom: {secretKeyRef: {name: {{ .root.Values.existingSecret }}, key: seal-key, optional: true}}
{{- end }}
{{- range $name, $value := .row.env }}
  - {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
volumeMounts:
  - {name: data, mountPath: /var/lib/tenantry}
  - {name: tmp, mountPath: /tmp}
  - {name: config, mountPath: /etc/tenantry, readOnly: true}
{{- if .row.masterKey }}
  - {name: keys, mountPath: /run/tenantry/keys, readOnly: true}
{{- end }}
{{- if .row.files }}
  - {name: files, mountPath: /run/tenantry/files, readOnly: true}
{{- end }}
{{- if .row.tenancy }}
  - {name: tenancy, mountPath: /run/tenancy}  # a reader notes in lock.mdb what it reads
{{- end }}
{{- end }}
