package r200

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The protocol's own examples, and one that somebody saw on a module's line.
const (
	exampleNotice = "AA 02 22 00 11 C9 34 00 30 75 1F EB 70 5C 59 04 E3 D5 0D 70 3A 76 EF DD"
	seenNotice    = "AA 02 22 00 11 C7 30 00 E2 80 68 90 00 00 50 0E 88 C6 A4 A7 11 9B 29 DD"
	exampleRead   = "AA 01 39 00 13 0E 34 00 30 75 1F EB 70 5C 59 04 E3 D5 0D 70 12 34 56 78 B0 DD"
	exampleFailed = "AA 01 FF 00 01 15 16 DD"
)

func TestExamples(t *testing.T) {
	epc := unhex(t, "30751FEB705C5904E3D50D70")
	sel, err := EncodeSelect(epc)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		name string
		f    Frame
		want string
	}{
		{"get info", Frame{Command, GetInfo, []byte{InfoHardware}}, "AA 00 03 00 01 00 04 DD"},
		{"poll", Frame{Command, Poll, nil}, "AA 00 22 00 00 22 DD"},
		{"poll many", Frame{Command, PollMany, EncodePollMany(10000)}, "AA 00 27 00 03 22 27 10 83 DD"},
		{"stop", Frame{Command, StopPoll, nil}, "AA 00 28 00 00 28 DD"},
		{"select", Frame{Command, SetSelect, sel}, "AA 00 0C 00 13 01 00 00 00 20 60 00 30 75 1F EB 70 5C 59 04 E3 D5 0D 70 AD DD"},
		{"read", Frame{Command, ReadMemory, MemoryRange{BankTID, 0, 6}.Encode()}, "AA 00 39 00 09 00 00 00 00 02 00 00 00 06 4A DD"},
		{"region", Frame{Command, SetRegion, []byte{byte(China900)}}, "AA 00 07 00 01 01 09 DD"},
		{"power", Frame{Command, SetPower, EncodePower(2000)}, "AA 00 B6 00 02 07 D0 8F DD"},
	} {
		var b bytes.Buffer
		if err := WriteFrame(&b, v.f); err != nil || !bytes.Equal(b.Bytes(), unhex(t, v.want)) {
			t.Errorf("%s: % x, %v; want %s", v.name, b.Bytes(), err, v.want)
		}
	}
	next := func(s string) Frame {
		f, err := NewReader(bytes.NewReader(unhex(t, s))).Next()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := next(exampleNotice)
	tag, err := DecodeTag(f.Params)
	if want := (Tag{0x3400, epc, -55}); err != nil || f.Kind != Notice || f.Code != Poll || !reflect.DeepEqual(tag, want) {
		t.Errorf("notice: %+v, %v; want %+v", tag, err, want)
	}
	if back, err := tag.Encode(); err != nil || !bytes.Equal(back, f.Params) {
		t.Errorf("notice back: % x, %v", back, err)
	}
	if tag, err := DecodeTag(next(seenNotice).Params); err != nil || tag.RSSI != -57 || tag.PC != 0x3000 {
		t.Errorf("notice of a module: %+v, %v", tag, err)
	}
	f = next(exampleRead)
	m, err := DecodeMemory(f.Params, 2)
	if want := (Memory{0x3400, epc, []byte{0x12, 0x34, 0x56, 0x78}}); err != nil || !reflect.DeepEqual(m, want) {
		t.Errorf("read: %+v, %v; want %+v", m, err, want)
	}
	f = next(exampleFailed)
	if c, err := DecodeFailed(f.Params); err != nil || f.Code != Failed || c != NoTag {
		t.Errorf("failed: %v, %v", c, err)
	}
}

// Frames must come out whole whatever is between them and however they arrive.
func TestResynchronises(t *testing.T) {
	good := unhex(t, exampleNotice)
	for _, v := range []struct {
		name, garbage string
	}{
		{"nothing", ""},
		{"noise", "00 ff 13 37 dd"},
		{"lone head", "aa"},
		{"head and a kind", "aa 02"},
		{"unknown kind", "aa 03 22 00 00 25 dd"},
		{"length beyond any frame", "aa 02 22 ff ff"},
		{"half a frame", "aa 02 22 00 11 c9 34 00 30 75"},
		{"head in a broken frame", "aa 02 22 00 11 aa aa aa aa"},
		{"wrong checksum", "aa 01 ff 00 01 15 17 dd"},
		{"wrong end", "aa 01 ff 00 01 15 16 dc"},
		{"longest frame that is none", "aa 01 ff 00 80 " + strings.Repeat("00", MaxParams) + "00 dd"},
	} {
		t.Run(v.name, func(t *testing.T) {
			garbage := unhex(t, v.garbage)
			stream := append(append(bytes.Clone(garbage), good...), good...)
			// What begins a frame of up to MaxParams bytes must have them before it is refused.
			stream = append(stream, make([]byte, MaxParams)...)
			for _, r := range []io.Reader{bytes.NewReader(stream), iotest.OneByteReader(bytes.NewReader(stream)), iotest.DataErrReader(bytes.NewReader(stream))} {
				in := NewReader(r)
				for range 2 {
					f, err := in.Next()
					if err != nil {
						t.Fatal(err)
					}
					if tag, err := DecodeTag(f.Params); err != nil || tag.RSSI != -55 {
						t.Fatalf("%+v, %v", tag, err)
					}
				}
				if in.Skipped() != len(garbage) {
					t.Errorf("skipped %d, want %d", in.Skipped(), len(garbage))
				}
				if f, err := in.Next(); err != io.EOF {
					t.Errorf("at the end: %+v, %v", f, err)
				}
			}
		})
	}
}

type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

func TestReaderGivesUpOnAPortThatReturnsNothing(t *testing.T) {
	if _, err := NewReader(silent{}).Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("got %v", err)
	}
}

func TestRefused(t *testing.T) {
	notice := unhex(t, exampleNotice)[5:22]
	flip := func(at int, mask byte) []byte { b := bytes.Clone(notice); b[at] ^= mask; return b }
	for _, v := range []struct {
		name   string
		params []byte
	}{
		{"empty", nil}, {"rssi only", notice[:1]}, {"no epc but a pc that says so", notice[:5]},
		{"bit of the epc", flip(7, 1)}, {"bit of the crc", flip(16, 0x80)}, {"bit of the pc beside the length", flip(2, 1)},
		{"pc says a word more", flip(1, 0x08)}, {"cut by a word", append(bytes.Clone(notice[:13]), notice[15:]...)},
	} {
		if tag, err := DecodeTag(v.params); err == nil {
			t.Errorf("notice, %s: %+v", v.name, tag)
		}
	}
	// The RSSI is not of the air and has no CRC; the checksum of the frame covers it.
	if tag, err := DecodeTag(flip(0, 0x80)); err != nil || tag.RSSI != 73 {
		t.Errorf("rssi: %+v, %v", tag, err)
	}
	memory := unhex(t, exampleRead)[5:24]
	for _, v := range []struct {
		name   string
		params []byte
		words  int
	}{
		{"empty", nil, 2}, {"more than asked", memory, 1}, {"less than asked", memory, 6}, {"no pc", append([]byte{1}, memory[1:]...), 2},
		{"other length than the pc's", append([]byte{0x0c}, memory[1:]...), 3},
	} {
		if m, err := DecodeMemory(v.params, v.words); err == nil {
			t.Errorf("memory, %s: %+v", v.name, m)
		}
	}
	for name, err := range map[string]error{
		"failure":          second(DecodeFailed(nil)),
		"region name":      second(ParseRegion("mars")),
		"region 0":         second(DecodeRegion([]byte{0})),
		"region 5":         second(DecodeRegion([]byte{5})),
		"region of two":    second(DecodeRegion([]byte{1, 1})),
		"power of one":     second(DecodePower([]byte{1})),
		"done not":         DecodeDone([]byte{1}),
		"done of nothing":  DecodeDone(nil),
		"other info":       second(DecodeInfo([]byte{1, 'x'}, InfoHardware)),
		"no info":          second(DecodeInfo(nil, InfoHardware)),
		"select mode 3":    second(DecodeSelectMode([]byte{3})),
		"select elsewhere": second(DecodeSelect(unhex(t, "03 00000020 08 00 30"))),
		"select of 0 bits": second(DecodeSelect(unhex(t, "01 00000020 00 00"))),
		"select too long":  second(EncodeSelect(make([]byte, 32))),
		"range":            second(DecodeMemoryRange(unhex(t, "00000000 04 0000 0006"))),
		"poll many":        second(DecodePollMany(unhex(t, "21 0001"))),
		"epc too long":     second(Tag{EPC: make([]byte, maxEPC+2)}.Encode()),
		"odd epc":          second(Tag{EPC: make([]byte, 11)}.Encode()),
		"rssi":             second(Tag{RSSI: 128}.Encode()),
		"frame":            WriteFrame(io.Discard, Frame{Params: make([]byte, MaxParams+1)}),
	} {
		if err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}

func TestRegionNames(t *testing.T) {
	for r := range Region(8) {
		back, err := ParseRegion(r.String())
		if r.Valid() != (err == nil) || err == nil && back != r {
			t.Errorf("%d: %v, %v", r, back, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// FuzzReader holds that a frame returned stands in the input as it would be
// written, and that every byte is either in a frame, skipped or still waited for.
func FuzzReader(f *testing.F) {
	f.Add(unhex(f, exampleNotice+seenNotice))
	f.Add(unhex(f, "AA 02 22 00 11 AA"+exampleFailed+exampleRead))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		rest, framed := b, 0
		for {
			frame, err := r.Next()
			if err != nil {
				if left := r.to - r.from; framed+r.Skipped()+left != len(b) {
					t.Fatalf("%d framed, %d skipped, %d left of %d", framed, r.Skipped(), left, len(b))
				}
				return
			}
			var out bytes.Buffer
			if err := WriteFrame(&out, frame); err != nil {
				t.Fatal(err)
			}
			at := bytes.Index(rest, out.Bytes())
			if at < 0 {
				t.Fatalf("% x is not in % x", out.Bytes(), rest)
			}
			rest, framed = rest[at+out.Len():], framed+out.Len()
		}
	})
}

// FuzzParams gives every decoder the same bytes: none may panic, and what one
// accepts must survive its own encoder.
func FuzzParams(f *testing.F) {
	f.Add(unhex(f, exampleNotice)[5:22])
	f.Add(unhex(f, exampleRead)[5:24])
	f.Add(unhex(f, "01 00000020 08 00 30"))
	f.Add(unhex(f, "00000000 02 0000 0006"))
	f.Fuzz(func(t *testing.T, b []byte) {
		same := func(what string, out []byte, err error) {
			if err != nil || !bytes.Equal(out, b) {
				t.Fatalf("%s: % x came back as % x, %v", what, b, out, err)
			}
		}
		if tag, err := DecodeTag(b); err == nil {
			out, err := tag.Encode()
			same("tag", out, err)
		}
		if m, err := DecodeMemory(b, 2); err == nil {
			out, err := m.Encode()
			same("memory", out, err)
		}
		if r, err := DecodeMemoryRange(b); err == nil && bytes.Equal(b[:4], make([]byte, 4)) {
			same("range", r.Encode(), nil)
		}
		if epc, err := DecodeSelect(b); err == nil {
			out, err := EncodeSelect(epc)
			same("select", out, err)
		}
		if n, err := DecodePollMany(b); err == nil {
			same("poll many", EncodePollMany(n), nil)
		}
		if p, err := DecodePower(b); err == nil {
			same("power", EncodePower(p), nil)
		}
	})
}
