// Package leak finds credentials that stand in plain text where they do not belong:
// in ConfigMaps, environments, commands, annotations and custom resources.
//
// What counts is the value: a format that its issuer has published, with its check
// digits where it has some, or a structure that decodes (a signed token, a private
// key, a kubeconfig, a registry login, a URL with a password). A name such as
// "password" only turns an otherwise unknown value into a finding, and only if the
// value is no placeholder, reference, path, number, hash or UUID.
//
// No part of a value reaches a message: only what it is, its length and its line.
// All work is linear in the length of the text.
package leak
