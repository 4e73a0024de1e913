//go:build unix

package fix

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives a new file the owner of the one in whose place it will be: root
// repairs files of others, as in a container with a folder of the host.
func keepOwner(file *os.File, was fs.FileInfo) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	want, ok := was.Sys().(*syscall.Stat_t)
	have, also := info.Sys().(*syscall.Stat_t)
	if !ok || !also || want.Uid == have.Uid && want.Gid == have.Gid {
		return nil
	}
	err = file.Chown(int(want.Uid), int(want.Gid))
	if err != nil && want.Uid != have.Uid { // another group alone is no loss
		return fmt.Errorf("keep its owner: %w", err)
	}
	return nil
}
