package mfrc522

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/spi"

	model "trailmark/firmware-sim/chip/mfrc522"
	"trailmark/firmware-sim/chip/picc"

	"trailmark/agent/internal/rfid"
)

// hostile cards keep their state and stay deaf as long as the standard lets them.
func hostile() picc.Options {
	return picc.Options{Hold: 5 * time.Millisecond, Settle: 4900 * time.Microsecond}
}

// rig is a reader on a chip with cards before it. To be used in a synctest
// bubble.
type rig struct {
	*Reader
	chip  *model.Chip
	field *picc.Field
	log   *safeBuffer
	reads map[string]int // UID in hex; belongs to whoever runs the reader
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newRig(t *testing.T, tags ...*picc.Tag) *rig {
	t.Helper()
	x := &rig{field: picc.NewField(hostile()), log: new(safeBuffer), reads: map[string]int{}}
	x.field.Put(tags...)
	x.chip = model.New(model.Options{Field: x.field})
	x.use(t, Options{Conn: x.chip})
	return x
}

func (x *rig) use(t *testing.T, o Options) {
	t.Helper()
	o.Log = slog.New(slog.NewTextHandler(x.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if x.Reader, err = New(o); err != nil {
		t.Fatal(err)
	}
}

func (x *rig) each(r rfid.Read) { x.reads[hex.EncodeToString(r.EPC)]++ }

// open sets the chip up as Run does.
func (x *rig) open(t *testing.T) {
	t.Helper()
	if _, err := x.Reader.chip.open(); err != nil {
		t.Fatal(err)
	}
}

func (x *rig) scan(ctx context.Context) error {
	time.Sleep(rest)
	return x.round(ctx, x.each)
}

func uids(tags []*picc.Tag) map[string]int {
	m := map[string]int{}
	for _, t := range tags {
		m[hex.EncodeToString(t.UID())] = 1
	}
	return m
}

func classic(b ...byte) *picc.Tag { return picc.Classic1K([4]byte(b)) }
func ntag(b ...byte) *picc.Tag    { return picc.NTAG215([7]byte(b)) }
func triple(b ...byte) *picc.Tag  { return picc.Triple([10]byte(b)) }

func TestRoundReadsEveryCard(t *testing.T) {
	cases := map[string][]*picc.Tag{
		"none":              nil,
		"4 bytes":           {classic(0xde, 0xad, 0xbe, 0xef)},
		"7 bytes":           {ntag(4, 1, 2, 3, 4, 5, 6)},
		"10 bytes":          {triple(4, 1, 2, 3, 4, 5, 6, 7, 8, 9)},
		"first bit differs": {classic(0, 2, 3, 4), classic(1, 2, 3, 4)},
		"last bit differs":  {classic(1, 2, 3, 0x04), classic(1, 2, 3, 0x84)},
		"byte border":       {classic(1, 0x02, 3, 4), classic(1, 0x03, 3, 4), classic(0x81, 2, 3, 4)},
		"same first level":  {ntag(4, 1, 2, 3, 4, 5, 6), ntag(4, 1, 2, 3, 4, 5, 0x86), ntag(4, 1, 2, 0x83, 4, 5, 6)},
		"same two levels": {triple(4, 1, 2, 3, 4, 5, 6, 7, 8, 9), triple(4, 1, 2, 3, 4, 5, 6, 7, 8, 0x89),
			triple(4, 1, 2, 3, 4, 0x15, 6, 7, 8, 9)},
		"7 and 10 bytes begin alike": {ntag(4, 1, 2, 3, 4, 5, 6), triple(4, 1, 2, 3, 4, 5, 6, 7, 8, 9)},
		"five of all lengths": {classic(0x89, 4, 1, 2), classic(0x98, 1, 1, 1), ntag(4, 1, 2, 3, 4, 5, 6),
			picc.NTAG213([7]byte{4, 1, 2, 3, 4, 5, 7}), triple(9, 8, 7, 6, 5, 4, 3, 2, 1, 1)},
		"two that say the same": {classic(1, 2, 3, 4), classic(1, 2, 3, 4)},
	}
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 522))
		tags := map[string]*picc.Tag{}
		for range 1 + r.IntN(8) {
			b := make([]byte, 10)
			for i := range b { // few values, so that prefixes are shared
				b[i] = []byte{0x10, 0x11, 0x90, 0x30}[r.IntN(4)]
			}
			tag := []*picc.Tag{classic(b[:4]...), ntag(b[:7]...), triple(b...)}[r.IntN(3)]
			tags[hex.EncodeToString(tag.UID())] = tag
		}
		cases[fmt.Sprintf("seed %d", seed)] = slices.Collect(maps.Values(tags))
	}
	for name, tags := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newRig(t, tags...)
				x.open(t)
				for round := range 2 { // the second wakes those that the first halted
					clear(x.reads)
					began := time.Now()
					if err := x.scan(t.Context()); err != nil {
						t.Fatal(err)
					}
					if want := uids(tags); !maps.Equal(x.reads, want) {
						t.Errorf("round %d: got %v, want %v\n%s", round, x.reads, want, x.log)
					}
					if took := time.Since(began); took > 20*time.Millisecond+time.Duration(len(tags))*40*time.Millisecond {
						t.Errorf("round %d took %v for %d cards", round, took, len(tags))
					}
				}
				if v := x.chip.Register(regTxControl); v&3 != 0 {
					t.Errorf("the antenna is on after the round: 0x%02x", v)
				}
			})
		})
	}
}

// says replaces the answer to a frame that begins with prefix.
func says(prefix []byte, f picc.Frame) func(picc.Frame, int, picc.Cell) picc.Cell {
	f = append(picc.Frame{picc.One}, f...)
	return func(sent picc.Frame, bit int, c picc.Cell) picc.Cell {
		data, _, _ := sent.Bytes()
		switch {
		case !bytes.HasPrefix(data, prefix):
			return c
		case bit < len(f):
			return f[bit]
		}
		return picc.None
	}
}

// mute hides the answer to such a frame.
func mute(prefix []byte) func(picc.Frame, int, picc.Cell) picc.Cell {
	return func(sent picc.Frame, _ int, c picc.Cell) picc.Cell {
		if data, _, _ := sent.Bytes(); bytes.HasPrefix(data, prefix) {
			return picc.None
		}
		return c
	}
}

// flips swaps bits of it.
func flips(prefix []byte, at ...int) func(picc.Frame, int, picc.Cell) picc.Cell {
	return func(sent picc.Frame, bit int, c picc.Cell) picc.Cell {
		data, _, _ := sent.Bytes()
		if bytes.HasPrefix(data, prefix) && slices.Contains(at, bit) && c != picc.None {
			return c ^ picc.Both
		}
		return c
	}
}

func withCRC(data ...byte) picc.Frame {
	crc := crcA(data)
	return picc.Standard(append(data, crc[:]...)...)
}

func TestBadWire(t *testing.T) {
	var (
		coll1, coll2     = []byte{0x93, 0x20}, []byte{0x95, 0x20}
		select1, select2 = []byte{0x93, 0x70}, []byte{0x95, 0x70}
		select3          = []byte{0x97, 0x70}
		four             = classic(0x21, 0x22, 0x23, 0x24)
		seven            = ntag(4, 1, 2, 3, 4, 5, 6)
		ten              = triple(4, 1, 2, 3, 4, 5, 6, 7, 8, 9)
		long             = picc.Standard(make([]byte, 70)...)
		both             = func(f picc.Frame, at int) picc.Frame { f = slices.Clone(f); f[at] = picc.Both; return f }
	)
	for _, c := range []struct {
		name    string
		tag     *picc.Tag
		disturb func(picc.Frame, int, picc.Cell) picc.Cell
		refusal string
	}{
		{"uid bit flipped", four, flips(coll1, 3), "parity error"},
		{"uid bit and parity flipped", four, flips(coll1, 3, 9), "has bcc 0x04, want 0x00"},
		{"bcc flipped with its parity", four, flips(coll1, 37, 45), "has bcc"},
		{"start bit missing", four, flips(coll1, 0), "does not start as one"},
		{"uid ends after 39 bits", four, says(coll1, picc.Standard(0x21, 0x22, 0x23, 0x24, 0x04)[:43]), "5 bytes and 7 bits"},
		{"uid ends after 4 bytes", four, says(coll1, picc.Standard(0x21, 0x22, 0x23, 0x24)), "4 bytes and 0 bits"},
		{"uid of 6 bytes", four, says(coll1, picc.Standard(0x21, 0x22, 0x23, 0x24, 0x04, 0x00)), "of 6 bytes"},
		{"one bit for a uid", four, says(coll1, picc.Frame{picc.One}), "1 bytes and 1 bits"},
		{"start bit and no more", four, says(coll1, nil), "empty answer"},
		{"more than the fifo", four, says(coll1, long), "more than 64 bytes"},
		{"silence for a uid", four, mute(coll1), "fell silent"},
		{"collision in the bcc", four, says(coll1, both(picc.Standard(0x21, 0x22, 0x23, 0x24, 0x04), 38)), "collide outside"},
		{"sak bit flipped", four, flips(select1, 2), "parity error"},
		{"sak bit and parity flipped", four, flips(select1, 2, 9), "has crc"},
		{"crc of the sak flipped", four, flips(select1, 11, 18), "has crc"},
		{"sak without a crc", four, says(select1, picc.Standard(0x08)), "has 1 bytes and 0 bits"},
		{"sak of four bytes", four, says(select1, withCRC(0x08, 0x08)), "has 4 bytes"},
		{"nak to select", four, says(select1, picc.Partial([]byte{0}, 4)), "refuses command 0x93"},
		{"collision in the sak", four, says(select1, both(withCRC(0x08), 5)), "collide outside"},
		{"all zeros to select", four, says(select1, picc.Standard(0, 0, 0)), "has crc 0000"},
		{"all ones to select", four, says(select1, picc.Standard(0xff, 0xff, 0xff)), "has crc ffff"},
		{"4 bytes, sak says more", four, says(select1, withCRC(0x04)), "sak 0x04"},
		{"7 bytes, sak says no more", seven, says(select1, withCRC(0x00)), "sak 0x00"},
		{"level 2, sak says more", seven, says(select2, withCRC(0x04)), "level 2 of a uid"},
		{"level 2 begins with a cascade tag", seven, says(coll2, picc.Standard(0x88, 4, 5, 6, 0x88^4^5^6)), "did not confirm"},
		{"level 3, sak says more", ten, says(select3, withCRC(0x04)), "more than 3 levels"},
		{"random uid", classic(0x08, 1, 2, 3), nil, "is random"},
		{"uid of zeros", classic(0, 0, 0, 0), nil, "is blank"},
		{"uid of ones", classic(0xff, 0xff, 0xff, 0xff), nil, "is blank"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newRig(t, c.tag)
				x.open(t)
				x.field.Disturb(c.disturb)
				began := time.Now()
				if err := x.scan(t.Context()); err != nil {
					t.Fatalf("%v, want a refusal only", err)
				}
				if len(x.reads) != 0 {
					t.Errorf("read %v, want nothing", x.reads)
				}
				if !strings.Contains(x.log.String(), c.refusal) {
					t.Errorf("log lacks %q:\n%s", c.refusal, x.log)
				}
				if took := time.Since(began); took > 250*time.Millisecond {
					t.Errorf("the round took %v", took)
				}
				if c.disturb == nil {
					return
				}
				x.field.Disturb(nil)
				if err := x.scan(t.Context()); err != nil || !maps.Equal(x.reads, uids([]*picc.Tag{c.tag})) {
					t.Errorf("when all is well: %v, %v", x.reads, err)
				}
			})
		})
	}
}

// A card that cannot be read must not keep the others from being read, whichever
// way the collisions fall.
func TestBadCardDoesNotHideOthers(t *testing.T) {
	good := []*picc.Tag{classic(0x21, 1, 2, 3), classic(0xfe, 1, 2, 3), ntag(4, 1, 2, 3, 4, 5, 6)}
	for _, bad := range [][]byte{{0xff, 0xff, 0xff, 0xfe}, {0x20, 1, 1, 1}, {0x88 ^ 1, 4, 1, 1}, {0xfe, 1, 2, 0x83}} {
		t.Run(fmt.Sprintf("% x", bad), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newRig(t, append(good, classic(bad...))...)
				x.open(t)
				x.field.Disturb(flips(append([]byte{0x93, 0x70}, bad...), 12)) // its SAK never comes through
				if err := x.scan(t.Context()); err != nil {
					t.Fatal(err)
				}
				if !maps.Equal(x.reads, uids(good)) {
					t.Errorf("got %v, want %v", x.reads, uids(good))
				}
			})
		})
	}
}

// Noise that looks like a second card costs a turn, not the card.
func TestPhantomCollision(t *testing.T) {
	tag := classic(0x21, 0x22, 0x23, 0x24)
	for bit := range 32 {
		synctest.Test(t, func(t *testing.T) {
			x := newRig(t, tag)
			x.open(t)
			x.field.Disturb(func(sent picc.Frame, i int, c picc.Cell) picc.Cell {
				if data, n, _ := sent.Bytes(); n == 16 && data[0] == sel1 && i == 1+bit+bit/8 {
					return picc.Both
				}
				return c
			})
			if err := x.scan(t.Context()); err != nil || !maps.Equal(x.reads, uids([]*picc.Tag{tag})) {
				t.Errorf("at bit %d: %v, %v\n%s", bit, x.reads, err, x.log)
			}
		})
	}
}

// One wrong bit anywhere costs a turn at most.
func TestOneWrongBit(t *testing.T) {
	tags := []*picc.Tag{ntag(4, 1, 2, 3, 4, 5, 6), classic(5, 6, 7, 8)}
	for n, hit := 0, true; hit; n++ {
		synctest.Test(t, func(t *testing.T) {
			x := newRig(t, tags...)
			x.open(t)
			hit = false
			i := 0
			x.field.Disturb(func(_ picc.Frame, _ int, c picc.Cell) picc.Cell {
				if c != picc.None {
					if i == n {
						c, hit = c^picc.Both, true
					}
					i++
				}
				return c
			})
			if err := x.scan(t.Context()); err != nil || !maps.Equal(x.reads, uids(tags)) {
				t.Errorf("bit %d: %v, %v\n%s", n, x.reads, err, x.log)
			}
		})
	}
}

// A card may leave after any bit it sends: no other UID comes of it, and the one
// that stays is read.
func TestCardLeaves(t *testing.T) {
	for _, c := range []struct {
		name          string
		leaves, stays func() *picc.Tag
	}{
		{"one of two", func() *picc.Tag { return classic(0xf1, 0x22, 0x23, 0x24) }, func() *picc.Tag { return classic(0x71, 0x22, 0x23, 0x24) }},
		{"7 bytes", func() *picc.Tag { return ntag(4, 1, 2, 3, 4, 5, 6) }, func() *picc.Tag { return ntag(4, 1, 2, 3, 4, 5, 4) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			whole := false
			for n := 0; !whole; n++ {
				synctest.Test(t, func(t *testing.T) {
					leaves, stays := c.leaves(), c.stays()
					x := newRig(t, leaves, stays)
					x.open(t)
					x.field.TakeAfter(leaves, n)
					if err := x.scan(t.Context()); err != nil {
						t.Fatalf("after %d bits: %v", n, err)
					}
					want := uids([]*picc.Tag{leaves, stays})
					if whole = x.reads[hex.EncodeToString(leaves.UID())] == 1; !whole {
						want = uids([]*picc.Tag{stays})
					}
					if !maps.Equal(x.reads, want) {
						t.Errorf("after %d bits: got %v, want %v", n, x.reads, want)
					}
					if n > 1000 {
						t.Fatal("it was never read")
					}
				})
			}
		})
	}
}

// status collects what a reader says of itself.
type status struct {
	mu    sync.Mutex
	lines []string
}

func (s *status) tell(up bool, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf("%v %s", up, why))
}

func (s *status) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

// run is a reader in its own goroutine.
func (x *rig) run(t *testing.T, o Options) (s *status, stop func() map[string]int) {
	s = new(status)
	if o.Conn == nil {
		o.Conn = x.chip
	}
	o.Status = s.tell
	x.use(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx, x.each) }()
	return s, func() map[string]int {
		cancel()
		began := time.Now()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 200*time.Millisecond {
			t.Errorf("Run ended %v after its context", took)
		}
		return x.reads
	}
}

func TestBrownout(t *testing.T) {
	for after := 100 * time.Millisecond; after < 360*time.Millisecond; after += 1700 * time.Microsecond {
		synctest.Test(t, func(t *testing.T) {
			card, tag := classic(1, 2, 3, 4), ntag(4, 1, 2, 3, 4, 5, 6)
			x := newRig(t, card, tag)
			s, stop := x.run(t, Options{})
			time.Sleep(after)
			x.chip.Brownout()
			time.Sleep(5 * time.Second)
			reads := stop()
			lines := s.all()
			if len(lines) != 3 || !strings.HasPrefix(lines[0], "true mfrc522 version 0x92") ||
				!strings.HasPrefix(lines[1], "false mfrc522: ") || !strings.HasPrefix(lines[2], "true ") {
				t.Errorf("after %v: told %q", after, lines)
			}
			if want := uids([]*picc.Tag{card, tag}); len(reads) != 2 || reads["01020304"] < 14 || reads["04010203040506"] < 14 {
				t.Errorf("after %v: read %v, want each of %v at least 14 times", after, reads, want)
			}
		})
	}
}

// Whichever setting is lost, the next round notices before it believes that the
// field is empty.
func TestEverySettingIsWatched(t *testing.T) {
	for _, s := range settings(4) {
		if s.register == regTxControl {
			continue // written in every round
		}
		synctest.Test(t, func(t *testing.T) {
			x := newRig(t, classic(1, 2, 3, 4))
			x.open(t)
			x.chip.Transfer([]byte{s.register << 1, ^s.value}, nil)
			err := x.scan(t.Context())
			if want := fmt.Sprintf("register 0x%02x", s.register); err == nil || !strings.Contains(err.Error(), want) || len(x.reads) != 0 {
				t.Errorf("got %v and %v, want an error about %s", x.reads, err, want)
			}
		})
	}
}

func TestChipGone(t *testing.T) {
	for _, miso := range []byte{0x00, 0xff} {
		for after := 250 * time.Millisecond; after < 290*time.Millisecond; after += 900 * time.Microsecond {
			synctest.Test(t, func(t *testing.T) {
				x := newRig(t, classic(1, 2, 3, 4))
				s, stop := x.run(t, Options{})
				time.Sleep(after)
				x.chip.Unplug(miso)
				time.Sleep(3 * time.Second)
				if lines := s.all(); len(lines) != 2 || !strings.HasPrefix(lines[1], "false ") {
					t.Errorf("0x%02x after %v: told %q", miso, after, lines)
				}
				x.chip.Plug()
				time.Sleep(3 * time.Second)
				reads := stop()
				if lines := s.all(); len(lines) != 3 || len(reads) != 1 || reads["01020304"] < 8 {
					t.Errorf("0x%02x after %v: told %q, read %v", miso, after, lines, reads)
				}
				if v := x.chip.Register(regTxControl); v&3 != 0 {
					t.Errorf("the antenna is on after Run: 0x%02x", v)
				}
			})
		}
	}
}

func TestNoChip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newRig(t)
		x.chip.Unplug(0xff)
		s, stop := x.run(t, Options{})
		time.Sleep(10 * time.Second)
		stop()
		lines := s.all()
		if len(lines) != 1 || !strings.Contains(lines[0], "version register is 0xff") || !strings.Contains(lines[0], "\nhint: ") {
			t.Errorf("told %q", lines)
		}
	})
}

func TestVersions(t *testing.T) {
	for version, ok := range map[byte]bool{0x91: true, 0x92: true, 0x88: true, 0x12: false, 0xb2: false, 0x90: false} {
		synctest.Test(t, func(t *testing.T) {
			x := newRig(t)
			x.chip = model.New(model.Options{Version: version})
			s, stop := x.run(t, Options{Reset: x.chip.NRSTPD(), Gain: 48})
			time.Sleep(2 * time.Second)
			if v := x.chip.Register(regRFCfg); ok && v != 0x78 {
				t.Errorf("version 0x%02x: gain register is 0x%02x, want 0x78", version, v)
			}
			stop()
			if lines := s.all(); len(lines) != 1 || strings.HasPrefix(lines[0], "true") != ok || !strings.Contains(lines[0], fmt.Sprintf("0x%02x", version)) {
				t.Errorf("version 0x%02x: told %q", version, lines)
			}
		})
	}
}

// broken is a connection that fails from its n'th transfer on, or answers what
// it likes.
type broken struct {
	spi.Conn
	left  *int
	bytes *bytes.Reader // what MISO shows from then on; nil: an error
}

func (b broken) Tx(w, r []byte) error {
	if *b.left > 0 {
		*b.left--
		return b.Conn.Tx(w, r)
	}
	if b.bytes == nil {
		return errors.New("input/output error")
	}
	_, _ = b.bytes.Read(r)
	return nil
}

func TestBusFails(t *testing.T) {
	for n := range 120 {
		synctest.Test(t, func(t *testing.T) {
			x := newRig(t, classic(1, 2, 3, 4))
			s, stop := x.run(t, Options{Conn: broken{Conn: x.chip, left: &n}})
			time.Sleep(3 * time.Second)
			stop()
			if lines := s.all(); !strings.Contains(lines[len(lines)-1], "input/output error") {
				t.Errorf("told %q", lines)
			}
		})
	}
}

// hooked does something after its n'th transfer.
type hooked struct {
	spi.Conn
	left int
	then func()
}

func (h *hooked) Tx(w, r []byte) error {
	err := h.Conn.Tx(w, r)
	if h.left--; h.left == 0 {
		h.then()
	}
	return err
}

// Whatever a round is doing when the chip starts again or goes, no other UID
// comes of it, and at the latest the next round knows.
func TestLostAfterAnyTransfer(t *testing.T) {
	for name, lose := range map[string]func(*model.Chip){
		"brown-out": (*model.Chip).Brownout,
		"low":       func(c *model.Chip) { c.Unplug(0x00) },
		"high":      func(c *model.Chip) { c.Unplug(0xff) },
	} {
		t.Run(name, func(t *testing.T) {
			hit := true
			for n := 1; hit; n++ {
				synctest.Test(t, func(t *testing.T) {
					tags := []*picc.Tag{ntag(4, 1, 2, 3, 4, 5, 6), classic(5, 6, 7, 8)}
					x := newRig(t, tags...)
					x.open(t)
					hit = false
					x.Reader.chip.conn = &hooked{x.chip, n, func() { hit = true; lose(x.chip) }}
					err := x.scan(t.Context())
					if err == nil && hit {
						err = x.scan(t.Context())
					}
					if (err == nil) == hit {
						t.Errorf("after %d transfers: %v", n, err)
					}
					for uid := range x.reads {
						if uids(tags)[uid] == 0 {
							t.Errorf("after %d transfers: read %s", n, uid)
						}
					}
				})
			}
		})
	}
}

// However short the pause that is asked for, the field is off long enough for
// halted cards to forget that they were.
func TestHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newRig(t, classic(1, 2, 3, 4))
		_, stop := x.run(t, Options{Every: time.Nanosecond})
		time.Sleep(time.Second)
		if reads := stop(); reads["01020304"] < 40 {
			t.Errorf("read %v in a second, want at least 40", reads)
		}
	})
}

func TestRunEndsAnywhere(t *testing.T) {
	for after := time.Duration(0); after < 60*time.Millisecond; after += 1100 * time.Microsecond {
		synctest.Test(t, func(t *testing.T) {
			x := newRig(t, classic(1, 2, 3, 4), ntag(4, 1, 2, 3, 4, 5, 6))
			_, stop := x.run(t, Options{})
			time.Sleep(after)
			stop()
			if v := x.chip.Register(regTxControl); v&3 != 0 {
				t.Errorf("after %v: the antenna is on: 0x%02x", after, v)
			}
		})
	}
}

// A reader that has died with the field on leaves cards halted under it.
func TestFieldLeftOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newRig(t, classic(1, 2, 3, 4))
		x.open(t)
		x.Reader.chip.conn = broken{Conn: x.chip, left: new(1 << 30)}
		if err := x.scan(t.Context()); err != nil {
			t.Fatal(err)
		}
		x.chip.Transfer([]byte{regTxControl << 1, txOn}, nil)
		clear(x.reads)
		_, stop := x.run(t, Options{})
		time.Sleep(100 * time.Millisecond) // one round
		if reads := stop(); reads["01020304"] != 1 {
			t.Errorf("read %v", reads)
		}
	})
}

func TestReadSaysWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newRig(t, ntag(4, 1, 2, 3, 4, 5, 6))
		at := time.Unix(1_700_000_000, 0)
		x.use(t, Options{Conn: x.chip, Now: func() time.Time { return at }})
		ctx, cancel := context.WithCancel(t.Context())
		var got rfid.Read
		if err := x.Run(ctx, func(r rfid.Read) { got = r; cancel() }); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.EPC, []byte{4, 1, 2, 3, 4, 5, 6}) || got.TID != nil || got.Antenna != 1 || got.RSSI != 0 ||
			!got.First.Equal(at) || !got.Last.Equal(at) || got.Count != 1 {
			t.Errorf("got %+v", got)
		}
		if x.Name() != "mfrc522://MFRC522" {
			t.Errorf("name %q", x.Name())
		}
	})
}

func TestNewRefuses(t *testing.T) {
	chip := model.New(model.Options{})
	for name, o := range map[string]Options{
		"no spi connection": {},
		"gain of 30 dB":     {Conn: chip, Gain: 30},
		"gain of -1 dB":     {Conn: chip, Gain: -1},
		"round every -1s":   {Conn: chip, Every: -time.Second},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// The examples of ISO/IEC 14443-3 annex B.
func TestCRC(t *testing.T) {
	for data, want := range map[string][2]byte{"\x00\x00": {0xa0, 0x1e}, "\x12\x34": {0x26, 0xcf}} {
		if got := crcA([]byte(data)); got != want {
			t.Errorf("% x: got % x, want % x", data, got, want)
		}
	}
}

// FuzzAir lets cards say anything: a round ends in time and never panics, and
// what is read has the length of a UID.
func FuzzAir(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 2, 1, 2, 3, 3, 1, 0, 1, 1})
	f.Add(bytes.Repeat([]byte{0x5a}, 64))
	f.Add(bytes.Repeat([]byte{0xff}, 300))
	f.Fuzz(func(t *testing.T, script []byte) {
		synctest.Test(t, func(t *testing.T) {
			x := newRig(t, classic(1, 2, 3, 4), ntag(4, 1, 2, 3, 4, 5, 6))
			x.open(t)
			i := 0
			x.field.Disturb(func(_ picc.Frame, _ int, c picc.Cell) picc.Cell {
				if i/4 < len(script) {
					c ^= picc.Cell(script[i/4]>>(i%4*2)) & picc.Both
				}
				i++
				return c
			})
			began := time.Now()
			if err := x.scan(t.Context()); err != nil {
				t.Errorf("noise is no fault of the chip: %v", err)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("the round took %v", took)
			}
			for uid := range x.reads {
				if n := len(uid) / 2; n != 4 && n != 7 && n != 10 {
					t.Errorf("read %s", uid)
				}
			}
		})
	})
}

// FuzzBus lets the wire from the chip say anything from some transfer on.
func FuzzBus(f *testing.F) {
	f.Add(0, []byte{0, 0x92, 0x20})
	f.Add(20, bytes.Repeat([]byte{0x00}, 200))
	f.Add(40, bytes.Repeat([]byte{0x21}, 200))
	f.Add(60, bytes.Repeat([]byte{0x0c, 0x20, 0x08}, 100))
	f.Fuzz(func(t *testing.T, left int, miso []byte) {
		synctest.Test(t, func(t *testing.T) {
			x := newRig(t, classic(1, 2, 3, 4))
			_, stop := x.run(t, Options{Conn: broken{x.chip, &left, bytes.NewReader(miso)}})
			time.Sleep(700 * time.Millisecond)
			for uid := range stop() {
				if n := len(uid) / 2; n != 4 && n != 7 && n != 10 {
					t.Errorf("read %s", uid)
				}
			}
		})
	})
}
