{{/* What no schema can say: values that contradict each other. Renders nothing. */}}
{{- define "switchboard.checks" -}}
{{- $server := .Values.config.server -}}
{{- $vendors := or .Values.config.genesys .Values.config.aicc -}}
{{- $name := include "switchboard.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "fullnameOverride, nameOverride: the objects would be called %q, which is no name for a Service: lower-case letters, digits and -, a letter first" $name) -}}
{{- end -}}
{{- range $where, $given := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels "podAnnotations" .Values.podAnnotations "serviceMonitor.labels" .Values.serviceMonitor.labels "podMonitor.labels" .Values.podMonitor.labels "prometheusRule.labels" .Values.prometheusRule.labels "dashboard.labels" .Values.dashboard.labels -}}
{{- range $key, $_ := $given -}}
{{- if regexMatch "^(app\\.kubernetes\\.io/(component|instance|managed-by|name|version)|helm\\.sh/chart|checksum/config|kubectl\\.kubernetes\\.io/default-container)$" $key -}}
{{- fail (printf "%s: %s is given by the chart itself" $where $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.sandbox.enabled -}}
{{- if or $vendors $server.tls $server.jwt .Values.config.policy -}}
{{- fail "sandbox.enabled: the sandbox takes no configuration, so config.genesys, config.aicc, config.server.tls, config.server.jwt and config.policy must be empty" -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- fail "autoscaling.enabled: the sandbox keeps its vendors in memory and is one pod" -}}
{{- end -}}
{{- if or (eq (int .Values.ports.grpc) 50052) (eq (int .Values.ports.admin) 50052) -}}
{{- fail "ports.grpc, ports.admin: the sandbox itself needs 50052, where its faults are set" -}}
{{- end -}}
{{- else -}}
{{- if not $vendors -}}
{{- fail "config.genesys, config.aicc: at least one vendor must be configured; sandbox.enabled=true tries the gateway without one" -}}
{{- end -}}
{{- if not (or $server.allow_anonymous (($server.tls).client_ca) $server.jwt) -}}
{{- fail "config.server.allow_anonymous: nobody could call: set config.server.tls.client_ca or config.server.jwt, or let everybody call who reaches the port by config.server.allow_anonymous=true" -}}
{{- end -}}
{{- end -}}
{{- if eq (int .Values.ports.grpc) (int .Values.ports.admin) -}}
{{- fail "ports.admin: the same as ports.grpc" -}}
{{- end -}}
{{- if and (hasSuffix "DualStack" .Values.service.ipFamilyPolicy) (not (hasPrefix "[" .Values.listenHost)) -}}
{{- fail (printf "listenHost: with service.ipFamilyPolicy %s the Services have IPv6 addresses, too, at which nobody listens on %s: \"[::]\" takes both" .Values.service.ipFamilyPolicy .Values.listenHost) -}}
{{- end -}}
{{- if and $server.tls (eq .Values.probes.type "grpc") -}}
{{- fail "probes.type: kubelets cannot ask the health service over TLS: use http" -}}
{{- end -}}
{{- if and $server.jwt (kindIs "slice" $server.open_methods) (eq .Values.probes.type "grpc") -}}
{{- $open := false -}}
{{- range $server.open_methods -}}
{{- $open = or $open (regexMatch (printf "^%s$" (regexQuoteMeta . | replace "\\*" ".*")) "grpc.health.v1.Health/Check") -}}
{{- end -}}
{{- if not $open -}}
{{- fail "probes.type: kubelets have no token for the health service, which config.server.open_methods does not have: add grpc.health.v1.Health/*, or use http" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.podDisruptionBudget.enabled (kindIs "invalid" .Values.podDisruptionBudget.minAvailable) (kindIs "invalid" .Values.podDisruptionBudget.maxUnavailable) -}}
{{- fail "podDisruptionBudget: minAvailable or maxUnavailable must be given" -}}
{{- end -}}
{{- $pods := .Values.autoscaling.enabled | ternary .Values.autoscaling.minReplicas .Values.replicaCount | int -}}
{{- with .Values.podDisruptionBudget -}}
{{- if and .enabled (gt $pods 0) -}}
{{- /* Kubernetes rounds shares up. */ -}}
{{- $share := regexMatch "%$" (toString .minAvailable) -}}
{{- $stay := regexFind "^[0-9]+" (toString .minAvailable) | int -}}
{{- $stay = $share | ternary (ceil (divf (mul $stay $pods) 100) | int) $stay -}}
{{- if ge $stay $pods -}}
{{- fail (printf "podDisruptionBudget.minAvailable: %v of %d pods, so that none could ever leave a node that is to be emptied" .minAvailable $pods) -}}
{{- end -}}
{{- if and (kindIs "invalid" .minAvailable) (regexMatch "^0+%?$" (toString .maxUnavailable)) -}}
{{- fail (printf "podDisruptionBudget.maxUnavailable: %v, so that no pod could ever leave a node that is to be emptied" .maxUnavailable) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.updateStrategy -}}
{{- if and (ne .type "Recreate") .rollingUpdate -}}
{{- if and (regexMatch "^0+%?$" (toString .rollingUpdate.maxSurge)) (regexMatch "^0+%?$" (toString .rollingUpdate.maxUnavailable)) -}}
{{- fail "updateStrategy.rollingUpdate: maxSurge and maxUnavailable are both 0, so that no pod could ever be replaced" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.autoscaling -}}
{{- if .enabled -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- fail "autoscaling.minReplicas: more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- $given := merge dict (($.Values.resources).requests | default dict) (($.Values.resources).limits | default dict) -}}
{{- range list (list "CPU" "cpu" .targetCPUUtilizationPercentage) (list "Memory" "memory" .targetMemoryUtilizationPercentage) -}}
{{- if and (last .) (not (get $given (index . 1))) -}}
{{- fail (printf "autoscaling.target%sUtilizationPercentage: a share of resources.requests.%s, which must be given: the autoscaler would know no number of pods" (first .) (index . 1)) -}}
{{- end -}}
{{- end -}}
{{- if not (or .targetCPUUtilizationPercentage .targetMemoryUtilizationPercentage .metrics) -}}
{{- fail "autoscaling: a target or an entry of autoscaling.metrics must be given" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- fail "serviceMonitor.enabled, podMonitor.enabled: every pod would be scraped twice: enable one of them" -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.metrics) (or .Values.serviceMonitor.enabled .Values.podMonitor.enabled) -}}
{{- fail "networkPolicy.metrics: empty, so that the Prometheus of serviceMonitor.enabled or podMonitor.enabled could not reach the admin port: say where it is" -}}
{{- end -}}
{{- with .Values.networkPolicy -}}
{{- if and .enabled .egress.enabled -}}
{{- range list
  (list "extra" "the Redis of config.dedupe.redis_url" ($.Values.config.dedupe.redis_url).existingSecret)
  (list "extra" "otel.endpoint" $.Values.otel.endpoint)
  (list "extra" "config.server.jwt.jwks_url" ($server.jwt).jwks_url)
  (list "vendors" "config.genesys.base_url" ($.Values.config.genesys).base_url)
  (list "vendors" "config.aicc.base_url" ($.Values.config.aicc).base_url)
  (list "vendors" "config.aicc.token_url" ($.Values.config.aicc).token_url)
-}}
{{- /* Port 443 is let out to anywhere as long as it is not said where the vendors are. */ -}}
{{- $open := and (not $.Values.networkPolicy.egress.vendors) (regexMatch "^https://[^:/]+(:443)?(/|$)" (last . | toString)) -}}
{{- if and (last .) (not (get $.Values.networkPolicy.egress (first .))) (not $open) -}}
{{- fail (printf "networkPolicy.egress.%s: empty, so that %s could not be reached: say where it is" (first .) (index . 1)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.prometheusRule.enabled (not (or .Values.serviceMonitor.enabled .Values.podMonitor.enabled .Values.prometheusRule.seriesLabels)) -}}
{{- fail "prometheusRule.seriesLabels: without serviceMonitor.enabled or podMonitor.enabled it must be given: the alerts would not know the series of this release" -}}
{{- end -}}
{{- if ne (empty .Values.test.cert) (empty .Values.test.key) -}}
{{- fail "test.cert, test.key: one without the other" -}}
{{- end -}}
{{- if and .Values.test.ca ($server.tls).client_ca (not $server.jwt) (not .Values.test.cert) -}}
{{- fail "test.cert, test.key: config.server.tls.client_ca demands certificates, and the pod of helm test would have none to show" -}}
{{- end -}}
{{- if and .Values.grpcRoute.enabled (not .Values.grpcRoute.parentRefs) -}}
{{- fail "grpcRoute.parentRefs: at least one gateway must be named" -}}
{{- end -}}
{{- end -}}
