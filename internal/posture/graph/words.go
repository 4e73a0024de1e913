package graph

import (
	"strings"
	"sync"
)

// words holds texts once. What is decoded of an object is made of pieces of one copy
// of its whole text, which any piece of it that is kept would hold on to; and the
// pods of one owner say the same.
type words struct {
	mu    sync.Mutex
	known map[string]string
}

func newWords() *words { return &words{known: map[string]string{}} }

func (p *words) take(of ...*string) {
	for _, s := range of {
		if *s == "" {
			continue
		}
		own, ok := p.known[*s]
		if !ok {
			own = strings.Clone(*s)
			p.known[own] = own
		}
		*s = own
	}
}

func (p *words) takeMap(of map[string]string) map[string]string {
	if of == nil {
		return nil
	}
	out := make(map[string]string, len(of))
	for k, v := range of {
		p.take(&k, &v)
		out[k] = v
	}
	return out
}

// detach takes a workload off the text that it was read from.
func (w *workload) detach(p *words) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.labels, w.notes = p.takeMap(w.labels), p.takeMap(w.notes)
	p.take(&w.path, &w.meta, &w.account)
	for i := range w.containers {
		c := &w.containers[i]
		p.take(&c.name, &c.path, &c.image)
		for j := range c.args {
			p.take(&c.args[j])
		}
		for j := range c.ports {
			p.take(&c.ports[j].name, &c.ports[j].protocol)
		}
	}
	for i := range w.volumes {
		v := &w.volumes[i]
		p.take(&v.name, &v.path, &v.hostPath, &v.claim)
	}
	for i := range w.refs {
		u := &w.refs[i]
		p.take(&u.name, &u.field, &u.container, &u.key)
	}
	for i := range w.claims {
		c := &w.claims[i]
		p.take(&c.name, &c.path, &c.class)
	}
}
