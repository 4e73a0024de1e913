// Package audit tests the audit trail against a real API server: it sends its audit
// events to Bulwark's webhook while people and attackers do what they do.
package audit
