{{- /* Labels of every object. The chart's version is in none that a selector uses. */ -}}
{{- define "bulwark.labels" -}}
app.kubernetes.io/name: bulwark
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* Selector of one component's pods: (list . "gateway"). */ -}}
{{- define "bulwark.selector" -}}
app.kubernetes.io/name: bulwark
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "bulwark.image" -}}
{{- with .Values.image -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ with .digest }}@{{ . }}{{ end }}
{{- end -}}
{{- end -}}

{{- /* What the Restricted Pod Security Standard asks of a pod. */ -}}
{{- define "bulwark.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- /* And of a container, plus the read-only root. */ -}}
{{- define "bulwark.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- /* Both kinds of probe. Alive is not ready: a gateway without configuration
waits for it and must not be restarted for that. */ -}}
{{- define "bulwark.probes" -}}
livenessProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 3
{{- end -}}

{{- /* Where the pods of one component go: (list . "gateway" .Values.gateway).
ScheduleAnyway, so that a cluster of one node works too. */ -}}
{{- define "bulwark.placement" -}}
{{- $ := index . 0 }}{{ $component := index . 1 }}{{ $v := index . 2 -}}
topologySpreadConstraints:
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- topologyKey: {{ . }}
  maxSkew: 1
  whenUnsatisfiable: ScheduleAnyway
  matchLabelKeys: [pod-template-hash]
  labelSelector:
    matchLabels:
      {{- include "bulwark.selector" (list $ $component) | nindent 6 }}
{{- end }}
{{- with $v.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "bulwark.logFlags" -}}
- --log-format={{ .Values.log.format }}
{{- if ne .Values.log.level "info" }}
- --log-level={{ .Values.log.level }}
{{- end }}
{{- end -}}

{{- define "bulwark.auditCertificate" -}}
{{ required "audit.certificateSecret: name a Secret of type kubernetes.io/tls for bulwark-audit, with its authority as ca.crt" .Values.audit.certificateSecret }}
{{- end -}}

{{- define "bulwark.auditTokens" -}}
{{ required "audit.tokenSecret: name a Secret with a token for each sender" .Values.audit.tokenSecret }}
{{- end -}}

{{- /* Who sends to the trail: Bulwark's own parts and API servers. */ -}}
{{- define "bulwark.auditSenders" -}}
{{- $own := list "gateway" "controller" -}}
{{- if .Values.admission.enabled }}{{ $own = append $own "admission" }}{{ end -}}
{{- range .Values.audit.apiServers }}
{{- if has . (list "gateway" "controller" "admission") }}{{ fail (printf "audit.apiServers: %q is the name of a part of Bulwark" .) }}{{ end -}}
{{- end -}}
{{- concat $own .Values.audit.apiServers | toYaml -}}
{{- end -}}

{{- /* How a part sends its events to the trail: (list . "gateway" megabytes). The spool
goes with the pod: it carries over restarts of the container. */ -}}
{{- define "bulwark.auditFlags" -}}
- --audit-url=https://bulwark-audit.{{ (index . 0).Release.Namespace }}.svc:9443/audit/v1/{{ index . 1 }}
- --audit-ca-file=/etc/bulwark/audit/ca.crt
- --audit-token-file=/etc/bulwark/audit/token
- --audit-spool=/var/spool/bulwark
- --audit-spool-bytes={{ mul (index . 2) 1048576 }}
{{- end -}}

{{- define "bulwark.auditMounts" -}}
- {name: audit, mountPath: /etc/bulwark/audit, readOnly: true}
- {name: spool, mountPath: /var/spool/bulwark}
{{- end -}}

{{- /* The part's own token, and whom to trust: never the trail's key. */ -}}
{{- define "bulwark.auditVolumes" -}}
- name: audit
  projected:
    defaultMode: 288 # 0440: the group is fsGroup
    sources:
    - secret:
        name: {{ include "bulwark.auditTokens" (index . 0) }}
        items: [{key: {{ index . 1 }}, path: token}]
    - secret:
        name: {{ include "bulwark.auditCertificate" (index . 0) }}
        items: [{key: ca.crt, path: ca.crt}]
- name: spool
  emptyDir: {sizeLimit: {{ add (index . 2) 4 }}Mi}
{{- end -}}

{{- /* What a part needs to reach the trail: its pods, and names. */ -}}
{{- define "bulwark.auditEgress" -}}
- ports:
  - {protocol: TCP, port: 9443}
  to:
  - podSelector:
      matchLabels:
        {{- include "bulwark.selector" (list . "audit") | nindent 8 }}
{{- end -}}

{{- /* The API server, by the address that the kubelet gives: no names are asked. */ -}}
{{- define "bulwark.apiServerEgress" -}}
{{- with .Values.networkPolicy.apiServer -}}
- ports:
  {{- range .ports }}
  - {protocol: TCP, port: {{ . }}}
  {{- end }}
  {{- with .cidrs }}
  to:
  {{- range . }}
  - ipBlock: {cidr: {{ . | quote }}}
  {{- end }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- /* How the Audit-IDs begin that gateways give, and by which the trail knows them. */ -}}
{{- define "bulwark.stamp" -}}bulwark-{{- end -}}

{{- define "bulwark.names" -}}
- ports:
  - {protocol: UDP, port: 53}
  - {protocol: TCP, port: 53}
{{- end -}}
