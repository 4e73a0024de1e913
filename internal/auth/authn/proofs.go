package authn

import (
	"crypto/sha256"
	"sync"

	"bulwark.dev/bulwark"
)

// proofs remembers keys and passwords that were right, by a hash that only this
// process can compute: the slow check then runs once and not with every request.
type proofs struct {
	mu sync.RWMutex
	m  map[digestOf]proof
}

// maxProofs bounds one cache. When it is full any one entry makes room.
const maxProofs = 8192

// proof is who a secret belongs to, until before a Unix time.
type proof struct {
	identity *bulwark.Identity
	until    int64
}

// proofKey hashes what was presented together with the process's secret. The
// secret has a fixed length and comes first, so no two inputs are read as one.
func (s *Shared) proofKey(presented string) digestOf {
	var buf [256]byte
	b := append(buf[:0], s.secret[:]...)
	b = append(b, presented...)
	return sha256.Sum256(b)
}

func (p *proofs) get(k digestOf, now int64) *bulwark.Identity {
	p.mu.RLock()
	e, ok := p.m[k]
	p.mu.RUnlock()
	if !ok || now >= e.until {
		return nil
	}
	return e.identity
}

func (p *proofs) put(k digestOf, e proof) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m == nil {
		p.m = make(map[digestOf]proof)
	}
	for old := range p.m {
		if len(p.m) < maxProofs {
			break
		}
		delete(p.m, old)
	}
	p.m[k] = e
}
