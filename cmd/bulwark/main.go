// Command bulwark secures the APIs of a Kubernetes cluster: those that run on
// it and the API of the cluster itself.
package main

import (
	"os"

	"bulwark.dev/bulwark/internal/app"
)

func main() {
	os.Exit(app.Main(os.Args[1:], app.System()))
}
