// Command control is a whole Kubernetes cluster in one program, for tests.
package main

import (
	"os"

	"bulwark.dev/bulwark/test/control/app"
	"bulwark.dev/bulwark/test/control/plane"
)

func main() {
	os.Exit(app.Run(os.Args[1:], app.Parts{
		Version:     plane.Version(),
		StartEtcd:   plane.StartEtcd,
		APIServer:   plane.APIServer,
		Controllers: plane.Controllers,
		Kubectl:     plane.Kubectl,
	}, os.Stdout, os.Stderr))
}
