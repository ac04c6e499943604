package picc

import (
	"bytes"
	"testing"
	"time"
)

// ask gives the field a frame and listens to the end.
func ask(f *Field, frame Frame) Frame {
	f.Send(frame, time.Unix(1, 0))
	var heard Frame
	for i := 0; ; i++ {
		c := f.Cell(i)
		if c == None {
			break
		}
		heard = append(heard, c)
	}
	if len(heard) > 0 {
		heard = heard[1:] // the start bit
	}
	return heard
}

func on(tags ...*Tag) *Field {
	f := NewField(Options{})
	f.Power(true, time.Unix(0, 0))
	f.Put(tags...)
	return f
}

func same(a, b Frame) bool { return bytes.Equal(raw(a), raw(b)) }

func raw(f Frame) (b []byte) {
	for _, c := range f {
		b = append(b, byte(c))
	}
	return b
}

// wake brings a tag to ACTIVE.
func wake(t *testing.T, f *Field, tag *Tag, call byte) {
	t.Helper()
	ask(f, Short(call))
	for i := range tag.levels() {
		sel := sel1 + byte(2*i)
		if got := ask(f, Standard(sel, 0x20)); !same(got, Standard(tag.cl(i)...)) {
			t.Fatalf("level %d: anticollision says %v", i+1, got)
		}
		want := byte(0x04)
		if i == tag.levels()-1 {
			want = tag.sak
		}
		if got := ask(f, withCRC(append([]byte{sel, 0x70}, tag.cl(i)...)...)); !same(got, withCRC(want)) {
			t.Fatalf("level %d: select says %v", i+1, got)
		}
	}
}

// The examples of ISO/IEC 14443-3 annex B.
func TestCRC(t *testing.T) {
	for data, want := range map[string]uint16{"\x00\x00": 0x1ea0, "\x12\x34": 0xcf26} {
		if got := CRC(PresetA, []byte(data)); got != want {
			t.Errorf("% x: got %04x, want %04x", data, got, want)
		}
	}
}

func TestFrames(t *testing.T) {
	data := []byte{0x93, 0x25, 0x88, 0x0f}
	if f := Short(0x26); len(f) != 7 || !same(f, Frame{Zero, One, One, Zero, Zero, One, Zero}) {
		t.Errorf("REQA is %v", f)
	}
	for n := range 8*len(data) + 1 {
		first, second := Partial(data, n), Rest(data, n)
		if !same(append(first[:len(first):len(first)], second...), Standard(data...)) {
			t.Errorf("split after %d bits: %v and %v", n, first, second)
		}
		got, bits, ok := first.Bytes()
		want := append(bytes.Clone(data[:n/8]), 0)[:(n+7)/8]
		if n%8 != 0 {
			want[n/8] = data[n/8] & (1<<(n%8) - 1)
		}
		if !ok || bits != n || !bytes.Equal(got, want) {
			t.Errorf("%d bits come back as % x, %d, %v", n, got, bits, ok)
		}
	}
	bad := Standard(data...)
	bad[8] ^= Both
	if _, _, ok := bad.Bytes(); ok {
		t.Error("wrong parity passes")
	}
	if _, _, ok := (Frame{One, Both}).Bytes(); ok {
		t.Error("a collision passes")
	}
}

// TestStates walks ISO/IEC 14443-3 figure 7.
func TestStates(t *testing.T) {
	hlt := withCRC(hlta, 0x00)
	other := Standard(0x93, 0x28, 0xff) // anticollision for somebody else
	for _, c := range []struct {
		name string
		from State
		send Frame
		to   State
	}{
		{"IDLE REQA", Idle, Short(reqa), Ready},
		{"IDLE WUPA", Idle, Short(wupa), Ready},
		{"IDLE anticollision", Idle, Standard(0x93, 0x20), Idle},
		{"READY anticollision", Ready, Standard(0x93, 0x20), Ready},
		{"READY anticollision of another", Ready, other, Idle},
		{"READY anticollision of another level", Ready, Standard(0x95, 0x20), Idle},
		{"READY select of another", Ready, withCRC(0x93, 0x70, 9, 9, 9, 9, 0), Idle},
		{"READY select with a wrong crc", Ready, Standard(0x93, 0x70, 1, 2, 3, 4, 4, 0, 0), Idle},
		{"READY REQA", Ready, Short(reqa), Idle},
		{"READY HLTA", Ready, hlt, Idle},
		{"ACTIVE HLTA", Active, hlt, Halt},
		{"ACTIVE REQA", Active, Short(reqa), Idle},
		{"ACTIVE WUPA", Active, Short(wupa), Idle},
		{"ACTIVE unknown command", Active, withCRC(0xee), Idle},
		{"HALT REQA", Halt, Short(reqa), Halt},
		{"HALT WUPA", Halt, Short(wupa), ReadyStar},
		{"READY* anticollision of another", ReadyStar, other, Halt},
		{"ACTIVE* HLTA", ActiveStar, hlt, Halt},
		{"ACTIVE* REQA", ActiveStar, Short(reqa), Halt},
	} {
		tag := Classic1K([4]byte{1, 2, 3, 4})
		f := on(tag)
		switch c.from {
		case Ready:
			ask(f, Short(reqa))
		case Active:
			wake(t, f, tag, reqa)
		case Halt, ReadyStar, ActiveStar:
			wake(t, f, tag, reqa)
			ask(f, hlt)
			if c.from == ReadyStar {
				ask(f, Short(wupa))
			} else if c.from == ActiveStar {
				wake(t, f, tag, wupa)
			}
		}
		if tag.State() != c.from {
			t.Fatalf("%s: starts in %v", c.name, tag.State())
		}
		if ask(f, c.send); tag.State() != c.to {
			t.Errorf("%s: goes to %v, want %v", c.name, tag.State(), c.to)
		}
		f.Power(false, time.Unix(2, 0))
		if tag.State() != Off {
			t.Errorf("%s: %v without a field", c.name, tag.State())
		}
	}
}

func TestEveryUIDLength(t *testing.T) {
	for _, tag := range []*Tag{Classic1K([4]byte{1, 2, 3, 4}), NTAG213([7]byte{4, 1, 2, 3, 4, 5, 6}), Triple([10]byte{4, 1, 2, 3, 4, 5, 6, 7, 8, 9})} {
		f := on(tag)
		if got := ask(f, Short(reqa)); !same(got, Standard(tag.atqa[:]...)) || tag.atqa[0]>>6 != byte(tag.levels()-1) {
			t.Errorf("% x: ATQA %v of % x", tag.UID(), got, tag.atqa)
		}
		f.Power(false, time.Unix(0, 0))
		f.Power(true, time.Unix(0, 0))
		wake(t, f, tag, reqa)
		if tag.State() != Active {
			t.Errorf("% x: %v", tag.UID(), tag.State())
		}
	}
}

func TestCollision(t *testing.T) {
	a, b := Classic1K([4]byte{0x0f, 2, 3, 4}), Classic1K([4]byte{0x07, 2, 3, 4})
	f := on(a, b)
	ask(f, Short(reqa))
	want := Standard(0x0f, 2, 3, 4, 0x0f^2^3^4)
	want[3] = Both     // the bit that differs
	want[8] = Both     // and the parity of its byte
	want[4*9+3] = Both // and the BCC, with its own
	want[4*9+8] = Both
	if got := ask(f, Standard(0x93, 0x20)); !same(got, want) {
		t.Errorf("both say %v, want %v", got, want)
	}
	if got := ask(f, Partial([]byte{0x93, 0x24, 0x0f}, 20)); !same(got, Rest(a.cl(0), 4)) || a.State() != Ready || b.State() != Idle {
		t.Errorf("after four bits: %v, %v and %v", got, a.State(), b.State())
	}
}

func TestNTAGMemory(t *testing.T) {
	tag := NTAG215([7]byte{4, 1, 2, 3, 4, 5, 6})
	f := on(tag)
	wake(t, f, tag, reqa)
	tag.Write(134, []byte{0xaa, 0xbb, 0xcc, 0xdd})
	first := []byte{4, 1, 2, 0x88 ^ 4 ^ 1 ^ 2, 3, 4, 5, 6, 3 ^ 4 ^ 5 ^ 6, 0x48, 0, 0}
	for _, c := range []struct {
		send, want Frame
	}{
		{withCRC(read, 0), withCRC(append(bytes.Clone(first), 0xe1, 0x10, 0x3e, 0x00)...)},
		{withCRC(read, 134), withCRC(append([]byte{0xaa, 0xbb, 0xcc, 0xdd}, first...)...)}, // rolls over
		{withCRC(getVersion), withCRC(0x00, 0x04, 0x04, 0x02, 0x01, 0x00, 0x11, 0x03)},
		{withCRC(read, 135), nak(0x0)},
	} {
		if got := ask(f, c.send); !same(got, c.want) {
			t.Errorf("%v: got %v, want %v", c.send, got, c.want)
		}
	}
	if tag.State() != Idle {
		t.Errorf("after an address beyond its end: %v", tag.State())
	}
	wake(t, f, tag, reqa)
	if got := ask(f, Standard(read, 0, 0, 0)); !same(got, nak(0x1)) || tag.State() != Idle {
		t.Errorf("wrong crc: %v, %v", got, tag.State())
	}
}

func TestClassicMemoryIsLocked(t *testing.T) {
	tag := Classic1K([4]byte{1, 2, 3, 4})
	f := on(tag)
	wake(t, f, tag, reqa)
	if got := ask(f, withCRC(authA, 4)); len(got) != 36 || tag.State() != Active {
		t.Errorf("challenge %v, %v", got, tag.State())
	}
	if got := ask(f, withCRC(read, 4)); !same(got, nak(0x4)) || tag.State() != Idle {
		t.Errorf("read: %v, %v", got, tag.State())
	}
}

func TestFieldTimes(t *testing.T) {
	at := func(d time.Duration) time.Time { return time.Unix(0, 0).Add(d) }
	tag := Classic1K([4]byte{1, 2, 3, 4})
	f := NewField(Options{Hold: 5 * time.Millisecond, Settle: 4 * time.Millisecond})
	f.Put(tag)
	for _, step := range []struct {
		do   func()
		want State
	}{
		{func() { f.Power(true, at(0)) }, Idle},
		{func() { f.Send(Short(reqa), at(3*time.Millisecond)) }, Idle}, // still deaf
		{func() { f.Send(Short(reqa), at(4*time.Millisecond)) }, Ready},
		{func() { f.Power(false, at(10*time.Millisecond)) }, Ready},
		{func() { f.Power(true, at(14*time.Millisecond)) }, Ready}, // it lived on
		{func() { f.Power(false, at(20*time.Millisecond)) }, Ready},
		{func() { f.Power(true, at(25*time.Millisecond)) }, Idle},
		{func() { f.Take(tag) }, Off},
		{func() { f.Send(Short(reqa), at(time.Second)) }, Off},
	} {
		if step.do(); tag.State() != step.want {
			t.Errorf("%v, want %v", tag.State(), step.want)
		}
	}
}

func TestTakeAfterAndDisturb(t *testing.T) {
	tag := Classic1K([4]byte{1, 2, 3, 4})
	f := on(tag)
	f.TakeAfter(tag, 6)
	if got := ask(f, Short(reqa)); !same(got, Standard(0x04, 0x00)[:5]) || tag.State() != Off {
		t.Errorf("it said %v and is in %v", got, tag.State())
	}
	f.Put(tag)
	f.Disturb(func(sent Frame, bit int, c Cell) Cell {
		if same(sent, Short(reqa)) && bit == 1 {
			return c ^ Both
		}
		return c
	})
	want := Standard(0x04, 0x00)
	want[0] = One
	if got := ask(f, Short(reqa)); !same(got, want) {
		t.Errorf("disturbed: %v, want %v", got, want)
	}
}

// FuzzTag sends frames of any kind: a tag answers with whole cells and stays in
// a state that exists.
func FuzzTag(f *testing.F) {
	f.Add([]byte{0x07, 0x26, 0x10, 0x93, 0x20})
	f.Add([]byte{0x07, 0x52, 0x14, 0x93, 0x24, 0x08, 0x48, 0x93, 0x70, 0x88, 4, 1, 2, 0x8f, 0, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		tags := []*Tag{Classic1K([4]byte{1, 2, 3, 4}), NTAG213([7]byte{4, 1, 2, 3, 4, 5, 6}), Triple([10]byte{4, 1, 2, 3, 4, 5, 6, 7, 8, 9})}
		field := on(tags...)
		for len(script) > 0 {
			n := int(script[0])
			bytes := (n + 7) / 8
			if script = script[1:]; len(script) < bytes {
				break
			}
			for _, c := range ask(field, Partial(script[:bytes], n)) {
				if c > Both {
					t.Fatalf("cell %d", c)
				}
			}
			script = script[bytes:]
		}
		for _, tag := range tags {
			_ = tag.State().String()
		}
	})
}
