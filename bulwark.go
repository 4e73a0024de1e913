// Package bulwark holds the words that every room of Bulwark shares: who asks
// (Identity), what was decided (Decision), what happened (Event) and what must
// never be printed (Secret). It imports the standard library only and does no
// I/O.
package bulwark
