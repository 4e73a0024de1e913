{{- /* What cannot work, or would be unsafe, is refused while nothing is installed. */ -}}
{{- define "bulwark.auditChecks" -}}
{{- $v := .Values.audit -}}{{- $gateway := .Values.gateway -}}{{- $net := .Values.networkPolicy -}}
{{- if eq $gateway.events.record "none" -}}
{{- fail "audit.enabled: gateways that record nothing (gateway.events.record=none) have nothing to send" -}}
{{- end -}}
{{- /* A flag that is given twice counts the second time: these are the chart's, and some
need more than a flag, such as a rule, a file or a right. */ -}}
{{- $own := list "data" "listen" "admin" "tls-cert" "tls-key" "token-file" "log-format" "log-level" "pprof" "retention" "reconcile" "expect-server" "silence" "encryption-key-file" "openings-key" "archive" "alertmanager" "cloudevents" "syslog" "slack-webhook-file" "notify-severity" "witness-url" "witness-key" "witness-ca-file" "respond" "respond-kubeconfig" "respond-namespace" -}}
{{- range $v.extraArgs -}}
{{- $flag := trimPrefix "--" (first (splitList "=" .)) -}}
{{- if has $flag $own -}}
{{- fail (printf "audit.extraArgs: --%s is the chart's own: use its value" $flag) -}}
{{- end -}}
{{- end -}}
{{- range $v.expectServers -}}
{{- if not (has . $v.apiServers) -}}
{{- fail (printf "audit.expectServers: %q is not among audit.apiServers, so it can never send" .) -}}
{{- end -}}
{{- end -}}
{{- with $v.reconcile -}}
{{- if or (not $gateway.apiServers) (not $v.apiServers) -}}
{{- fail "audit.reconcile: there is nothing to compare: name the gateway's API servers in gateway.apiServers, and who sends for them in audit.apiServers" -}}
{{- end -}}
{{- if ne $gateway.events.record "all" -}}
{{- fail "audit.reconcile: gateways must record every request (gateway.events.record=all), or what they let through looks forged" -}}
{{- end -}}
{{- if not $v.required -}}
{{- fail "audit.reconcile: what gateways may drop (audit.required=false) looks forged" -}}
{{- end -}}
{{- if or (and .proxy .ownCredentials) (not (or .proxy .ownCredentials)) -}}
{{- fail "audit.reconcile: give proxy, the user as which gateways ask the API server, or ownCredentials: true, where callers show their own" -}}
{{- end -}}
{{- if not .grace -}}
{{- fail "audit.reconcile.grace: say how much later than one side the other may come" -}}
{{- end -}}
{{- end -}}
{{- if and $v.retention (not $v.retention.classes) -}}
{{- fail "audit.retention.classes: a policy without classes takes nothing away" -}}
{{- end -}}
{{- if and $v.encryption.openingsKey (not $v.encryption.secret) -}}
{{- fail "audit.encryption.openingsKey: name the Secret that has it in audit.encryption.secret" -}}
{{- end -}}
{{- if has $v.encryption.openingsKey $v.encryption.keys -}}
{{- fail "audit.encryption.openingsKey: one key for events and for openings: who may read the trail could then open what was redacted" -}}
{{- end -}}
{{- if and $v.archive.credentialsSecret (not $v.archive.buckets) -}}
{{- fail "audit.archive.credentialsSecret: credentials for no bucket: set audit.archive.buckets" -}}
{{- end -}}
{{- if ne (empty $v.witness.url) (empty $v.witness.key) -}}
{{- fail "audit.witness: url and key go together: without its key nobody knows who signed" -}}
{{- end -}}
{{- if and $v.witness.ca (not $v.witness.url) -}}
{{- fail "audit.witness.ca: an authority for no witness: set audit.witness.url" -}}
{{- end -}}
{{- if and $net.enabled (include "bulwark.auditCalls" .) (not $net.audit.extraEgress) -}}
{{- fail "networkPolicy.audit.extraEgress: the trail may call nobody, but audit.alerts, audit.archive or audit.witness name somebody: say where they are" -}}
{{- end -}}
{{- if lookup "apps/v1" "StatefulSet" .Release.Namespace "bulwark-witness" -}}
{{- fail (printf "namespace %s has a witness: one that whoever has the trail has too is none" .Release.Namespace) -}}
{{- end -}}
{{- include "bulwark.respondChecks" . -}}
{{- end -}}

{{- define "bulwark.respondChecks" -}}
{{- with .Values.audit.respond -}}
{{- $actions := .actions -}}
{{- if and .enabled (not $actions) -}}
{{- fail "audit.respond.actions: name the actions that may be taken: without one the trail would have a token for nothing" -}}
{{- end -}}
{{- if and (not .enabled) (or $actions .policy .allowBind) -}}
{{- fail "audit.respond.enabled: actions, policy and allowBind say what may be done; turn it on, or leave them out" -}}
{{- end -}}
{{- range list "remove-rolebinding" "remove-clusterrolebinding" -}}
{{- if and (has . $actions) (not $.Values.audit.respond.allowBind) -}}
{{- fail (printf "audit.respond.actions: %s needs the right to bind every role, with which whoever takes over the trail can make himself cluster-admin; accept that with audit.respond.allowBind=true" .) -}}
{{- end -}}
{{- end -}}
{{- range (.policy.responses | default list) -}}
{{- if not (has .action $actions) -}}
{{- fail (printf "audit.respond.policy.responses: detection %q asks for %q, which is not among audit.respond.actions: its rights would be missing" .detection .action) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Whether the trail calls somebody: a word, or nothing. */ -}}
{{- define "bulwark.auditCalls" -}}
{{- with .Values.audit -}}
{{- if or .archive.buckets .alerts.alertmanager .alerts.cloudEvents .alerts.syslog .alerts.slackSecret .witness.url -}}yes{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The files of the trail that are no secrets, as the data of a ConfigMap. */ -}}
{{- define "bulwark.auditFiles" -}}
{{- with .Values.audit.reconcile }}
{{- $own := dict "stamp" (include "bulwark.stamp" .) }}
reconcile.yaml: {{ merge $own . | toYaml | quote }}
{{- end }}
{{- if .Values.audit.respond.enabled }}
responses.yaml: {{ .Values.audit.respond.policy | toYaml | quote }}
{{- end }}
{{- with .Values.audit.witness }}
{{- if .url }}
witness.pub: {{ printf "%s\n" (trim .key) | quote }}
{{- end }}
{{- with .ca }}
witness-ca.crt: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* What is the same in all of them but how long things are kept, which is read again
when it changes; anything else takes a new pod. */ -}}
{{- define "bulwark.auditFileFlags" -}}
{{- $at := "/etc/bulwark/trail" -}}
{{- with .Values.audit }}
{{- if .reconcile }}
- --reconcile={{ $at }}/reconcile.yaml
{{- end }}
{{- if .retention }}
- --retention={{ $at }}/retention.yaml
{{- end }}
{{- range .expectServers }}
- --expect-server={{ . }}
{{- end }}
{{- with .silence }}
- --silence={{ . }}
{{- end }}
{{- if .encryption.secret }}
{{- range .encryption.keys }}
- --encryption-key-file=/etc/bulwark/key/{{ . }}
{{- end }}
{{- with .encryption.openingsKey }}
- --openings-key=/etc/bulwark/key/{{ . }}
{{- end }}
{{- end }}
{{- range .archive.buckets }}
- {{ printf "--archive=%s" . | quote }}
{{- end }}
{{- with .alerts.alertmanager }}
- {{ printf "--alertmanager=%s" . | quote }}
{{- end }}
{{- with .alerts.cloudEvents }}
- {{ printf "--cloudevents=%s" . | quote }}
{{- end }}
{{- with .alerts.syslog }}
- {{ printf "--syslog=%s" . | quote }}
{{- end }}
{{- if .alerts.slackSecret }}
- --slack-webhook-file=/etc/bulwark/slack/url
{{- end }}
- --notify-severity={{ .alerts.severity }}
{{- with .witness.url }}
- {{ printf "--witness-url=%s" . | quote }}
- --witness-key={{ $at }}/witness.pub
{{- end }}
{{- if .witness.ca }}
- --witness-ca-file={{ $at }}/witness-ca.crt
{{- end }}
{{- if .respond.enabled }}
- --respond={{ $at }}/responses.yaml
- --respond-namespace={{ $.Release.Namespace }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "bulwark.auditFileMounts" -}}
{{- with .Values.audit }}
{{- if include "bulwark.auditHasFiles" $ }}
- {name: configuration, mountPath: /etc/bulwark/trail, readOnly: true}
{{- end }}
{{- if .encryption.secret }}
- {name: key, mountPath: /etc/bulwark/key, readOnly: true}
{{- end }}
{{- if .archive.credentialsSecret }}
- {name: archive, mountPath: /etc/bulwark/archive, readOnly: true}
{{- end }}
{{- if .alerts.slackSecret }}
- {name: slack, mountPath: /etc/bulwark/slack, readOnly: true}
{{- end }}
{{- end }}
{{- end -}}

{{- define "bulwark.auditFileVolumes" -}}
{{- with .Values.audit }}
{{- if include "bulwark.auditHasFiles" $ }}
- name: configuration
  configMap: {name: bulwark-audit}
{{- end }}
{{- if .encryption.secret }}
- name: key
  secret:
    secretName: {{ .encryption.secret }}
    defaultMode: 288
    items:
    {{- range concat .encryption.keys (compact (list .encryption.openingsKey)) }}
    - {key: {{ . }}, path: {{ . }}}
    {{- end }}
{{- end }}
{{- with .archive.credentialsSecret }}
- name: archive
  secret:
    secretName: {{ . }}
    defaultMode: 288
    items: [{key: credentials, path: credentials}]
{{- end }}
{{- with .alerts.slackSecret }}
- name: slack
  secret:
    secretName: {{ . }}
    defaultMode: 288
    items: [{key: url, path: url}]
{{- end }}
{{- end }}
{{- end -}}

{{- define "bulwark.auditHasFiles" -}}
{{- if or .Values.audit.retention (trim (include "bulwark.auditFiles" .)) -}}yes{{- end -}}
{{- end -}}
