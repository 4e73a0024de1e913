// Package catalog is content without logic: the controls, frameworks, advisories,
// detections and responses that Bulwark ships, as files.
package catalog

import (
	"embed"
	"io/fs"
)

//go:embed controls frameworks advisories detections responses
var files embed.FS

// Controls are the posture controls that look at one object: one YAML file each,
// in a folder for each category. controls/README.md has the form.
func Controls() fs.FS { return sub("controls") }

// Frameworks map requirements to controls: one YAML file for each version of a
// framework.
func Frameworks() fs.FS { return sub("frameworks") }

// Advisories are releases, their ends of life and the versions that known
// vulnerabilities are in.
func Advisories() fs.FS { return sub("advisories") }

// Detections are the rules over the audit trail: one YAML file each, in a folder for
// each tactic. detections/README.md has the form.
func Detections() fs.FS { return sub("detections") }

// Responses are the measures that can be taken against what an alert told of: one YAML
// file each.
func Responses() fs.FS { return sub("responses") }

func sub(dir string) fs.FS {
	f, err := fs.Sub(files, dir)
	if err != nil {
		panic(err) // the names above are constant
	}
	return f
}
