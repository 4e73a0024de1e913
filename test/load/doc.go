// Package load runs the gateway at saturation while its files change and a
// backend dies and comes back, and counts every wrong decision. Its test takes
// seconds in CI; "make soak" runs it for two minutes with 200 reloads.
package load
