// Package posture holds the tests of posture and admission against a real API
// server: reading a cluster with few rights, and every exported policy in force.
package posture
