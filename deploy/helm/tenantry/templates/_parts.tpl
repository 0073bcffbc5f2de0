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

{{- define "tenantry.pod" -}}
automountServiceAccountToken: false
securityContext: {runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - {name: data, emptyDir: {}}
  - {name: tmp, emptyDir: {}}
  - {name: config, configMap: {name: {{ .Release.Name }}-config}}
  - {name: keys, secret: {secretName: {{ .Values.existingSecret }}, defaultMode: 0440, items: [{key: master-key, path: master.key}]}}
{{- end }}

{{- define "tenantry.container" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
env:
  - {name: TENANTRY_CONFIG, value: /etc/tenantry/tenantry.toml}
  - {name: TENANTRY_KAFKA_BOOTSTRAP, value: {{ .Values.kafkaBootstrap | quote }}}
  - {name: TENANTRY_MASTER_KEY_FILE, value: /run/tenantry/master.key}
  - {name: TENANTRY_METRICS_PORT, value: {{ .Values.metricsPort | quote }}}
  - {name: TENANTRY_METRICS_ADDRESS, value: "0.0.0.0"}
  - name: TENANTRY_DATABASE_URL
    valueFrom: {secretKeyRef: {name: {{ .Values.existingSecret }}, key: database-url}}
  - name: TENANTRY_SEAL_KEY
    valueFrom: {secretKeyRef: {name: {{ .Values.existingSecret }}, key: seal-key, optional: true}}
volumeMounts:
  - {name: data, mountPath: /var/lib/tenantry}
  - {name: tmp, mountPath: /tmp}
  - {name: config, mountPath: /etc/tenantry, readOnly: true}
  - {name: keys, mountPath: /run/tenantry, readOnly: true}
{{- end }}
