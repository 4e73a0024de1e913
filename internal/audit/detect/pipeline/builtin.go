package pipeline

import "sync"

// builtin names, for rules about Kubernetes, the fields that published rules use and
// that no event of audit.k8s.io has. The names are of SigmaHQ's rules, of Elastic's
// integration and of older converters.
const builtin = `
name: Kubernetes audit
priority: 100
transformations:
- id: elastic
  type: field_name_prefix_mapping
  mapping: {'kubernetes.audit.': ''}
  rule_conditions: &kubernetes
  - {type: logsource, product: kubernetes}
  - {type: logsource, product: azure}
  - {type: logsource, product: gcp}
  - {type: logsource, product: aws}
  rule_cond_op: or
- id: decision
  type: field_name_mapping
  mapping: {responseStatus.code: annotations.authorization.k8s.io/decision}
  detection_item_conditions: [{type: match_string, cond: all, pattern: '(?i)^(allow|forbid)$'}]
  rule_conditions: *kubernetes
  rule_cond_op: or
- id: names
  type: field_name_mapping
  mapping:
    apiGroup: objectRef.apiGroup
    apiVersion: objectRef.apiVersion
    resource: objectRef.resource
    subresource: objectRef.subresource
    namespace: objectRef.namespace
    username: user.username
    groups: user.groups
    sourceIP: sourceIPs
    user.name: user.username
    source.ip: sourceIPs
    user_agent.original: userAgent
    auditId: auditID
    requestUri: requestURI
    authorization.decision: annotations.authorization.k8s.io/decision
    hostPath: requestObject.spec.volumes.hostPath.path
    hostNetwork: requestObject.spec.hostNetwork
    hostPID: requestObject.spec.hostPID
    hostIPC: requestObject.spec.hostIPC
    privileged: requestObject.spec.containers.securityContext.privileged
    capabilities: requestObject.spec.containers.securityContext.capabilities.add
    image: requestObject.spec.containers.image
  rule_conditions: *kubernetes
  rule_cond_op: or
`

// Builtin is the pipeline that every rule goes through last. It is read once.
func Builtin() (*Pipeline, error) { return readBuiltin() }

var readBuiltin = sync.OnceValues(func() (*Pipeline, error) { return Parse("built-in", []byte(builtin)) }) //nolint:gochecknoglobals // never changed
