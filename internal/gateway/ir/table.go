// Package ir is the compiled form of the gateway's configuration: plain,
// immutable data that knows neither Kubernetes nor files. compile makes it,
// proxy serves it. A Table may be shared by any number of goroutines; nobody
// changes it once it is made.
package ir

// Table is everything that one gateway serves.
type Table struct {
	// Listeners are sorted by Name.
	Listeners []Listener `json:"listeners,omitempty"`
	// Rules are sorted by ID and referred to by index from Listener.Matches.
	Rules []Rule `json:"rules,omitempty"`
	// Backends are sorted by Name and referred to by index from BackendRef.
	Backends []Backend `json:"backends,omitempty"`
}

// Listener is one Gateway API listener. Several listeners may share an address
// and port when their hostnames (or protocols' SNI) tell them apart.
type Listener struct {
	// Name is "namespace/gateway/listener".
	Name string `json:"name"`
	// Addresses are the IP addresses to bind; never empty.
	Addresses []string `json:"addresses"`
	// Port is the Gateway's: what clients dial and what redirects name.
	Port uint16 `json:"port"`
	// BindPort is the port to bind where it is not Port, because something in
	// front (a Service) maps one to the other; else 0.
	BindPort uint16 `json:"bindPort,omitempty"`
	// Hostname is lower-case, may start with "*.", and is empty for any.
	Hostname string `json:"hostname,omitempty"`
	// TLS is nil for plain HTTP.
	TLS *ListenerTLS `json:"tls,omitempty"`
	// Refuse, where set, answers every request of the listener.
	Refuse *Refusal `json:"refuse,omitempty"`
	// Hosts are the hostnames served, most specific first.
	Hosts []Host `json:"hosts,omitempty"`
	// Passthrough leaves TLS alone: the server name picks one of Streams and
	// the bytes go on as they came. TLS is nil then, and Hosts is empty.
	Passthrough bool `json:"passthrough,omitempty"`
	// Streams are the server names whose connections go on as bytes, most
	// specific first: still encrypted with Passthrough, else decrypted by TLS.
	// A listener has Hosts or Streams, not both.
	Streams []Stream `json:"streams,omitempty"`
}

// Stream is one server name (SNI) of a listener and the rule that its
// connections follow. Of the rule only Refuse, Network, Concurrency and Backends
// count; compile sees to it that nothing else was asked for.
type Stream struct {
	// Pattern is lower-case, may start with "*.", and is empty for any.
	Pattern string `json:"pattern,omitempty"`
	// Rule is the index in Table.Rules.
	Rule int `json:"rule"`
}

// Host is one hostname of a listener and what is served there.
type Host struct {
	// Pattern is lower-case, may start with "*.", and is empty for any.
	Pattern string `json:"pattern,omitempty"`
	// Matches are in order of precedence: the first that matches wins.
	Matches []Match `json:"matches"`
}

// Refusal is a rule or listener that cannot be served as asked for: it answers
// every request with Status and tells the operator why.
type Refusal struct {
	Status int    `json:"status"`
	Reason string `json:"reason"`
}

// ListenerTLS is how a listener terminates TLS.
type ListenerTLS struct {
	// Certificates are tried by SNI; the first is the default.
	Certificates []KeyPair `json:"certificates"`
	// ClientCA is PEM; where set, client certificates are asked for.
	ClientCA string `json:"clientCA,omitempty"`
	// RequireClient refuses handshakes without a certificate that ClientCA
	// signed. With ClientCA and without it, a certificate is optional but, if
	// given, must verify.
	RequireClient bool `json:"requireClient,omitempty"`
	// RequestClient asks for a certificate without judging it: a rule behind the
	// listener authenticates by client certificate and verifies it itself.
	RequestClient bool `json:"requestClient,omitempty"`
	// MinVersion is 0x0303 (TLS 1.2) or 0x0304 (TLS 1.3).
	MinVersion uint16 `json:"minVersion,omitempty"`
}

// KeyPair is a certificate chain and its key. The key never prints.
type KeyPair struct {
	// Name is "namespace/secret".
	Name string `json:"name"`
	Cert string `json:"-"`
	// Fingerprint is the hex SHA-256 of Cert: golden files and change
	// detection show it in place of the PEM.
	Fingerprint string `json:"fingerprint"`
	Key         Secret `json:"key"`
}
