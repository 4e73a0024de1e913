// Package v1alpha1 holds Bulwark's policy objects in API group bulwark.dev,
// their defaults and their pure validation. Routing is Gateway API; protection
// is one SecurityPolicy per API. A PostureException is for scans only.
//
// +kubebuilder:object:generate=true
// +groupName=bulwark.dev
package v1alpha1

//go:generate controller-gen object paths=.
//go:generate controller-gen crd paths=. output:crd:dir=../../deploy/crds
// The chart cannot read files outside its folder, so it has its own copy.
//go:generate controller-gen crd paths=. output:crd:dir=../../deploy/helm/bulwark/files/crds
//go:generate go run ../../internal/docgen -out ../../docs/reference/securitypolicy.md .
