// Package ext stands in for the extension point that Traefik keeps as a nested
// module beside its configuration types. That nested module is not part of
// Traefik's module archive, so a build from the module proxy lacks it. Traefik
// embeds the two types below and calls nothing on them, so empty ones build
// the same program.
package ext

// HTTP is embedded in Traefik's HTTP configuration and adds no field to it.
type HTTP struct{}

// Router is embedded in Traefik's router configuration and adds no field to it.
type Router struct{}
