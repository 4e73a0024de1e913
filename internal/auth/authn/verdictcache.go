package authn

import (
	"crypto/sha256"
	"sync"

	"bulwark.dev/bulwark"
)

// The bounds of one verdict cache. A token's claims need a few times its own
// size in memory, so the tokens' sizes are bounded with their number.
const (
	verdictShards     = 16
	verdictsPerShard  = 512
	verdictShardBytes = 1 << 20
)

// digestOf is the key of a token in a verdict cache.
type digestOf = [sha256.Size]byte

// verdicts remembers tokens that were accepted, by their hash. Refusals are not
// remembered: whoever sends them could fill it. When it is full any one entry
// makes room.
type verdicts struct{ shards [verdictShards]verdictShard }

type verdictShard struct {
	mu    sync.RWMutex
	m     map[digestOf]verdict
	bytes int
}

// verdict is one accepted token. It holds inside its window, for as long as the
// issuer's keys are of the version that it was verified with.
type verdict struct {
	identity *bulwark.Identity
	window   window
	version  uint64
	size     int
}

func (v *verdicts) get(token *digestOf, version uint64, now int64) *bulwark.Identity {
	s := &v.shards[token[0]%verdictShards]
	s.mu.RLock()
	e, ok := s.m[*token]
	s.mu.RUnlock()
	if !ok || e.version != version || !e.window.holds(now) {
		return nil
	}
	return e.identity
}

func (v *verdicts) put(token *digestOf, e verdict) {
	s := &v.shards[token[0]%verdictShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = make(map[digestOf]verdict)
	}
	s.drop(token)
	for old := range s.m { // a map's order is random enough
		if len(s.m) < verdictsPerShard && s.bytes+e.size <= verdictShardBytes {
			break
		}
		s.drop(&old)
	}
	s.m[*token] = e
	s.bytes += e.size
}

func (s *verdictShard) drop(token *digestOf) {
	if e, ok := s.m[*token]; ok {
		s.bytes -= e.size
		delete(s.m, *token)
	}
}
