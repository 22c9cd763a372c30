{{/* Variables that say where a span was made. Attributes may use only what stands above them. What
version it was made by is known to the image alone. */}}
{{- define "switchboard.ownEnv" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_UID
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: OTEL_SERVICE_NAME
  value: {{ include "switchboard.fullname" . }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ include "switchboard.resourceAttributes" . | quote }}
{{- with .Values.otel.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: {{ $.Values.otel.protocol }}
{{- end }}
{{- end -}}

{{/* A name that is there twice would be refused by server-side apply. */}}
{{- define "switchboard.env" -}}
{{- $theirs := list -}}
{{- range .Values.extraEnv }}
{{- $theirs = append $theirs .name }}
{{- end }}
{{- range include "switchboard.ownEnv" . | fromYamlArray }}
{{- if not (has .name $theirs) }}
{{ toYaml (list .) }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "switchboard.resourceAttributes" -}}
service.instance.id=$(POD_UID),service.namespace=$(POD_NAMESPACE),k8s.namespace.name=$(POD_NAMESPACE),k8s.pod.name=$(POD_NAME),k8s.pod.uid=$(POD_UID),k8s.node.name=$(NODE_NAME),k8s.deployment.name={{ include "switchboard.fullname" . }},k8s.container.name=switchboard
{{- range $name, $value := .Values.otel.resourceAttributes }},{{ $name }}={{ $value }}{{ end }}
{{- end -}}

{{- define "switchboard.container" -}}
name: switchboard
image: {{ include "switchboard.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  {{- include "switchboard.args" . | nindent 2 }}
env:
  {{- include "switchboard.env" . | trim | nindent 2 }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: grpc
    containerPort: {{ .Values.ports.grpc }}
    protocol: TCP
  - name: admin
    containerPort: {{ .Values.ports.admin }}
    protocol: TCP
# Whether it has to be begun anew is never a question of health: that is no until the first keys of
# tokens are there, and who asks has to get a connection.
startupProbe:
  httpGet: { path: /livez, port: admin }
  {{- toYaml .Values.probes.startup | nindent 2 }}
readinessProbe:
  {{- if eq .Values.probes.type "grpc" }}
  grpc: { port: {{ .Values.ports.grpc }} }
  {{- else }}
  httpGet: { path: /readyz, port: admin }
  {{- end }}
  {{- toYaml .Values.probes.readiness | nindent 2 }}
livenessProbe:
  httpGet: { path: /livez, port: admin }
  {{- toYaml .Values.probes.liveness | nindent 2 }}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- if or (not .Values.sandbox.enabled) .Values.extraVolumeMounts }}
volumeMounts:
  {{- if not .Values.sandbox.enabled }}
  - name: config
    mountPath: {{ include "switchboard.folder" . }}
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "switchboard.volumes" -}}
{{- if not .Values.sandbox.enabled }}
- name: config
  projected:
    # Of the group, which is the pod's fsGroup, and of nobody else.
    defaultMode: 0440
    sources:
      {{- include "switchboard.sources" . | nindent 6 }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Constraints that say nothing of whom they are about are about our pods. */}}
{{- define "switchboard.spread" -}}
{{- $ours := dict "matchLabels" (include "switchboard.selectorLabels" . | fromYaml) -}}
{{- range .Values.topologySpreadConstraints }}
{{ toYaml (list (hasKey . "labelSelector" | ternary . (set (deepCopy .) "labelSelector" $ours))) }}
{{- end }}
{{- end -}}
