{{/* The longest suffix of a name has 11 characters, and 63 are the most for a Service. */}}
{{- define "switchboard.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "switchboard.identity" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The component tells the gateway's pods from that of the test. */}}
{{- define "switchboard.selectorLabels" -}}
{{ include "switchboard.identity" . }}
app.kubernetes.io/component: gateway
{{- end -}}

{{- define "switchboard.labels" -}}
{{ include "switchboard.identity" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A root, and further labels, which go before the common ones: a key that is there twice is no YAML. */}}
{{- define "switchboard.labelsAnd" -}}
{{- toYaml (merge (deepCopy (last .)) (include "switchboard.labels" (first .) | fromYaml)) -}}
{{- end -}}

{{- define "switchboard.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "switchboard.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "switchboard.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The labels by which the series of these pods are told from all others, as the operator sets them. */}}
{{- define "switchboard.seriesLabels" -}}
{{- if .Values.prometheusRule.seriesLabels -}}
{{- toYaml .Values.prometheusRule.seriesLabels -}}
{{- else -}}
namespace: {{ .Release.Namespace | quote }}
{{- if .Values.serviceMonitor.enabled }}
job: {{ include "switchboard.fullname" . }}-headless
{{- else }}
job: {{ .Release.Namespace }}/{{ include "switchboard.fullname" . }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* The same as queries want them. */}}
{{- define "switchboard.seriesMatchers" -}}
{{- $matchers := list -}}
{{- range $label, $value := include "switchboard.seriesLabels" . | fromYaml -}}
{{- $matchers = append $matchers (printf "%s=%q" $label $value) -}}
{{- end -}}
{{- join ", " $matchers -}}
{{- end -}}
