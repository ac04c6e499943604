package r200

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"trailmark/agent/internal/rfid"
	"trailmark/firmware-sim/chip"
	"trailmark/firmware-sim/chip/gen2"
	model "trailmark/firmware-sim/chip/r200"
	wire "trailmark/internal/r200"
)

func epc(last byte) []byte { return append(bytes.Repeat([]byte{0x30}, 11), last) }

func tidOf(last byte) []byte {
	return append([]byte{0xe2, 0x80, 0x11, 0x60, 0x20}, bytes.Repeat([]byte{last}, 7)...)
}

func tags(at time.Time) []gen2.Tag {
	return []gen2.Tag{{EPC: epc(1), TID: tidOf(1), RSSI: -55}, {EPC: epc(2), TID: tidOf(2), RSSI: -61}, {EPC: epc(3)[:8], TID: tidOf(3), RSSI: -48}}
}

// A stand is a reader under test and what it said.
type stand struct {
	*testing.T
	module *model.Module
	reads  chan rfid.Read
	status chan string
	stop   context.CancelFunc
	done   chan error
}

func newStand(t *testing.T, o Options, c model.Config) *stand {
	t.Helper()
	if c.Field == nil {
		c.Field = tags
	}
	m := model.New(c)
	if o.Open == nil {
		o.Open = func() (io.ReadWriteCloser, error) {
			ours, theirs := net.Pipe()
			go m.Serve(theirs)
			return ours, nil
		}
	}
	return run(t, m, o)
}

func run(t *testing.T, m *model.Module, o Options) *stand {
	t.Helper()
	if o.Port == "" {
		o.Port = "/dev/ttyUSB0"
	}
	ctx, stop := context.WithCancel(t.Context())
	s := &stand{T: t, module: m, reads: make(chan rfid.Read, 1<<16), status: make(chan string, 64), stop: stop, done: make(chan error, 1)}
	o.Status = func(up bool, why string) {
		if up {
			s.status <- "up: " + why
		} else {
			s.status <- "down: " + why
		}
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	go func() { s.done <- r.Run(ctx, func(read rfid.Read) { s.reads <- read }) }()
	return s
}

func (s *stand) end() {
	s.Helper()
	s.stop()
	began := time.Now()
	if err := <-s.done; err != nil {
		s.Errorf("run: %v", err)
	}
	if d := time.Since(began); d > time.Second {
		s.Errorf("took %v to end", d)
	}
	for len(s.status) > 0 {
		s.Errorf("status nobody expected: %s", <-s.status)
	}
	for len(s.reads) > 0 {
		s.check(<-s.reads)
	}
}

// check holds every read against the tags there are.
func (s *stand) check(r rfid.Read) rfid.Read {
	s.Helper()
	for _, t := range tags(time.Time{}) {
		if bytes.Equal(t.EPC, r.EPC) && r.RSSI == t.RSSI && (r.TID == nil || bytes.Equal(r.TID, t.TID)) &&
			r.Antenna == 1 && r.Count >= 1 && !r.First.After(r.Last) && !r.Last.IsZero() {
			return r
		}
	}
	s.Errorf("a read of no tag: %+v", r)
	return r
}

func (s *stand) want(prefix, contains string) {
	s.Helper()
	select {
	case got := <-s.status:
		if !strings.HasPrefix(got, prefix) || !strings.Contains(got, contains) {
			s.Fatalf("status %q, want %s with %q", got, prefix, contains)
		}
	case <-time.After(time.Minute):
		s.Fatalf("no status, want %s with %q", prefix, contains)
	}
}

// all waits until every tag was read with its TID.
func (s *stand) all() {
	s.Helper()
	seen := map[string]bool{}
	for late := time.After(time.Minute); len(seen) < 3; {
		select {
		case r := <-s.reads:
			if s.check(r); r.TID != nil {
				seen[string(r.EPC)] = true
			}
		case <-late:
			s.Fatalf("%d tags with a tid after a minute", len(seen))
		}
	}
}

func TestReadsTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		station := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
		s := newStand(t, Options{Power: 26, Now: func() time.Time { return station }}, model.Config{Seed: 1})
		s.want("up", `r200 hardware "M100 26dBm V1.0" software "V2.3.5" in china-900 at 26.00 dBm`)
		s.all()
		if region, power := s.module.Settings(); region != wire.China900 || power != 2600 {
			t.Errorf("settings %v, %d", region, power)
		}
		time.Sleep(10 * time.Second)
		n := len(s.reads)
		for range n {
			if r := s.check(<-s.reads); r.TID == nil || !r.Last.Equal(station) {
				t.Fatalf("later read %+v", r)
			}
		}
		if n < 1000 { // 50 rounds a second, of three tags
			t.Errorf("%d reads in 10 s", n)
		}
		time.Sleep(5 * time.Minute) // some renewals
		s.end()
	})
}

func TestKeepsThePowerOfTheModule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, Options{Region: wire.Korea}, model.Config{})
		s.want("up", "in korea at 20.00 dBm")
		s.all()
		s.end()
	})
}

func TestModuleFaults(t *testing.T) {
	inject := func(f chip.Fault) func(*stand) {
		return func(s *stand) {
			if err := s.module.Inject(f); err != nil {
				s.Fatal(err)
			}
		}
	}
	for _, v := range []struct {
		name       string
		fail, mend func(*stand)
		why        string
	}{
		{"unplugged", inject(chip.Fault{Kind: chip.Gone}), inject(chip.Fault{}), "port closed"},
		{"brown-out", inject(chip.Fault{Kind: chip.BrownOut}), func(*stand) {}, "ended no round in 2s"},
		{"no free channel", func(s *stand) { s.module.Jam(true) }, func(s *stand) { s.module.Jam(false) }, "ended no round in 2s"},
		{"hangs", func(s *stand) { s.module.Mute(true) }, func(s *stand) { time.Sleep(10 * time.Minute); s.module.Mute(false) }, "ended no round in 2s"},
	} {
		t.Run(v.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, Options{Power: 26}, model.Config{})
				s.want("up", "")
				s.all()
				time.Sleep(time.Second) // polling again
				v.fail(s)
				s.want("down", v.why)
				v.mend(s)
				s.want("up", "china-900 at 26.00 dBm")
				if region, power := s.module.Settings(); region != wire.China900 || power != 2600 {
					t.Errorf("settings %v, %d", region, power)
				}
				s.all()
				s.end()
			})
		})
	}
}

// A tapped port calls tap with the code of each command once it is sent.
type tapped struct {
	net.Conn
	tap func(wire.Code)
}

func (p tapped) Write(b []byte) (int, error) {
	n, err := p.Conn.Write(b)
	p.tap(wire.Code(b[2]))
	return n, err
}

// A module that lost its settings between two runs must not be told to poll.
func TestBrownOutWhileIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := model.New(model.Config{Field: tags})
		stops := 0
		s := run(t, m, Options{Power: 26, Open: func() (io.ReadWriteCloser, error) {
			ours, theirs := net.Pipe()
			go m.Serve(theirs)
			return tapped{ours, func(c wire.Code) {
				switch region, _ := m.Settings(); {
				case c == wire.PollMany && region != wire.China900:
					t.Errorf("told to poll in %v", region)
				case c == wire.StopPoll:
					if stops++; stops == 2 {
						if err := m.Inject(chip.Fault{Kind: chip.BrownOut}); err != nil {
							t.Error(err)
						}
					}
				}
			}}, nil
		}})
		s.want("up", "")
		s.want("down", "set to us, not china-900: it lost its settings")
		s.want("up", "china-900")
		s.end()
	})
}

// Noise on the line and in the air costs frames, never a wrong read, and not
// the session.
func TestNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, Options{}, model.Config{Seed: 3})
		s.want("up", "")
		s.all()
		time.Sleep(time.Second)
		for i := range 200 {
			switch i % 4 {
			case 0:
				if err := s.module.Inject(chip.Fault{Kind: chip.Corrupt, Count: 3}); err != nil {
					t.Fatal(err)
				}
			case 1:
				s.module.BreakTags(5)
			case 2:
				if err := s.module.Garbage([]byte{0xaa, 2, 0x22, 0, 17, 0xaa, 0xdd, byte(i)}); err != nil {
					t.Fatal(err)
				}
			case 3:
				if err := s.module.Garbage(bytes.Repeat([]byte{byte(i)}, 300)); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
		s.all()
		s.end()
	})
}

// A tag that keeps no serial number is read all the same, and not asked for it
// all the time.
func TestTagWithoutTID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, Options{}, model.Config{Field: func(time.Time) []gen2.Tag {
			return []gen2.Tag{{EPC: epc(1), TID: tidOf(1)[:8], RSSI: -55}}
		}})
		s.want("up", "")
		time.Sleep(30 * time.Second)
		n := len(s.reads)
		if n < 1000 {
			t.Errorf("%d reads in 30 s", n)
		}
		for range n {
			if r := s.check(<-s.reads); r.TID != nil {
				t.Fatalf("tid %x of nothing", r.TID)
			}
		}
		s.end()
	})
}

// play is a module that answers each command by its entry, as hex of a whole
// frame or of several; "" says nothing.
func play(t *testing.T, answers map[wire.Code]string) func() (io.ReadWriteCloser, error) {
	return func() (io.ReadWriteCloser, error) {
		ours, theirs := net.Pipe()
		go func() {
			for in := wire.NewReader(theirs); ; {
				f, err := in.Next()
				if err != nil {
					return
				}
				b, err := hex.DecodeString(strings.ReplaceAll(answers[f.Code], " ", ""))
				if err != nil {
					t.Error(err)
				}
				if f.Code == wire.GetInfo && f.Params[0] == wire.InfoSoftware {
					b, _ = hex.DecodeString("aa01030002015660" + "dd")
					b[7] = 0x01 + 0x03 + 0x02 + 0x01 + 0x56
				}
				if _, err := theirs.Write(b); err != nil {
					return
				}
			}
		}()
		return ours, nil
	}
}

// healthy answers as a module at 20 dBm in China that sees one tag without a TID.
func healthy() map[wire.Code]string {
	return map[wire.Code]string{
		wire.StopPoll:      "AA 01 28 00 01 00 2A DD",
		wire.GetInfo:       "AA 01 03 00 02 00 4D 53 DD",
		wire.SetRegion:     "AA 01 07 00 01 00 09 DD",
		wire.SetSelectMode: "AA 01 12 00 01 00 14 DD",
		wire.SetSelect:     "AA 01 0C 00 01 00 0E DD",
		wire.GetRegion:     "AA 01 08 00 01 01 0B DD",
		wire.SetPower:      "AA 01 B6 00 01 00 B8 DD",
		wire.GetPower:      "AA 01 B7 00 02 07 D0 91 DD",
		wire.PollMany:      "AA 02 22 00 11 C9 34 00 30 75 1F EB 70 5C 59 04 E3 D5 0D 70 3A 76 EF DD",
		wire.ReadMemory:    "AA 01 FF 00 01 A3 A4 DD",
	}
}

// What a module may send and what has to follow.
func TestBadWireData(t *testing.T) {
	const tid = "E2 80 11 60 20 00 01 02 03 04 05 06"
	for _, v := range []struct {
		name    string
		code    wire.Code
		answer  string
		status  string // "": up
		reads   int
		wantTID bool
	}{
		{"nothing is wrong", wire.Poll, "", "", 1, false},
		{"no answer at all", wire.StopPoll, "", "no answer to stop poll, asked 3 times", 0, false},
		{"answer with a wrong checksum", wire.StopPoll, "AA 01 28 00 01 00 2B DD", "no answer to stop poll", 0, false},
		{"answer with a wrong end", wire.StopPoll, "AA 01 28 00 01 00 2A DC", "no answer to stop poll", 0, false},
		{"answer to something else", wire.StopPoll, "AA 01 07 00 01 00 09 DD", "no answer to stop poll", 0, false},
		{"somebody else's protocol", wire.StopPoll, "BB 01 28 00 01 00 2A 7E", "no answer to stop poll", 0, false},
		{"stop refused", wire.StopPoll, "AA 01 FF 00 01 17 18 DD", "command not understood", 0, false},
		{"stop not done", wire.StopPoll, "AA 01 28 00 01 01 2B DD", "answer 01, want 00", 0, false},
		{"failure without a code", wire.StopPoll, "AA 01 FF 00 00 00 DD", "no answer to stop poll", 0, false},
		{"info about something else", wire.GetInfo, "AA 01 03 00 02 02 4D 55 DD", "is not about 0", 0, false},
		{"region refused", wire.SetRegion, "AA 01 FF 00 01 17 18 DD", "set region: r200: command not understood", 0, false},
		{"region not taken", wire.GetRegion, "AA 01 08 00 01 02 0C DD", "set to us, not china-900", 0, false},
		{"region unknown", wire.GetRegion, "AA 01 08 00 01 05 0F DD", "region 05", 0, false},
		{"power not taken", wire.GetPower, "AA 01 B7 00 02 0A 28 EC DD", "sends at 26.00 dBm, not 20.00", 0, false},
		{"power of three bytes", wire.GetPower, "AA 01 B7 00 03 00 07 D0 92 DD", "power of 3 bytes", 0, false},
		{"polling refused", wire.PollMany, "AA 01 FF 00 01 17 18 DD", "polling: r200: command not understood", 0, false},
		{"epc with a flipped bit", wire.PollMany, "AA 02 22 00 11 C9 34 00 31 75 1F EB 70 5C 59 04 E3 D5 0D 70 3A 76 F0 DD", "ended no round", 0, false},
		{"epc shorter than its pc", wire.PollMany, "AA 02 22 00 0F C9 34 00 30 75 1F EB 70 5C 59 04 E3 D5 3A 76 70 DD", "ended no round", 0, false},
		{"empty notice", wire.PollMany, "AA 02 22 00 00 24 DD", "ended no round", 0, false},
		{"tag without an epc", wire.PollMany, "AA 02 22 00 05 C9 00 00 E2 F0 C4 DD", "ended no round", 0, false},
		{"tid of the tag", wire.ReadMemory, "AA 01 39 00 1B 0E 34 00 30 75 1F EB 70 5C 59 04 E3 D5 0D 70" + tid + "A1 DD", "", 1, true},
		{"tid of another tag", wire.ReadMemory, "AA 01 39 00 1B 0E 34 00 31 75 1F EB 70 5C 59 04 E3 D5 0D 70" + tid + "A2 DD", "", 1, false},
		{"tid of zeros", wire.ReadMemory, "AA 01 39 00 1B 0E 34 00 30 75 1F EB 70 5C 59 04 E3 D5 0D 70" + strings.Repeat("00", 12) + "B9 DD", "", 1, false},
		{"tid cut short", wire.ReadMemory, "AA 01 39 00 13 0E 34 00 30 75 1F EB 70 5C 59 04 E3 D5 0D 70 E2 80 11 60 6F DD", "", 1, false},
	} {
		t.Run(v.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answers := healthy()
				if _, ok := answers[v.code]; ok {
					answers[v.code] = fixSum(t, v.answer, v.name)
				}
				s := run(t, nil, Options{Power: 20, Open: play(t, answers)})
				if v.status == "" || strings.Contains(v.status, "ended no round") || strings.Contains(v.status, "polling") {
					s.want("up", `hardware "M" software "V"`)
				}
				if v.status != "" {
					s.want("down", v.status)
				}
				if v.reads > 0 {
					r := <-s.reads
					if r.RSSI != -55 || (r.TID != nil) != v.wantTID || hex.EncodeToString(r.EPC) != "30751feb705c5904e3d50d70" {
						t.Errorf("read %+v", r)
					}
				} else if len(s.reads) > 0 {
					t.Errorf("read of nothing: %+v", <-s.reads)
				}
				s.stop()
				<-s.done
			})
		})
	}
}

// fixSum corrects the frame's checksum where the case is not about it, so that a
// case refused for its parameters is not refused for its checksum.
func fixSum(t *testing.T, s, name string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	if len(b) < 7 || strings.Contains(name, "checksum") || b[0] != 0xaa {
		return s
	}
	var sum byte
	for _, v := range b[1 : len(b)-2] {
		sum += v
	}
	b[len(b)-2] = sum
	return hex.EncodeToString(b)
}

func TestEndsAnywhere(t *testing.T) {
	for _, v := range []struct {
		name string
		open func() (io.ReadWriteCloser, error)
		wait time.Duration
	}{
		{"no port", func() (io.ReadWriteCloser, error) { return nil, os.ErrNotExist }, 0},
		{"waiting for an answer", play(t, nil), 100 * time.Millisecond},
		{"port that takes nothing", func() (io.ReadWriteCloser, error) { a, _ := net.Pipe(); return a, nil }, 5 * time.Second},
		{"polling", play(t, healthy()), time.Second},
	} {
		t.Run(v.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := run(t, nil, Options{Open: v.open})
				time.Sleep(v.wait)
				s.stop()
				began := time.Now()
				if err := <-s.done; err != nil || time.Since(began) > time.Second {
					t.Errorf("%v after %v", err, time.Since(began))
				}
			})
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, o := range []Options{{}, {Port: "x", Region: 5}, {Port: "x", Region: 7}, {Port: "x", Power: 31}, {Port: "x", Power: -1}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v accepted", o)
		}
	}
	r, err := New(Options{Port: "/dev/ttyUSB0"})
	if err != nil || r.Name() != "r200:///dev/ttyUSB0" {
		t.Errorf("%v, %v", r, err)
	}
}

// The same over a terminal of the kernel and the real serial port code.
func TestOverAPTY(t *testing.T) {
	dir := t.TempDir()
	link := dir + "/ttyUSB0"
	m := model.New(model.Config{Seed: 1, Field: tags})
	plug := func() (unplug func()) {
		master, slave, err := pty.Open()
		if err != nil {
			t.Skipf("no pseudo-terminal: %v", err)
		}
		makeRaw(t, slave)
		if err := os.Symlink(slave.Name(), link); err != nil {
			t.Fatal(err)
		}
		served := make(chan struct{})
		go func() { defer close(served); m.Serve(master) }()
		return func() {
			os.Remove(link)
			slave.Close()
			master.Close()
			<-served
		}
	}
	unplug := plug()
	s := run(t, m, Options{Port: link, Power: 26})
	s.want("up", "china-900 at 26.00 dBm")
	s.all()
	unplug()
	s.want("down", "r200:")
	unplug = plug()
	s.want("up", "china-900 at 26.00 dBm")
	s.all()
	s.end()
	unplug()
}

// makeRaw keeps the terminal from echoing before the port is opened.
func makeRaw(t *testing.T, f *os.File) {
	t.Helper()
	a, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	a.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG
	a.Oflag &^= unix.OPOST
	a.Iflag = 0
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, a); err != nil {
		t.Fatal(err)
	}
}
