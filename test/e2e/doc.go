// Package e2e tests Bulwark as a user gets it: installed by its chart, as pods,
// into a real control plane (test/control), guarding what is asked for with
// Gateway API objects and SecurityPolicies.
package e2e
