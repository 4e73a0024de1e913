package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// volumes are the directories of one pod's volumes. Those with a payload are
// written again when an object behind them changes or a token grows old.
type volumes struct {
	pod *pod

	mu      sync.Mutex
	uses    map[objectKey]bool
	written map[string]payload // by volume
	tokens  tokens
}

// prepare makes the volumes that a container mounts.
func (v *volumes) prepare(ctx context.Context, spec *corev1.Container) error {
	for _, m := range spec.VolumeMounts {
		vol, err := v.find(m.Name)
		if err != nil {
			return err
		}
		if err := v.make(ctx, vol); err != nil {
			return fmt.Errorf("volume %s: %w", m.Name, err)
		}
	}
	return nil
}

func (v *volumes) find(name string) (*corev1.Volume, error) {
	spec := v.pod.current().Spec
	for i := range spec.Volumes {
		if spec.Volumes[i].Name == name {
			return &spec.Volumes[i], nil
		}
	}
	return nil, fmt.Errorf("no volume %q", name)
}

// path gives where a volume lies, and whether containers must not write to it.
func (v *volumes) path(name string) (path string, fixed bool, err error) {
	vol, err := v.find(name)
	if err != nil {
		return "", false, err
	}
	if vol.HostPath != nil {
		return vol.HostPath.Path, false, nil
	}
	return filepath.Join(v.pod.dir, "volumes", name), vol.EmptyDir == nil, nil
}

func (v *volumes) make(ctx context.Context, vol *corev1.Volume) error {
	path, _, err := v.path(vol.Name)
	if err != nil {
		return err
	}
	switch {
	case vol.EmptyDir != nil:
		if err := os.MkdirAll(path, 0o777); err != nil {
			return err
		}
		return os.Chmod(path, 0o777) // whatever the umask: any user of the pod writes here
	case vol.HostPath != nil:
		if t := vol.HostPath.Type; t != nil && *t == corev1.HostPathDirectoryOrCreate {
			return os.MkdirAll(path, 0o755)
		}
		return nil
	default:
		return v.write(ctx, vol, path)
	}
}

// write brings a volume with a payload up to date.
func (v *volumes) write(ctx context.Context, vol *corev1.Volume, path string) error {
	files, err := v.payload(ctx, vol)
	if err != nil {
		return err
	}
	gid := -1
	if sc := v.pod.current().Spec.SecurityContext; sc != nil && sc.FSGroup != nil && v.pod.k.SetUsers {
		gid = int(*sc.FSGroup)
		for name, f := range files {
			f.mode |= 0o440
			files[name] = f
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if before, ok := v.written[vol.Name]; ok && before.equal(files) {
		return nil
	}
	if err := files.write(path, gid); err != nil {
		return err
	}
	if v.written == nil {
		v.written = map[string]payload{}
	}
	v.written[vol.Name] = files
	return nil
}

// payload collects a volume's files.
func (v *volumes) payload(ctx context.Context, vol *corev1.Volume) (payload, error) {
	out := payload{}
	switch {
	case vol.Secret != nil:
		s := vol.Secret
		return out, v.object(ctx, out, secretKind, s.SecretName, s.Items, mode(s.DefaultMode), isTrue(s.Optional))
	case vol.ConfigMap != nil:
		c := vol.ConfigMap
		return out, v.object(ctx, out, configMapKind, c.Name, c.Items, mode(c.DefaultMode), isTrue(c.Optional))
	case vol.DownwardAPI != nil:
		return out, v.downward(out, vol.DownwardAPI.Items, mode(vol.DownwardAPI.DefaultMode))
	case vol.Projected != nil:
		m := mode(vol.Projected.DefaultMode)
		for i := range vol.Projected.Sources {
			if err := v.source(ctx, out, &vol.Projected.Sources[i], m); err != nil {
				return nil, err
			}
		}
		return out, nil
	default:
		return nil, errors.New("this kind of volume is not supported")
	}
}

func (v *volumes) source(ctx context.Context, out payload, s *corev1.VolumeProjection, m fs.FileMode) error {
	switch {
	case s.Secret != nil:
		return v.object(ctx, out, secretKind, s.Secret.Name, s.Secret.Items, m, isTrue(s.Secret.Optional))
	case s.ConfigMap != nil:
		return v.object(ctx, out, configMapKind, s.ConfigMap.Name, s.ConfigMap.Items, m, isTrue(s.ConfigMap.Optional))
	case s.DownwardAPI != nil:
		return v.downward(out, s.DownwardAPI.Items, m)
	case s.ServiceAccountToken != nil:
		text, err := v.tokens.get(ctx, v.pod, s.ServiceAccountToken)
		if err != nil {
			return err
		}
		out[s.ServiceAccountToken.Path] = payloadFile{[]byte(text), m}
		return nil
	default:
		return errors.New("this kind of projection is not supported")
	}
}

// object adds the keys of a Secret or ConfigMap: all, or the items.
func (v *volumes) object(ctx context.Context, out payload, k kind, name string, items []corev1.KeyToPath, m fs.FileMode, optional bool) error {
	data, err := v.data(ctx, k, name)
	if err != nil {
		if optional && errors.Is(err, errAbsent) {
			return nil
		}
		return err
	}
	if len(items) == 0 {
		for key, b := range data {
			out[key] = payloadFile{b, m}
		}
		return nil
	}
	for _, it := range items {
		b, ok := data[it.Key]
		if !ok && optional {
			continue
		}
		if !ok {
			return fmt.Errorf("%s %s/%s has no key %q", k, v.pod.namespace, name, it.Key)
		}
		f := payloadFile{b, m}
		if it.Mode != nil {
			f.mode = fs.FileMode(*it.Mode)
		}
		out[it.Path] = f
	}
	return nil
}

// data gives an object's content, and keeps it watched until close.
func (v *volumes) data(ctx context.Context, k kind, name string) (map[string][]byte, error) {
	id := objectKey{k, v.pod.namespace, name}
	v.mu.Lock()
	if !v.uses[id] {
		if v.uses == nil {
			v.uses = map[objectKey]bool{}
		}
		v.uses[id] = true
		v.pod.k.objects.use(ctx, id)
	}
	v.mu.Unlock()
	return v.pod.k.objects.data(ctx, id)
}

func (v *volumes) downward(out payload, items []corev1.DownwardAPIVolumeFile, m fs.FileMode) error {
	for _, it := range items {
		f := payloadFile{nil, m}
		if it.Mode != nil {
			f.mode = fs.FileMode(*it.Mode)
		}
		switch {
		case it.FieldRef != nil:
			text, err := v.pod.field(it.FieldRef.FieldPath)
			if err != nil {
				return err
			}
			f.data = []byte(text)
		case it.ResourceFieldRef != nil:
			c, err := v.pod.container(it.ResourceFieldRef.ContainerName)
			if err != nil {
				return err
			}
			f.data = []byte(resourceField(c.spec, it.ResourceFieldRef))
		}
		out[it.Path] = f
	}
	return nil
}

// follow keeps the payloads up to date until ctx ends.
func (v *volumes) follow(ctx context.Context) {
	const retry = time.Second
	for {
		wait := time.Hour
		if due, ok := v.tokens.due(); ok {
			wait = max(0, due.Sub(v.pod.k.Now()))
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-v.pod.refresh:
		case <-t.C:
		}
		t.Stop()
		v.mu.Lock()
		made := maps.Clone(v.written)
		v.mu.Unlock()
		failed := false
		for name := range made {
			vol, err := v.find(name)
			if err != nil {
				continue // the API does not let a pod lose a volume
			}
			if err := v.make(ctx, vol); err != nil && ctx.Err() == nil {
				v.pod.log(ctx, slog.LevelInfo, "refresh volume "+name, err) // the old content stays
				failed = failed || !errors.Is(err, errAbsent)
			}
		}
		if failed {
			pause(ctx, retry)
			v.pod.refreshVolumes()
		}
	}
}

// close ends the watches behind the volumes.
func (v *volumes) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for id := range v.uses {
		v.pod.k.objects.release(id)
	}
	v.uses = nil
}

func mode(m *int32) fs.FileMode {
	if m == nil {
		return 0o644
	}
	return fs.FileMode(*m)
}

func isTrue(b *bool) bool { return b != nil && *b }
