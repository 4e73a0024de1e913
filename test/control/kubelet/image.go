package kubelet

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// PodImage is the prefix of an image that is always there: the small test
// program cmd/pod of this module.
const PodImage = "bulwark.dev/control/pod"

// Images maps image names to programs, by the longest prefix.
type Images struct {
	byPrefix map[string]image
}

type image struct {
	path string
	tree bool // a root file system, not one binary
}

// Add maps every image whose name starts with prefix to the static binary at
// path, which becomes the container's /entrypoint; or to the directory at path,
// whose entries become the container's root, with the program at /entrypoint or
// wherever a container's command says.
func (i *Images) Add(prefix, path string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("image %s: %w", prefix, err)
	}
	info, err := os.Stat(abs)
	if err != nil {
		return fmt.Errorf("image %s: %w", prefix, err)
	}
	if !info.IsDir() && info.Mode()&0o111 == 0 {
		return fmt.Errorf("image %s: %s is not executable", prefix, abs)
	}
	if i.byPrefix == nil {
		i.byPrefix = map[string]image{}
	}
	i.byPrefix[prefix] = image{path: abs, tree: info.IsDir()}
	return nil
}

func (i Images) find(name string) (image, bool) {
	best, found := "", image{}
	for prefix, im := range i.byPrefix {
		if strings.HasPrefix(name, prefix) && len(prefix) > len(best) {
			best, found = prefix, im
		}
	}
	return found, best != ""
}
