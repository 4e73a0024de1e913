// Command control is a whole Kubernetes cluster in one program, for tests.
package main

import (
	"os"
	"path/filepath"

	"bulwark.dev/bulwark/test/control/app"
	"bulwark.dev/bulwark/test/control/plane"
)

func main() {
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == "kubectl" { // the build makes a link of that name
		args = append([]string{"kubectl"}, args...)
	}
	os.Exit(app.Run(args, app.Parts{
		Version:     plane.Version(),
		StartEtcd:   plane.StartEtcd,
		APIServer:   plane.APIServer,
		Controllers: plane.Controllers,
		Kubectl:     plane.Kubectl,
	}, os.Stdout, os.Stderr))
}
