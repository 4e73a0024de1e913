// Package response takes the measures of "bulwark audit response" on a real API server:
// by hand beside a running server, by themselves when a detection fires, and with the
// rights that "response list -o rbac" prints and no others.
package response
