package forward

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"bulwark.dev/bulwark/internal/audit/vault"
)

// Names in the folder of a spool.
const (
	lockName     = "lock"
	runningName  = "running"
	positionName = "position"
	partSuffix   = ".events"
)

// errFull says that the spool has all the bytes that it may have.
var errFull = errors.New("the spool is full")

// position is a place in the spool: all before it was acknowledged.
type position struct {
	number uint64
	offset int64
}

// part is one file of frames. What the file has behind size was never a whole write.
type part struct {
	number uint64
	size   int64
	// head is how much of it comes before the first frame: none where it is plain.
	head int64
	// aead decrypts an encrypted part. Where it is nil its head is damaged, and so all of it.
	aead cipher.AEAD
}

// start is where the part's first frame is that was not acknowledged before a place.
func (p *part) start(at position) int64 {
	switch {
	case p.number < at.number:
		return p.size
	case p.number == at.number:
		return min(max(p.head, at.offset), p.size)
	}
	return p.head
}

// spool keeps frames in files, oldest first, until they are acknowledged. One
// goroutine appends and one reads; each may do so while the other does. A write is not
// synced: it outlives the process, and not a machine that loses its power.
type spool struct {
	dir       string
	max, each int64
	keys      vault.Keys // the first of them encrypts
	random    io.Reader
	lock      *os.File
	place     *os.File
	// interrupted says that the process before did not close the spool.
	interrupted bool

	mu    sync.Mutex
	parts []part
	last  uint64   // the newest number that was ever used
	out   *os.File // the newest part, while it may be appended to
	total int64
	at    position
	turn  uint64 // how often the position was written

	// plain is how many parts were there, when there were keys, that are not encrypted.
	plain int
	box   []byte // frames that are encrypted, to be written; of who appends
}

// openSpool takes the folder for this process. What is there is sent before what
// comes: it is never appended to, since its end may be half a write.
func openSpool(dir string, most int64, keys vault.Keys, random io.Reader) (_ *spool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	s := &spool{dir: dir, max: most, each: min(max(most/8, 64<<10), 8<<20), keys: keys, random: random}
	if s.lock, err = takeLock(filepath.Join(dir, lockName)); err != nil {
		return nil, fmt.Errorf("open spool %s: is another process using it? %w", dir, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open spool %s: %w", dir, errors.Join(err, s.release()))
		}
	}()
	if s.place, err = os.OpenFile(filepath.Join(dir, positionName), os.O_CREATE|os.O_RDWR, 0o600); err != nil { //nolint:gosec // a fixed name in the folder that this package was given
		return nil, err
	}
	slots := make([]byte, 2*slotSize)
	if _, err := s.place.ReadAt(slots, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	s.at, s.turn = parsePosition(slots)
	if err := s.list(); err != nil {
		return nil, err
	}
	if err := s.mark(); err != nil { // also reserves the place of the position
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, runningName), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // likewise
	if errors.Is(err, fs.ErrExist) {
		s.interrupted = true
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	return s, f.Close()
}

// list finds the parts, and removes those that were acknowledged whole.
func (s *spool) list() error {
	names, err := filepath.Glob(filepath.Join(s.dir, "*"+partSuffix))
	if err != nil {
		return err
	}
	for _, name := range names {
		number, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(name), partSuffix), 10, 64)
		if err != nil || s.path(number) != name {
			continue // not ours
		}
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		size := info.Size()
		s.last = max(s.last, number)
		p := part{number: number, size: size}
		if p.start(s.at) < size {
			if err := s.unlock(&p); err != nil {
				return err
			}
		}
		if p.start(s.at) >= size {
			if err := os.Remove(name); err != nil {
				return err
			}
			continue
		}
		if p.head == 0 && !s.keys.Empty() {
			s.plain++
		}
		s.parts = append(s.parts, p)
		s.total += size
	}
	slices.SortFunc(s.parts, func(a, b part) int {
		if a.number < b.number {
			return -1
		}
		return 1
	})
	s.last = max(s.last, s.at.number)
	return nil
}

func (s *spool) path(number uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%020d%s", number, partSuffix))
}

// append writes whole frames and gives how many bytes of data are kept: on an error
// the frames behind them are not. errFull is no failure of the disk.
func (s *spool) append(data []byte) (kept int, err error) {
	for kept < len(data) {
		s.mu.Lock()
		room := s.max - s.total
		var to *part
		if s.out != nil {
			last := s.parts[len(s.parts)-1]
			to = &last
		}
		s.mu.Unlock()
		_, first, ok := frameEnd(data[kept:])
		if !ok {
			return kept, errors.New("what was queued is no frame") // a mistake of ours, and not to be written
		}
		need := int64(first)
		if !s.keys.Empty() {
			need += vault.Overhead
		}
		if to != nil && to.size+need > max(s.each, to.head+need) {
			if err := s.rotate(); err != nil {
				return kept, err
			}
			continue
		}
		if to == nil && need+s.headSize() > room || to != nil && need > room {
			return kept, errFull
		}
		if to == nil {
			if err := s.begin(); err != nil {
				return kept, err
			}
			continue
		}
		b, n := s.gather(data[kept:], to, min(room, max(s.each-to.size, need)))
		if err := s.write(b); err != nil {
			return kept, err
		}
		kept += n
	}
	return kept, nil
}

// frameEnd gives the first frame's payload and its length with its head.
func frameEnd(b []byte) (payload []byte, n int, ok bool) {
	payload, rest, ok := open(b)
	return payload, len(b) - len(rest), ok
}

// begin makes the next part.
func (s *spool) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := part{number: s.last + 1}
	head, err := s.lockPart(&p)
	if err != nil {
		return fmt.Errorf("begin a part of the spool: %w", err)
	}
	out, err := os.OpenFile(s.path(p.number), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // a number in the folder that this package was given
	if err != nil {
		return fmt.Errorf("begin a part of the spool: %w", err)
	}
	s.last++
	if _, err := out.Write(head); err != nil {
		return fmt.Errorf("begin a part of the spool: %w", errors.Join(err, out.Close(), os.Remove(s.path(p.number)))) //nolint:gosec // likewise
	}
	p.size = p.head
	s.total += p.size
	s.out, s.parts = out, append(s.parts, p)
	return nil
}

// rotate ends the newest part.
func (s *spool) rotate() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil {
		return nil
	}
	err := s.out.Close()
	s.out = nil
	// One that took nothing is not kept: a disk that fails would get one after the other.
	if n := len(s.parts) - 1; s.parts[n].size == s.parts[n].head {
		err = errors.Join(err, os.Remove(s.path(s.parts[n].number))) //nolint:gosec // likewise
		s.total -= s.parts[n].size
		s.parts = s.parts[:n]
	}
	s.tidy()
	if err != nil {
		return fmt.Errorf("end a part of the spool: %w", err)
	}
	return nil
}

// write appends to the newest part, or leaves it as it was.
func (s *spool) write(b []byte) error {
	s.mu.Lock()
	out, p := s.out, s.parts[len(s.parts)-1]
	size := p.size
	s.mu.Unlock()
	if _, err := out.WriteAt(b, size); err != nil {
		// What was written of it must not be taken for events after a restart. Where it
		// cannot be cut off either, nothing more goes into this part; nor where other events
		// would be encrypted for the same place, with the same nonce.
		if cut := out.Truncate(size); cut != nil || p.head > 0 {
			err = errors.Join(err, cut, s.rotate())
		}
		return fmt.Errorf("write to the spool: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts[len(s.parts)-1].size += int64(len(b))
	s.total += int64(len(b))
	return nil
}

// read gives the payloads that come next, and where they end. Bytes that are no
// frames are damaged: what is behind them in their part cannot be found.
func (s *spool) read(most, events int) (payloads [][]byte, end position, damaged int64, err error) {
	s.mu.Lock()
	s.tidy()
	end, left, p := s.next()
	s.mu.Unlock()
	if left == 0 {
		return nil, end, 0, nil
	}
	f, err := os.Open(s.path(end.number))
	if errors.Is(err, fs.ErrNotExist) {
		end.offset += left // somebody took it away
		return nil, end, left, nil
	}
	if err != nil {
		return nil, end, 0, fmt.Errorf("read the spool: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if p.damaged() {
		end.offset += left
		return nil, end, left, nil
	}
	for _, size := range []int64{int64(most), maxPayload + frameHead + vault.Overhead} {
		b := make([]byte, min(left, size))
		n, err := f.ReadAt(b, end.offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, end, 0, fmt.Errorf("read the spool: %w", err)
		}
		if payloads, n = p.take(b[:n], end.offset, most, events); n > 0 {
			end.offset += int64(n)
			return payloads, end, 0, nil
		}
	}
	end.offset += left
	return nil, end, left, nil
}

// next is where the first event begins that was not acknowledged, how many bytes its
// part has from there, and that part. The caller holds mu.
func (s *spool) next() (from position, left int64, in part) {
	for _, p := range s.parts {
		from = position{number: p.number, offset: p.start(s.at)}
		if left = p.size - from.offset; left > 0 {
			return from, left, p
		}
	}
	return s.at, 0, part{}
}

// commit says that all before end was acknowledged.
func (s *spool) commit(end position) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = end
	err := s.mark()
	s.tidy()
	return err
}

// tidy removes what was acknowledged whole. The caller holds mu.
func (s *spool) tidy() {
	for len(s.parts) > 0 {
		p := s.parts[0]
		active := len(s.parts) == 1 && s.out != nil
		if active || p.start(s.at) < p.size {
			return
		}
		// A part that stays is removed at the next start: its position says that it is done.
		_ = os.Remove(s.path(p.number)) //nolint:gosec // likewise
		s.parts, s.total = s.parts[1:], s.total-p.size
	}
}

// mark writes the position. The caller holds mu, or is alone.
func (s *spool) mark() error {
	s.turn++
	if _, err := s.place.WriteAt(appendPosition(nil, s.at, s.turn), int64(s.turn%2)*slotSize); err != nil {
		return fmt.Errorf("note what was acknowledged: %w", err)
	}
	return nil
}

// unread is how many bytes wait to be acknowledged.
func (s *spool) unread() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := int64(0)
	for _, p := range s.parts {
		n += p.size - p.start(s.at)
	}
	return n
}

// close gives the folder free. A clean one is one that has all that it was given.
func (s *spool) close(clean bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.out != nil {
		err = errors.Join(s.out.Sync(), s.out.Close())
		s.out = nil
	}
	err = errors.Join(err, s.place.Sync())
	if clean {
		err = errors.Join(err, os.Remove(filepath.Join(s.dir, runningName)))
	}
	if err = errors.Join(err, s.release()); err != nil {
		return fmt.Errorf("close spool %s: %w", s.dir, err)
	}
	return nil
}

// release closes what openSpool opened.
func (s *spool) release() error {
	var err error
	if s.place != nil {
		err = s.place.Close()
	}
	return errors.Join(err, releaseLock(s.lock))
}
