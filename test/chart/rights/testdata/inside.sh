#!/usr/bin/env bash
# What the controller lives through, inside a control plane with an audit log.
set -euo pipefail
kubectl() { "$CONTROL_BIN" kubectl "$@"; }
# eventually COMMAND... asks until it succeeds.
eventually() {
	for _ in $(seq 1 150); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.2
	done
	echo "never came true: $*" >&2
	exit 1
}
patch() { kubectl -n "$1" patch "$2" --type=merge -p "$3" >/dev/null; }

for f in "$CRDS"/*.yaml; do
	[[ $f == *kustomization.yaml ]] || kubectl apply --server-side -f "$f" >/dev/null
done
kubectl wait --for=condition=established crd --all --timeout=60s >/dev/null
kubectl create namespace bulwark-system >/dev/null
kubectl create -f "$WORK/authority.yaml" >/dev/null
kubectl apply --server-side -f "$WORK/bulwark.yaml" >/dev/null
kubectl -n bulwark-system rollout status deployment --timeout=120s

# Every kind gets its status, the Gateway its Service.
kubectl apply -f "$SCENE" >/dev/null
kubectl -n scene wait --for=condition=programmed gateway/edge --timeout=60s
for object in listenersets/more httproutes/web grpcroutes/calls tlsroutes/raw backendtlspolicies/web securitypolicies/web; do
	eventually bash -c "\"$CONTROL_BIN\" kubectl -n scene get $object -o yaml | grep -q '^    type: Accepted\|^      type: Accepted'"
done
# A listener goes, and with it a port of the Service.
patch scene gateway/edge '{"spec":{"listeners":[{"name":"http","protocol":"HTTP","port":80}]}}'
eventually bash -c "[[ \$(\"$CONTROL_BIN\" kubectl -n scene get service/edge-bulwark -o 'jsonpath={.spec.ports[*].port}') != *443* ]]"
# The gateways' certificate is spoilt, and controllers start again that list
# before they watch, as with API servers that cannot stream lists.
patch bulwark-system secret/bulwark-relay-client '{"data":{"tls.crt":"eA=="}}' 2>/dev/null
kubectl -n bulwark-system set env deployment/bulwark-controller KUBE_FEATURE_WatchListClient=false >/dev/null
kubectl -n bulwark-system rollout status deployment/bulwark-controller --timeout=120s
eventually bash -c "[[ \$(\"$CONTROL_BIN\" kubectl -n bulwark-system get secret/bulwark-relay-client -o 'jsonpath={.data.tls\.crt}') != eA== ]]"
# The Gateway becomes somebody else's.
patch scene gateway/edge '{"spec":{"gatewayClassName":"other"}}'
eventually bash -c "! \"$CONTROL_BIN\" kubectl -n scene get service/edge-bulwark"
