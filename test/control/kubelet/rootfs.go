package kubelet

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

const terminationFile = "termination-log"

// mountRoot makes the container's root anew: a directory with the program, /etc,
// /dev and /proc, the pod's volumes, read-only when the container asks for it.
func (c *container) mountRoot(im image) (string, error) {
	root := filepath.Join(c.dir, "root")
	if err := c.unmount(); err != nil {
		return "", err
	}
	if err := os.RemoveAll(root); err != nil {
		return "", fmt.Errorf("clear root: %w", err)
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", fmt.Errorf("root: %w", err)
	}
	if im.tree {
		if err := copyTree(root, im.path); err != nil {
			return "", err
		}
	}
	if err := c.writeEtc(root); err != nil {
		return "", err
	}
	if err := c.bind(root, root, false); err != nil { // so that it can become read-only by itself
		return "", err
	}
	if !im.tree {
		if err := c.bindFile(root, im.path, entrypoint, true); err != nil {
			return "", err
		}
		// Where a real image has its program, for kubectl exec.
		if len(c.spec.Command) > 0 && filepath.IsAbs(c.spec.Command[0]) && c.spec.Command[0] != entrypoint {
			if err := c.bindFile(root, im.path, c.spec.Command[0], true); err != nil {
				return "", err
			}
		}
	}
	if err := c.mountSystem(root); err != nil {
		return "", err
	}
	for _, m := range c.spec.VolumeMounts {
		if err := c.mountVolume(root, m); err != nil {
			return "", fmt.Errorf("volume %s at %s: %w", m.Name, m.MountPath, err)
		}
	}
	if s := c.spec.SecurityContext; s != nil && s.ReadOnlyRootFilesystem != nil && *s.ReadOnlyRootFilesystem {
		if err := readOnly(root); err != nil {
			return "", err
		}
	}
	return root, nil
}

// writeEtc gives the root what programs look for in /etc, and a /tmp.
func (c *container) writeEtc(root string) error {
	p := c.pod.current()
	host := p.Spec.Hostname
	if host == "" {
		host = p.Name
	}
	var hosts strings.Builder
	hosts.WriteString("127.0.0.1 localhost\n" + c.pod.address().String() + " " + host + "\n")
	for _, a := range p.Spec.HostAliases {
		hosts.WriteString(a.IP + " " + strings.Join(a.Hostnames, " ") + "\n")
	}
	for name, text := range map[string]string{
		"etc/hosts":       hosts.String(),
		"etc/hostname":    host + "\n",
		"etc/resolv.conf": c.pod.resolvConf(),
		"etc/passwd":      "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\nnonroot:x:65532:65532:nonroot:/:/bin/false\n",
		"etc/group":       "root:x:0:\nnogroup:x:65534:\nnonroot:x:65532:\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("root: %w", err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return fmt.Errorf("root: %w", err)
		}
	}
	tmp := filepath.Join(root, "tmp")
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	if err := os.Chmod(tmp, 0o777|os.ModeSticky); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	return nil
}

// resolvConf sends names to the cluster's DNS, with the usual search list.
func (r *pod) resolvConf() string {
	c := r.current().Spec.DNSConfig
	servers := []string{r.k.DNS}
	search := []string{r.namespace + ".svc.cluster.local", "svc.cluster.local", "cluster.local"}
	if r.current().Spec.DNSPolicy == corev1.DNSNone {
		servers, search = nil, nil
	}
	options := []string{"ndots:5"}
	if c != nil {
		servers, search = append(servers, c.Nameservers...), append(search, c.Searches...)
		for _, o := range c.Options {
			text := o.Name
			if o.Value != nil {
				text += ":" + *o.Value
			}
			options = append(options, text)
		}
	}
	var out strings.Builder
	for _, s := range servers {
		out.WriteString("nameserver " + s + "\n")
	}
	if len(search) > 0 {
		out.WriteString("search " + strings.Join(search, " ") + "\n")
	}
	out.WriteString("options " + strings.Join(options, " ") + "\n")
	return out.String()
}

// mountSystem gives the root its /dev and /proc, and the file of last words.
func (c *container) mountSystem(root string) error {
	for _, d := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := c.bindFile(root, "/dev/"+d, "/dev/"+d, false); err != nil {
			return err
		}
	}
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(to, filepath.Join(root, "dev", name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("root: %w", err)
		}
	}
	words := filepath.Join(c.dir, terminationFile)
	if err := os.WriteFile(words, nil, 0o666); err != nil {
		return fmt.Errorf("last words: %w", err)
	}
	if err := os.Chmod(words, 0o666); err != nil { // whatever the umask
		return fmt.Errorf("last words: %w", err)
	}
	at := c.spec.TerminationMessagePath
	if at == "" {
		at = corev1.TerminationMessagePathDefault
	}
	if err := c.bindFile(root, words, at, false); err != nil {
		return err
	}
	proc, err := within(root, "/proc")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(proc, 0o755); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	return c.bind("/proc", proc, false)
}

func (c *container) mountVolume(root string, m corev1.VolumeMount) error {
	from, fixed, err := c.pod.volumes.path(m.Name)
	if err != nil {
		return err
	}
	sub := m.SubPath
	if m.SubPathExpr != "" {
		return errors.New("subPathExpr is not supported")
	}
	if sub != "" {
		if from, err = within(from, sub); err != nil {
			return err
		}
		if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) && !fixed {
			if err := os.MkdirAll(from, 0o777); err != nil {
				return err
			}
		}
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	ro := m.ReadOnly || fixed
	if !info.IsDir() {
		return c.bindFile(root, from, m.MountPath, ro)
	}
	to, err := within(root, m.MountPath)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	return c.bind(from, to, ro)
}

// within gives the path of name under root, whatever links lie in between.
func within(root, name string) (string, error) {
	path, err := securejoin.SecureJoin(root, name)
	if err != nil {
		return "", fmt.Errorf("path %s under %s: %w", name, root, err)
	}
	return path, nil
}

// bindFile shows the file from at name under root.
func (c *container) bindFile(root, from, name string, ro bool) error {
	to, err := within(root, name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_RDONLY, 0o755)
	if err != nil {
		return fmt.Errorf("root: %w", err)
	}
	_ = f.Close() // it is only mounted over
	return c.bind(from, to, ro)
}

// bind shows from at to, and remembers it for unmount.
func (c *container) bind(from, to string, ro bool) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", from, to, err)
	}
	c.mounts = append(c.mounts, to)
	if ro {
		return readOnly(to)
	}
	return nil
}

// readOnly makes a mount read-only. Inside a user namespace the flags that it
// came with must be said again.
func readOnly(path string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return fmt.Errorf("flags of %s: %w", path, err)
	}
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY)
	for had, flag := range map[int64]uintptr{
		unix.ST_NOSUID: unix.MS_NOSUID, unix.ST_NODEV: unix.MS_NODEV, unix.ST_NOEXEC: unix.MS_NOEXEC,
		unix.ST_NOATIME: unix.MS_NOATIME, unix.ST_NODIRATIME: unix.MS_NODIRATIME, unix.ST_RELATIME: unix.MS_RELATIME,
	} {
		if s.Flags&had != 0 {
			flags |= flag
		}
	}
	if err := unix.Mount("", path, "", flags, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", path, err)
	}
	return nil
}

// unmount takes every mount of the container away; what is left after an error
// must not be removed, since it may be someone else's.
func (c *container) unmount() error {
	for len(c.mounts) > 0 {
		last := c.mounts[len(c.mounts)-1]
		if err := unix.Unmount(last, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", last, err)
		}
		c.mounts = c.mounts[:len(c.mounts)-1]
	}
	return nil
}

// copyTree copies a small root file system: regular files, directories, links.
func copyTree(to, from string) error {
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		at := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.MkdirAll(at, info.Mode().Perm()|0o700)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, at)
		case d.Type().IsRegular():
			return copyFile(at, path, info.Mode().Perm())
		default:
			return nil // devices and sockets are not part of an image
		}
	})
	if err != nil {
		return fmt.Errorf("copy image %s: %w", from, err)
	}
	return nil
}

func copyFile(to, from string, mode fs.FileMode) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
