package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// The parts of Bulwark, by their label.
const (
	controller = "controller"
	dataPlane  = "gateway"
	system     = "bulwark-system"
	component  = "app.kubernetes.io/component"
	megabyte   = 1e6
)

// pods are those of Bulwark.
type pods struct {
	kube kubernetes.Interface
	of   map[string][]corev1.Pod
	run  map[string][]process
	http *http.Client

	mu      sync.Mutex
	reloads []reload
}

// reload is one table that the data plane put in force.
type reload struct {
	at   time.Time
	took time.Duration
}

func findPods(ctx context.Context, kube kubernetes.Interface) (*pods, error) {
	p := &pods{kube: kube, of: map[string][]corev1.Pod{}, run: map[string][]process{}, http: &http.Client{Timeout: 3 * time.Minute}}
	for _, role := range []string{controller, dataPlane} {
		l, err := kube.CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: component + "=" + role})
		if err != nil {
			return nil, fmt.Errorf("find pods: %w", err)
		}
		if len(l.Items) == 0 {
			return nil, fmt.Errorf("find pods: no %s", role)
		}
		p.of[role] = l.Items
		if p.run[role], err = findProcesses(role); err != nil {
			return nil, err
		}
	}
	go p.follow(ctx, p.of[dataPlane][0].Name)
	return p, nil
}

// figures are the metrics of a part's pods, by name with labels.
type figures []map[string]float64

// sum adds up a metric over its labels and all pods.
func (f figures) sum(name string, labels ...string) float64 {
	total := 0.0
	for _, pod := range f {
		for k, v := range pod {
			family, rest, _ := strings.Cut(k, "{")
			if family != name {
				continue
			}
			fits := true
			for _, l := range labels {
				fits = fits && strings.Contains(rest, l)
			}
			if fits {
				total += v
			}
		}
	}
	return total
}

// most gives the greatest value of a metric without labels.
func (f figures) most(name string) float64 {
	v := 0.0
	for _, pod := range f {
		v = max(v, pod[name])
	}
	return v
}

func (p *pods) get(ctx context.Context, pod *corev1.Pod, path string) ([]byte, error) {
	url := "http://" + pod.Status.PodIP + ":9400" + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", pod.Name, err)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", pod.Name, err)
	}
	b, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("ask %s for %s: %w", pod.Name, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask %s for %s: status %d", pod.Name, path, resp.StatusCode)
	}
	return b, nil
}

// scrape reads the metrics of a part's pods.
func (p *pods) scrape(ctx context.Context, role string) (figures, error) {
	var out figures
	for i := range p.of[role] {
		b, err := p.get(ctx, &p.of[role][i], "/metrics")
		if err != nil {
			return nil, err
		}
		m := map[string]float64{}
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSpace(line)
			at := strings.LastIndexByte(line, ' ')
			if at < 0 || line[0] == '#' {
				continue
			}
			if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
				m[line[:at]] = v
			}
		}
		out = append(out, m)
	}
	return out, nil
}

// usage gives what each part has used so far; with fresh, greatest values begin
// anew.
func (p *pods) usage(fresh bool) (map[string]usage, error) {
	out := map[string]usage{}
	for role, all := range p.run {
		u, err := used(all)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", role, err)
		}
		out[role] = u
		for _, q := range all {
			if !fresh {
				break
			}
			if err := q.forget(); err != nil {
				return nil, fmt.Errorf("%s: %w", role, err)
			}
		}
	}
	return out, nil
}

// follow reads from the data plane's log how long tables took, until ctx ends.
func (p *pods) follow(ctx context.Context, pod string) {
	stream, err := p.kube.CoreV1().Pods(system).GetLogs(pod, &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	if err != nil {
		return // there will be no reloads, which the report shows
	}
	defer func() { _ = stream.Close() }()
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l struct {
			Time time.Time     `json:"time"`
			Msg  string        `json:"msg"`
			Took time.Duration `json:"took"`
		}
		if json.Unmarshal(lines.Bytes(), &l) != nil || l.Msg != "configuration is in force" {
			continue
		}
		p.mu.Lock()
		p.reloads = append(p.reloads, reload{l.Time, l.Took})
		p.mu.Unlock()
	}
}

// since gives how long the tables took that came in force after a moment.
func (p *pods) since(begin time.Time) []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []time.Duration
	for _, r := range p.reloads {
		if r.at.After(begin) {
			out = append(out, r.took)
		}
	}
	return out
}

// profile writes a CPU profile of some seconds, then one of the heap, for each
// part.
func (p *pods) profile(ctx context.Context, dir, name string, seconds int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	var parts sync.WaitGroup
	errs := make(chan error, 2*len(p.of))
	for role := range p.of {
		parts.Go(func() {
			for kind, path := range map[string]string{"cpu": fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds), "heap": "/debug/pprof/heap?gc=1"} {
				b, err := p.get(ctx, &p.of[role][0], path)
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s-%s.pprof", role, name, kind)), b, 0o644)
				}
				errs <- err
			}
		})
	}
	parts.Wait()
	close(errs)
	var err error
	for e := range errs {
		err = errors.Join(err, e)
	}
	return err
}
