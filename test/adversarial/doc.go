// Package adversarial attacks the built bulwark program through real sockets.
// Its cases are drawn from the public vulnerabilities of other gateways and from
// the RFCs; each names what it tries and where that came from.
//
// Behind the gateway stands a backend that keeps every byte it got, so that a
// difference between what policy judged and what was forwarded is observed, not
// assumed. A case passes if the request was refused with a status that the case
// names, or if the backend got exactly the one form that the case names; and
// after each case a clean request must still be answered with its own answer.
package adversarial
