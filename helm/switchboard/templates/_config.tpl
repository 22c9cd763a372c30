{{/* Where the configuration and all the files that it names are in the container. */}}
{{- define "switchboard.folder" -}}
/etc/switchboard
{{- end -}}

{{/*
Turns the values below `config` into what the gateway reads, in place: `key: { existingSecret: NAME }`
becomes `key_file: PATH`, and is noted in `sources` for the volume. What is empty is left out.
Takes node, path (a list) and sources (a dict), and renders nothing.
*/}}
{{- define "switchboard.resolve" -}}
{{- $node := .node -}}
{{- $path := .path -}}
{{- $sources := .sources -}}
{{- $keys := dict "cert" "tls.crt" "key" "tls.key" "client_cert" "tls.crt" "client_key" "tls.key" "ca" "ca.crt" "client_ca" "ca.crt" "crl" "crl.pem" "jwks" "jwks.json" -}}
{{- range $name, $value := $node -}}
{{- $here := append $path $name -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $node $name -}}
{{- else if kindIs "float64" $value -}}
{{- $_ := set $node $name (int64 $value) -}}
{{- else if kindIs "map" $value -}}
{{- if or (hasKey $value "existingSecret") (hasKey $value "existingConfigMap") -}}
{{- $file := join "/" $here -}}
{{- $kind := ternary "secret" "configMap" (hasKey $value "existingSecret") -}}
{{- $object := default $value.existingConfigMap $value.existingSecret -}}
{{- $key := default (get $keys $name | default $name) $value.key -}}
{{- $_ := set $sources $file (dict $kind (dict "name" $object "items" (list (dict "key" $key "path" $file)))) -}}
{{- $_ := unset $node $name -}}
{{- $_ := set $node (printf "%s_file" $name) (printf "%s/%s" (include "switchboard.folder" $) $file) -}}
{{- else if $value -}}
{{- include "switchboard.resolve" (dict "node" $value "path" $here "sources" $sources) -}}
{{- else -}}
{{- $_ := unset $node $name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The gateway's configuration file. */}}
{{- define "switchboard.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $_ := set $config.server "listen" (printf "%s:%d" .Values.listenHost (int .Values.ports.grpc)) -}}
{{- $_ := set $config.server "admin_listen" (printf "%s:%d" .Values.listenHost (int .Values.ports.admin)) -}}
{{- include "switchboard.resolve" (dict "node" $config "path" list "sources" dict) -}}
{{- toYaml $config -}}
{{- end -}}

{{/* The sources of the projected volume: the configuration, and the files that it names. */}}
{{- define "switchboard.sources" -}}
{{- $sources := dict -}}
{{- include "switchboard.resolve" (dict "node" (deepCopy .Values.config) "path" list "sources" $sources) -}}
- configMap:
    name: {{ include "switchboard.fullname" . }}
    items:
      - key: switchboard.yaml
        path: switchboard.yaml
{{- range $file, $source := $sources }}
{{ toYaml (list $source) }}
{{- end }}
{{- end -}}

{{/* What the container is told to do. */}}
{{- define "switchboard.args" -}}
{{- if .Values.sandbox.enabled -}}
- sandbox
- --listen={{ .Values.listenHost }}:{{ .Values.ports.grpc }}
- --admin-listen={{ .Values.listenHost }}:{{ .Values.ports.admin }}
{{- else -}}
- serve
- --config={{ include "switchboard.folder" . }}/switchboard.yaml
{{- end }}
{{- end -}}

{{/* A duration of the configuration in whole seconds, rounded up. */}}
{{- define "switchboard.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- if hasSuffix "ms" . -}}
{{- div (add $number 999) 1000 -}}
{{- else if hasSuffix "m" . -}}
{{- mul $number 60 -}}
{{- else -}}
{{- $number -}}
{{- end -}}
{{- end -}}

{{/* A sandbox has figures of its own, which are less than the defaults here. */}}
{{- define "switchboard.gracePeriodNeeded" -}}
{{- $delay := include "switchboard.seconds" .Values.config.server.shutdown_delay | int64 -}}
{{- $drain := include "switchboard.seconds" .Values.config.server.drain_timeout | int64 -}}
{{- add $delay $drain .Values.terminationMarginSeconds -}}
{{- end -}}

{{- define "switchboard.gracePeriod" -}}
{{- $needed := include "switchboard.gracePeriodNeeded" . | int64 -}}
{{- $wanted := .Values.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $wanted -}}
{{- $needed -}}
{{- else if lt (int64 $wanted) $needed -}}
{{- fail (printf "terminationGracePeriodSeconds: %d is less than the %d that config.server.shutdown_delay, config.server.drain_timeout and terminationMarginSeconds add up to: calls would be cut" (int64 $wanted) $needed) -}}
{{- else -}}
{{- int64 $wanted -}}
{{- end -}}
{{- end -}}
