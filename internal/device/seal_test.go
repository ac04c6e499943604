package device

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

const (
	testAudience = "demo/test"
	testIssuer   = "urn:dev:ops:1-test"
)

func newSealer(t testing.TB) *Sealer {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := statement.NewSigner(priv)
	if err != nil {
		t.Fatal(err)
	}
	return &Sealer{Signer: s, Issuer: testIssuer, Audience: testAudience}
}

// judge recomputes what a device signed the long way: whole traces from every
// block, no frontier, no merging of digests.
type judge struct {
	t      testing.TB
	key    statement.Key
	next   uint64
	prev   statement.Hash
	traces map[string]*whole
	starts int // traces opened
}

type whole struct {
	start         trace.Start
	spec          trace.Spec
	leaves        []trace.Node
	times, values []int64
	head          trace.Head
}

func newJudge(t testing.TB, s *Sealer) *judge {
	return &judge{t: t, key: s.Signer.Key(), traces: map[string]*whole{}}
}

func (j *judge) frame(up []byte, entries func(string) *statement.Channel) *statement.Delivery {
	j.t.Helper()
	d, err := statement.ParseUp(up)
	if err != nil {
		j.t.Fatalf("frame %d: %v", j.next, err)
	}
	f := d.Frame
	if err := d.Statement.Verify(j.key, testAudience); err != nil {
		j.t.Fatal(err)
	}
	if f.Seq != j.next || f.Prev != j.prev || d.Statement.Header.Subject != "3" || d.Statement.Header.Issuer != testIssuer {
		j.t.Fatalf("frame %d after %d names %s before it, in stream %q", f.Seq, j.next, f.Prev, d.Statement.Header.Subject)
	}
	j.next, j.prev = f.Seq+1, d.Statement.ID()
	now := f.Clock.Wall
	if f.Basis() == trace.Boot {
		now = f.Clock.Boottime / 1e6
	}
	span := [2]int64{now, now}
	var channels []string
	blocks := map[string]int{}
	for i, v := range d.Contents {
		switch v := v.(type) {
		case *statement.Block:
			channels = append(channels, v.Channel)
			blocks[v.Channel] = i
			span[0] = min(span[0], v.First)
		case *statement.HeadRecord:
			at := blocks[v.Channel]
			j.head(f, v, d.Contents[at].(*statement.Block), sha256.Sum256(d.Records[at]), entries(v.Channel))
		case *statement.Sighting:
			span[0] = min(span[0], v.First)
		case *statement.Happening:
			span[0] = min(span[0], v.At)
		}
	}
	if f.Span != span {
		j.t.Fatalf("frame %d spans %v, its records %v", f.Seq, f.Span, span)
	}
	if !slices.IsSorted(channels) {
		j.t.Fatalf("blocks of %q", channels)
	}
	return d
}

func (j *judge) head(f *statement.Frame, h *statement.HeadRecord, b *statement.Block, record statement.Hash, entry *statement.Channel) {
	j.t.Helper()
	spec, plan := trace.Spec{Nominal: 60_000}, statement.Hash{}
	if entry != nil {
		spec, plan = entry.Spec(), entry.Hash()
	}
	w, had := j.traces[h.Channel]
	if h.Start != nil {
		s := *h.Start
		if s.Epoch != 3 || s.Plan != plan || s.Basis != f.Basis() || s.Boot != f.Clock.BootID {
			j.t.Fatalf("frame %d: start %+v", f.Seq, s)
		}
		if had && (s.PrevStart != w.head.Start || s.PrevSize != w.head.Size || s.PrevRoot != w.head.Root) ||
			!had && (s.PrevSize != 0 || !s.PrevStart.IsZero()) {
			j.t.Fatalf("frame %d: start names %.8s… of %d before it", f.Seq, s.PrevStart, s.PrevSize)
		}
		if b.Prev != nil {
			j.t.Fatalf("frame %d: first block of a trace follows a reading", f.Seq)
		}
		w = &whole{start: s, spec: spec}
		j.traces[h.Channel] = w
		j.starts++
	} else if !had {
		j.t.Fatalf("frame %d: %s goes on without a start", f.Seq, h.Channel)
	} else if w.start.Plan != plan || w.start.Basis != f.Basis() || w.start.Basis == trace.Boot && w.start.Boot != f.Clock.BootID {
		j.t.Fatalf("frame %d: %s goes on although what it rests on changed", f.Seq, h.Channel)
	} else if b.Prev == nil || *b.Prev != w.times[len(w.times)-1] {
		j.t.Fatalf("frame %d: block follows %v, not the last reading", f.Seq, b.Prev)
	}
	prev := int64(-1)
	if b.Prev != nil {
		prev = *b.Prev
	}
	leaf, err := w.spec.Leaf(prev, b.Times(), b.Values)
	if err != nil {
		j.t.Fatal(err)
	}
	w.leaves = append(w.leaves, trace.Node{Digest: leaf, Hash: trace.LeafHash(w.start.Hash(), record)})
	w.times, w.values = append(w.times, b.Times()...), append(w.values, b.Values...)
	all, err := w.spec.Leaf(-1, w.times, w.values)
	if err != nil {
		j.t.Fatal(err)
	}
	w.head = trace.Head{Start: w.start.Hash(), Size: uint64(len(w.leaves)), Root: w.root(0, len(w.leaves)), Digest: all}
	if !w.head.Equal(h.Head) {
		j.t.Fatalf("frame %d: head of %s is\n%+v, recomputed\n%+v", f.Seq, h.Channel, h.Head, w.head)
	}
}

// root is RFC 9162's recursion, with digests of the readings themselves.
func (w *whole) root(lo, hi int) statement.Hash {
	if hi-lo == 1 {
		return w.leaves[lo].Hash
	}
	mid := lo + 1<<(bits.Len(uint(hi-lo-1))-1)
	l, r := w.root(lo, mid), w.root(mid, hi)
	b := []byte{1}
	b = append(append(b, dcbor.MustMarshal(w.digest(lo, mid))...), l[:]...)
	b = append(append(b, dcbor.MustMarshal(w.digest(mid, hi))...), r[:]...)
	return sha256.Sum256(b)
}

func (w *whole) digest(lo, hi int) trace.Digest {
	d := w.leaves[lo].Digest
	for _, n := range w.leaves[lo+1 : hi] {
		var err error
		if d, err = trace.Merge(d, n.Digest); err != nil {
			panic(err)
		}
	}
	return d
}

// Whatever comes, every head can be recomputed from the messages alone, and the
// state survives its encoding.
func TestSealRandomHistories(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			s := newSealer(t)
			j := newJudge(t, s)
			st := NewState(3, statement.Hash{})
			c := statement.Clock{BootCount: 1, Boottime: 1e12, Wall: 1_800_000_000_000, Quality: statement.ClockSynchronised}
			channels := []string{"a/temp", "b/temp", "c/rh"}
			last := map[string]int64{}
			entries := map[string]*statement.Channel{}
			for range 60 {
				in := Input{Entries: func(ch string) *statement.Channel { return entries[ch] }}
				step := int64(1000 + rng.IntN(200_000))
				c.Boottime += step * 1e6
				switch rng.IntN(12) {
				case 0: // a reboot without a clock
					c.BootID[0]++
					c.Boottime, c.Quality, c.Wall = 3e11, statement.ClockUnset, 0
					clear(last)
				case 1, 2: // the clock is set
					if c.Quality == statement.ClockUnset {
						clear(last)
						in.Restart = true // this clock may lag behind the last one
					}
					c.Quality, c.Wall = statement.ClockRTC, max(c.Wall, 1_800_000_000_000)
				case 3: // the clock goes back
					if c.Quality != statement.ClockUnset {
						c.Wall -= 50_000_000
						in.Restart = true
						clear(last)
					}
				case 4: // a plan
					ch := channels[rng.IntN(3)]
					entries[ch] = &statement.Channel{Device: j.key.ID(), Name: ch, Unit: "Cel", Nominal: int64(1 + rng.IntN(100_000)),
						Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: int64(rng.IntN(20_000))}}}
					in.Plan = sha256.Sum256([]byte{byte(seed)})
				case 5:
					delete(entries, channels[rng.IntN(3)])
				}
				now := c.Boottime / 1e6
				if c.Quality != statement.ClockUnset {
					c.Wall += step
					now = c.Wall
				}
				in.Clock = c
				for _, i := range rng.Perm(3)[:rng.IntN(4)] {
					r := ChannelReadings{Channel: channels[i]}
					for at := max(last[channels[i]]+1, now-900); at <= now && len(r.Times) < 40; at += int64(1 + rng.IntN(30)) {
						r.Times, r.Values = append(r.Times, at), append(r.Values, int64(rng.IntN(60_000)-20_000))
						r.Raw = append(r.Raw, make([]byte, i)...)
						last[channels[i]] = at
					}
					in.Readings = append(in.Readings, r)
				}
				for range rng.IntN(3) {
					in.Sightings = append(in.Sightings, &statement.Sighting{Antenna: "llrp0/1", EPC: []byte{1, 2, 3, 4}, First: now - 9000, Last: now, Reads: 3})
				}
				if rng.IntN(3) == 0 {
					in.Happenings = append(in.Happenings, &statement.Happening{Type: statement.Boot, At: now})
				}
				before := st
				encoded, err := st.Encode()
				if err != nil {
					t.Fatal(err)
				}
				out, err := s.Seal(st, in)
				if err != nil {
					t.Fatal(err)
				}
				j.frame(out.Up, in.Entries)
				b, err := out.Next.Encode()
				if err != nil {
					t.Fatal(err)
				}
				if st, err = ParseState(b); err != nil {
					t.Fatal(err)
				}
				if b, _ := before.Encode(); !bytes.Equal(b, encoded) {
					t.Fatal("sealing changed the state it was given")
				}
				if again, err := s.Seal(before, in); err != nil || out.Statement.ID() == again.Statement.ID() &&
					len(in.Readings)+len(in.Sightings)+len(in.Happenings) > 0 {
					t.Fatalf("a seed came twice: %v", err)
				}
			}
			if j.next != 60 || j.starts < 4 {
				t.Fatalf("%d frames, %d traces: nothing was tried", j.next, j.starts)
			}
		})
	}
}

// A channel that is silent while the clock steps opens a new trace later.
func TestRestartReachesSilentChannels(t *testing.T) {
	s := newSealer(t)
	j := newJudge(t, s)
	none := func(string) *statement.Channel { return nil }
	st := NewState(3, statement.Hash{})
	for i, in := range []Input{
		{Readings: []ChannelReadings{{Channel: "a", Times: []int64{1000}, Values: []int64{1}}}},
		{Restart: true},
		{Readings: []ChannelReadings{{Channel: "a", Times: []int64{500}, Values: []int64{2}}}}, // before the old trace's last
		{Readings: []ChannelReadings{{Channel: "a", Times: []int64{501}, Values: []int64{2}}}},
	} {
		in.Clock = statement.Clock{Boottime: int64(i+1) * 1e9, Wall: 2000, Quality: statement.ClockRTC}
		out, err := s.Seal(st, in)
		if err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		j.frame(out.Up, none)
		st = out.Next
	}
	if j.starts != 2 {
		t.Fatalf("%d traces, want 2", j.starts)
	}
}

// Aggregates that are full end their trace; nothing wraps and nothing stops.
func TestOverflowOpensTrace(t *testing.T) {
	s := newSealer(t)
	j := newJudge(t, s)
	e := &statement.Channel{Device: j.key.ID(), Name: "p", Unit: "Pa", Nominal: trace.MaxNominal}
	entries := func(string) *statement.Channel { return e }
	st := NewState(3, statement.Hash{})
	at := int64(1)
	for range 60 {
		at += 2 * trace.MaxNominal
		out, err := s.Seal(st, Input{Clock: statement.Clock{Wall: at, Quality: statement.ClockRTC}, Entries: entries,
			Readings: []ChannelReadings{{Channel: "p", Times: []int64{at}, Values: []int64{math.MaxInt32}}}})
		if err != nil {
			t.Fatal(err)
		}
		j.frame(out.Up, entries)
		st = out.Next
	}
	if j.starts < 2 {
		t.Fatal("no aggregate was filled")
	}
}

func TestSealRefuses(t *testing.T) {
	s := newSealer(t)
	clock := statement.Clock{Boottime: 5e9, Wall: 1_800_000_000_000, Quality: statement.ClockRTC}
	now := clock.Wall
	first, err := s.Seal(NewState(0, statement.Hash{}), Input{Clock: clock, Readings: []ChannelReadings{{Channel: "a", Times: []int64{now}, Values: []int64{1}}}})
	if err != nil {
		t.Fatal(err)
	}
	var many []*statement.Happening
	for range 4000 {
		many = append(many, &statement.Happening{Type: statement.Tamper, At: now, Words: strings.Repeat("x", 100)})
	}
	for _, c := range []struct {
		name string
		in   Input
		want string
	}{
		{"a reading not after the last", Input{Clock: clock, Readings: []ChannelReadings{{Channel: "a", Times: []int64{now}, Values: []int64{1}}}}, "increase"},
		{"a reading from the future", Input{Clock: clock, Readings: []ChannelReadings{{Channel: "b", Times: []int64{now + 1}, Values: []int64{1}}}}, "after the frame's clock"},
		{"a channel twice", Input{Clock: clock, Readings: []ChannelReadings{{Channel: "b", Times: []int64{now}, Values: []int64{1}}, {Channel: "b", Times: []int64{now}, Values: []int64{1}}}}, "twice"},
		{"a sighting from the future", Input{Clock: clock, Sightings: []*statement.Sighting{{Antenna: "x", EPC: make([]byte, 12), First: now, Last: now + 1, Reads: 1}}}, "after the frame's clock"},
		{"an EPC of three bytes", Input{Clock: clock, Sightings: []*statement.Sighting{{Antenna: "x", EPC: make([]byte, 3), First: now, Last: now, Reads: 1}}}, "out of bounds"},
		{"a wall time on an unset clock", Input{Clock: statement.Clock{Boottime: 5e9, Wall: now}}, "unset clock"},
		{"over 256 KiB", Input{Clock: clock, Happenings: many}, "over the limit of 262144"},
		{"over 8192 records", Input{Clock: clock, Happenings: slices.Repeat(many[:1], 8193)}, "record count 8193"},
	} {
		if _, err := s.Seal(first.Next, c.in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestStateRefuses(t *testing.T) {
	s := newSealer(t)
	out, err := s.Seal(NewState(1, statement.Hash{}), Input{Clock: statement.Clock{Wall: 9000, Quality: statement.ClockRTC},
		Readings: []ChannelReadings{{Channel: "a", Times: []int64{8000}, Values: []int64{1}}, {Channel: "b", Times: []int64{8000}, Values: []int64{1}}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*State){
		"version":        func(s *State) { s.Version = 1 },
		"receipts ahead": func(s *State) { s.Receipted = s.Next + 1 },
		"order":          func(s *State) { slices.Reverse(s.Channels) },
		"last reading":   func(s *State) { s.Channels[0].Last++ },
		"another start":  func(s *State) { s.Channels[0].Start.Epoch++ },
		"no peaks":       func(s *State) { s.Channels[0].Frontier.Peaks = nil },
		"alarms' order":  func(s *State) { slices.Reverse(s.Alarms) },
		"alarm twice":    func(s *State) { s.Alarms[1] = s.Alarms[0] },
		"alarm of calm":  func(s *State) { s.Alarms[0].Furthest = 7999 },
		"alarm of none":  func(s *State) { s.Alarms[0].Readings = 0 },
		"alarm's limit":  func(s *State) { s.Alarms[0].Limit.Comparison = 3 },
		"alarm's index":  func(s *State) { s.Alarms[1].Index = trace.MaxLimits },
		"alarm of ''":    func(s *State) { s.Alarms[0].Channel = "" },
		"block alone":    func(s *State) { s.Final = Block{ChainID: "c", Height: 1, Hash: statement.Hash{1}} },
	} {
		st := out.Next
		st.Channels = slices.Clone(st.Channels)
		limit := trace.Limit{Comparison: trace.AtOrAbove, Value: 8000}
		st.Alarms = []Alarm{{Channel: "a", Limit: limit, Readings: 1, Furthest: 8000}, {Channel: "a", Index: 1, Limit: limit, Readings: 2, Furthest: 9000}}
		if _, err := st.Encode(); err != nil {
			t.Fatal(err)
		}
		spoil(&st)
		if _, err := ParseState(dcbor.MustMarshal(st)); err == nil {
			t.Errorf("%s: taken", name)
		}
		if _, err := st.Encode(); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
}

// An epoch ends with the frame that hands over, and the next one begins there.
func TestHandOver(t *testing.T) {
	s := newSealer(t)
	in := Input{Clock: statement.Clock{Wall: 9000, Quality: statement.ClockRTC}, Successor: statement.Hash{7},
		Readings: []ChannelReadings{{Channel: "a", Times: []int64{8000}, Values: []int64{1}}}}
	last, err := s.Seal(NewState(0, statement.Hash{}), in)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Seal(last.Next, Input{Clock: in.Clock}); err == nil || !strings.Contains(err.Error(), "handed over") {
		t.Errorf("sealed after the last frame: %v", err)
	}
	record := func(s Sealed) Record {
		data, err := s.Record()
		if err != nil {
			t.Fatal(err)
		}
		r, err := ParseRecord(data)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	st, err := record(last).Opening(statement.Hash{7})
	if err != nil || st.Epoch != 1 || st.Next != 0 || st.Prev != last.Statement.ID() || !st.Successor.IsZero() || len(st.Channels) != 1 {
		t.Errorf("opening %+v, %v", st, err)
	}
	if _, err := record(last).Opening(statement.Hash{8}); err == nil {
		t.Error("opened for another key")
	}
	in.Successor = statement.Hash{}
	open, err := s.Seal(NewState(0, statement.Hash{}), in)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []statement.Hash{{}, {7}} {
		if _, err := record(open).Opening(key); err == nil {
			t.Errorf("opened for key %.8s… what nobody handed over", key)
		}
	}
	mixed := record(last)
	mixed.Up = record(open).Up
	if _, err := mixed.Opening(statement.Hash{7}); err == nil {
		t.Error("opened from a statement that is not the state's")
	}
}

func TestRecordHoldsBoth(t *testing.T) {
	s := newSealer(t)
	out, err := s.Seal(NewState(1, statement.Hash{}), Input{Clock: statement.Clock{Wall: 9000, Quality: statement.ClockRTC}})
	if err != nil {
		t.Fatal(err)
	}
	data, err := out.Record()
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseRecord(data)
	if err != nil || !bytes.Equal(r.Up, out.Up) {
		t.Fatal(err)
	}
	stmt, err := r.Statement()
	if err != nil || stmt.ID() != out.Statement.ID() || stmt.Entry() != out.Statement.Entry() {
		t.Fatalf("statement in the record: %v", err)
	}
	if _, err := ParseRecord(append(data, 0)); err == nil {
		t.Error("trailing byte taken")
	}
	if _, err := ParseRecord(make([]byte, MaxRecord+1)); err == nil || errors.Is(err, dcbor.ErrNotDeterministic) {
		t.Errorf("oversize record: %v", err)
	}
}

func FuzzParseState(f *testing.F) {
	s := newSealer(f)
	out, err := s.Seal(NewState(1, statement.Hash{}), Input{Clock: statement.Clock{Wall: 9000, Quality: statement.ClockRTC},
		Readings: []ChannelReadings{{Channel: "a", Times: []int64{8000}, Values: []int64{1}}}})
	if err != nil {
		f.Fatal(err)
	}
	b, err := out.Next.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	rec, err := out.Record()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(rec)
	f.Fuzz(func(t *testing.T, data []byte) {
		if st, err := ParseState(data); err == nil {
			again, err := st.Encode()
			if err != nil || !bytes.Equal(again, data) {
				t.Fatalf("state is not what it encodes: %v", err)
			}
		}
		if r, err := ParseRecord(data); err == nil {
			_, _ = r.Statement()
		}
	})
}
