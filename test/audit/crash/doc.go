// Package crash kills "bulwark serve audit" under load, over and over, and looks
// whether anything that it acknowledged is missing.
package crash
