package relay

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"bulwark.dev/bulwark/internal/cluster"
)

// mirror is the receiving side of a stream without its connection: lines go in,
// snapshots come out, at commits only. It outlives connections, so that objects
// which did not change stay the same objects.
type mirror struct {
	entries    []*entry // by key, as of the last commit
	unreadable []byte   // nil before the first commit
	digest     string   // "" where the next connection must begin with everything
	store      *cluster.Store

	// What came since the last commit; a nil entry is a deletion.
	staged         map[string]*entry
	stagedBytes    int
	newUnreadable  []byte
	reset          bool
	bySum          map[[sha256.Size]byte]*entry // the entries, after a reset
	revision       uint64                       // of this connection
	greeted, ended bool
}

// errMismatch says that the two ends do not have the same objects.
var errMismatch = errors.New("the objects received are not those that were sent")

// connect forgets what a connection left behind.
func (m *mirror) connect() {
	m.unstage()
	m.revision, m.greeted, m.ended = 0, false, false
}

func (m *mirror) unstage() {
	m.staged, m.stagedBytes, m.newUnreadable, m.reset, m.bySum = map[string]*entry{}, 0, nil, false, nil
}

// forget makes the next connection begin with everything. The objects stay, to
// be compared with.
func (m *mirror) forget() { m.digest = "" }

// take reads one line. Committed says that it was a commit.
func (m *mirror) take(verb string, body []byte) (committed bool, err error) {
	if m.ended || m.greeted == (verb == verbHello) && verb != verbBye {
		return false, fmt.Errorf("%w: %q out of turn", errFrame, plain(verb))
	}
	switch verb {
	case verbHello:
		return false, m.hello(body)
	case verbReset:
		if m.reset || len(m.staged) > 0 || m.newUnreadable != nil {
			return false, fmt.Errorf("%w: reset inside a change", errFrame)
		}
		m.reset, m.bySum = true, make(map[[sha256.Size]byte]*entry, len(m.entries))
		for _, e := range m.entries {
			m.bySum[e.sum] = e
		}
		return false, nil
	case verbSet:
		return false, m.set(body)
	case verbDel:
		return false, m.del(body)
	case verbUnreadable:
		return false, m.setUnreadable(body)
	case verbCommit:
		c, err := parse[commit](body)
		if err != nil {
			return false, fmt.Errorf("commit: %w", err)
		}
		if err := m.commit(c); err != nil {
			return false, err
		}
		return true, nil
	case verbPing:
		return false, nil
	case verbBye:
		m.ended = true
		n, err := parse[notice](body)
		if err != nil {
			return false, fmt.Errorf("bye: %w", err)
		}
		return false, byeError{reason: plain(n.Reason)}
	default:
		return false, fmt.Errorf("%w: %q; install the same version of controller and data plane", errFrame, plain(verb))
	}
}

// byeError is the controller sending the data plane away.
type byeError struct{ reason string }

func (e byeError) Error() string { return "the controller says: " + e.reason }

// hello judges whether this controller is one to listen to.
func (m *mirror) hello(body []byte) error {
	h, err := greeting(body)
	if err != nil {
		return err
	}
	if h.Protocol != Protocol {
		return skewError{fmt.Sprintf("controller version %s speaks relay protocol %d, this data plane protocol %d", plain(h.Version), h.Protocol, Protocol)}
	}
	// A kind that only one end knows may be what restricts another.
	for _, id := range h.Kinds {
		if kindByID(id) == nil {
			return skewError{fmt.Sprintf("controller version %s relays kind %s, which this data plane does not know", plain(h.Version), plain(id))}
		}
	}
	for _, k := range kinds() {
		if !slices.Contains(h.Kinds, k.id) {
			return skewError{fmt.Sprintf("controller version %s does not relay kind %s, which this data plane needs", plain(h.Version), k.id)}
		}
	}
	m.greeted = true
	return nil
}

// skewError is two versions that do not go together.
type skewError struct{ what string }

func (e skewError) Error() string {
	return e.what + "; install the same version of controller and data plane"
}

// greeting reads a hello. It lets unknown members pass, so that the message of
// another protocol can be told apart.
func greeting(body []byte) (hello, error) {
	var h hello
	if err := json.Unmarshal(body, &h); err != nil {
		return h, fmt.Errorf("hello: %w: %w", errFrame, err)
	}
	return h, nil
}

// find gives the committed entry of a key, or nil.
func (m *mirror) find(key string) *entry {
	i, found := slices.BinarySearchFunc(m.entries, &entry{key: key}, byKey)
	if !found {
		return nil
	}
	return m.entries[i]
}

func (m *mirror) set(body []byte) error {
	id, text, _ := bytes.Cut(body, []byte{' '})
	k := kindByID(string(id))
	if k == nil {
		return skewError{fmt.Sprintf("the controller sent an object of kind %s, which this data plane does not know", plain(string(id)))}
	}
	sum := sha256.Sum256(text)
	if e := m.bySum[sum]; e != nil && e.kind == k {
		return m.stage(e.key, e)
	}
	obj, err := k.decode(text)
	if err != nil {
		return skewError{err.Error()}
	}
	e := &entry{key: keyOf(k, obj), kind: k, sum: sum, obj: obj, size: len(text)}
	if old := m.find(e.key); old != nil && old.sum == sum {
		e = old
	}
	return m.stage(e.key, e)
}

func (m *mirror) del(body []byte) error {
	key := string(body)
	if m.reset || m.find(key) == nil {
		return fmt.Errorf("%w: %s is deleted and was not there", errMismatch, plain(key))
	}
	return m.stage(key, nil)
}

func (m *mirror) stage(key string, e *entry) error {
	if _, twice := m.staged[key]; twice {
		return fmt.Errorf("%w: %s twice in one change", errFrame, plain(key))
	}
	if e != nil {
		m.stagedBytes += e.size
	}
	if len(m.staged) >= MaxObjects || m.stagedBytes > MaxBytes {
		return fmt.Errorf("%w: more objects than a data plane takes", errFrame)
	}
	m.staged[key] = e
	return nil
}

func (m *mirror) setUnreadable(body []byte) error {
	list, err := parse[[]cluster.Unreadable](body)
	if err != nil {
		return fmt.Errorf("unreadable: %w", err)
	}
	m.newUnreadable = encodeUnreadable(list)
	return nil
}

// commit puts what was staged in force if the outcome is what the controller
// says, and else changes nothing.
func (m *mirror) commit(c commit) error {
	if c.Revision <= m.revision {
		return fmt.Errorf("%w: revision %d after %d", errFrame, c.Revision, m.revision)
	}
	entries, unreadable := m.merged(), m.unreadable
	if m.reset || unreadable == nil {
		unreadable = []byte("[]")
	}
	if m.newUnreadable != nil {
		unreadable = m.newUnreadable
	}
	if m.digest == "" && !m.reset {
		return fmt.Errorf("%w: a change without a beginning", errFrame)
	}
	size := 0
	for _, e := range entries {
		size += e.size
	}
	if size > MaxBytes || len(entries) > MaxObjects {
		return fmt.Errorf("%w: %d objects of %d bytes are more than a data plane takes", errFrame, len(entries), size)
	}
	if got := digestOf(entries, unreadable); got != c.Digest {
		return fmt.Errorf("%w: revision %d has digest %s here and %s there", errMismatch, c.Revision, got, plain(c.Digest))
	}
	if err := m.keep(entries, unreadable); err != nil {
		m.store, m.entries, m.unreadable = nil, nil, nil
		return err
	}
	m.digest, m.revision = c.Digest, c.Revision
	m.unstage()
	return nil
}

// merged gives the entries as they would be with what is staged.
func (m *mirror) merged() []*entry {
	var changed []*entry
	for _, e := range m.staged {
		if e != nil {
			changed = append(changed, e)
		}
	}
	slices.SortFunc(changed, byKey)
	if m.reset {
		return changed
	}
	if len(m.staged) == 0 {
		return m.entries
	}
	out := make([]*entry, 0, len(m.entries)+len(changed))
	for _, e := range m.entries {
		for len(changed) > 0 && changed[0].key < e.key {
			out, changed = append(out, changed[0]), changed[1:]
		}
		if _, touched := m.staged[e.key]; !touched {
			out = append(out, e)
		}
	}
	return append(out, changed...)
}

// keep brings the store from what was committed last to entries.
func (m *mirror) keep(entries []*entry, unreadable []byte) error {
	first := m.store == nil
	if first {
		m.store = cluster.NewStore()
	}
	was, err := reasons(m.unreadable)
	if err != nil {
		return err
	}
	is, err := reasons(unreadable)
	if err != nil {
		return err
	}
	lists := map[string][]cluster.Object{}
	for _, e := range entries {
		if is[e.kind.name] != "" {
			return fmt.Errorf("%w: %s of a kind that cannot be read", errMismatch, plain(e.key))
		}
		lists[e.kind.name] = append(lists[e.kind.name], e.obj)
	}
	whole := map[string]bool{} // kinds that are kept as a whole
	for _, k := range kinds() {
		switch reason := is[k.name]; {
		case reason != "":
			err = errors.Join(err, m.store.SetUnreadable(k.name, reason))
			whole[k.name] = true
		case first || was[k.name] != "":
			err = errors.Join(err, m.store.Replace(k.name, lists[k.name]))
			whole[k.name] = true
		}
	}
	put := func(e *entry) {
		if !whole[e.kind.name] {
			err = errors.Join(err, m.store.Put(e.obj))
		}
	}
	remove := func(e *entry) {
		if !whole[e.kind.name] {
			err = errors.Join(err, m.store.Remove(e.kind.name, e.obj.GetNamespace(), e.obj.GetName()))
		}
	}
	walk(m.entries, entries, put, remove)
	m.entries, m.unreadable = entries, unreadable
	if err != nil {
		return fmt.Errorf("keep what was received: %w", err)
	}
	return nil
}

// reasons gives, by kind, why it cannot be read.
func reasons(unreadable []byte) (map[string]string, error) {
	if unreadable == nil {
		return nil, nil
	}
	list, err := parse[[]cluster.Unreadable](unreadable)
	if err != nil {
		return nil, fmt.Errorf("unreadable: %w", err)
	}
	out := map[string]string{}
	for _, u := range list {
		if !slices.ContainsFunc(kinds(), func(k *kind) bool { return k.name == u.Kind }) {
			return nil, skewError{"the controller cannot read kind " + plain(u.Kind) + ", which this data plane does not know"}
		}
		out[u.Kind] = cmp.Or(out[u.Kind], plain(u.Reason), "no reason given")
	}
	return out, nil
}

// snapshot gives what the last commit left.
func (m *mirror) snapshot() *cluster.Snapshot { return m.store.Snapshot() }
