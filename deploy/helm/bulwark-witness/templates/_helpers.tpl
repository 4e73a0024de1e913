{{- define "witness.labels" -}}
{{ include "witness.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* Not those of the chart bulwark: none of its policies lets a witness in. */ -}}
{{- define "witness.selector" -}}
app.kubernetes.io/name: bulwark-witness
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* A witness that whoever has the trail has too is none. */ -}}
{{- define "witness.checks" -}}
{{- if lookup "apps/v1" "StatefulSet" .Release.Namespace "bulwark-audit" -}}
{{- fail (printf "namespace %s has an audit trail: who can put that back can put back what this witness signed. Install it in another cluster, or in a namespace of other people" .Release.Namespace) -}}
{{- end -}}
{{- if not .Values.logs -}}
{{- fail "logs: nothing would ever be signed: give the public key of a trail, keys/log.pub in its folder" -}}
{{- end -}}
{{- end -}}
