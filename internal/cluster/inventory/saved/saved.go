// Package saved writes a Snapshot to a file and reads it again, and reads what
// "kubectl get -A -o json" prints.
//
// The form: lines of JSON, gzip or not. The first is the header, then one object
// a line, just as it came, then the end, which says how many objects there are
// and has the CRC-32C of all lines before, so that a file that was cut or changed
// is not taken for a whole one, and a kind that could not be read not for one that
// has no objects:
//
//	{"bulwark":"snapshot","version":1,"facts":{…},"unreadable":[…],"problems":[…],"objects":2}
//	{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}
//	{"apiVersion":"v1","kind":"Secret","metadata":{"name":"db","namespace":"shop"},"data":{"password":""}}
//	{"end":{"objects":2,"crc32c":"1b2c3d4e"}}
//
// The values of Secrets are not written, see Write.
package saved
