package r200

import (
	"bytes"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"trailmark/firmware-sim/chip"
	"trailmark/firmware-sim/chip/gen2"
	"trailmark/internal/r200"
)

var (
	epc = []byte{0xe2, 0x80, 0x68, 0x90, 0, 0, 0x50, 0x0e, 0x88, 0xc6, 0xa4, 0xa7}
	tid = []byte{0xe2, 0x80, 0x11, 0x60, 1, 2, 3, 4, 5, 6, 7, 8}
)

func one(time.Time) []gen2.Tag { return []gen2.Tag{{EPC: epc, TID: tid, RSSI: -57}} }

// A host is the other end of the line.
type host struct {
	*testing.T
	port net.Conn
	in   *r200.Reader
	gone chan error
}

func plug(t *testing.T, m *Module) *host {
	t.Helper()
	ours, theirs := net.Pipe()
	h := &host{t, ours, r200.NewReader(ours), make(chan error, 1)}
	go func() { h.gone <- m.Serve(theirs) }()
	t.Cleanup(func() { ours.Close() })
	return h
}

func (h *host) say(c r200.Code, params ...byte) {
	h.Helper()
	if err := r200.WriteFrame(h.port, r200.Frame{Kind: r200.Command, Code: c, Params: params}); err != nil {
		h.Fatal(err)
	}
}

// hear returns the next frame, or false if none comes in a second.
func (h *host) hear() (r200.Frame, bool) {
	h.Helper()
	if err := h.port.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		h.Fatal(err)
	}
	f, err := h.in.Next()
	return f, err == nil
}

func (h *host) want(code r200.Code, params ...byte) {
	h.Helper()
	if f, ok := h.hear(); !ok || f.Kind != r200.Response || f.Code != code || !bytes.Equal(f.Params, params) {
		h.Fatalf("heard %+v, %v; want %v % x", f, ok, code, params)
	}
}

func TestCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Config{Field: one})
		h := plug(t, m)
		h.say(r200.GetInfo, 0)
		h.want(r200.GetInfo, append([]byte{0}, "M100 26dBm V1.0"...)...)
		h.say(r200.GetRegion)
		h.want(r200.GetRegion, byte(FactoryRegion))
		h.say(r200.SetRegion, byte(r200.China900))
		h.want(r200.SetRegion, 0)
		h.say(r200.SetPower, r200.EncodePower(2600)...)
		h.want(r200.SetPower, 0)
		h.say(r200.GetPower)
		h.want(r200.GetPower, 0x0a, 0x28)
		for _, bad := range []r200.Frame{{Code: r200.SetRegion, Params: []byte{9}}, {Code: r200.SetPower, Params: r200.EncodePower(3001)},
			{Code: r200.GetInfo}, {Code: 0x99}, {Code: r200.ReadMemory, Params: []byte{1}}, {Code: r200.SetSelectMode, Params: []byte{7}}} {
			h.say(bad.Code, bad.Params...)
			h.want(r200.Failed, byte(r200.BadCommand))
		}
		h.say(r200.Poll)
		f, ok := h.hear()
		if tag, err := r200.DecodeTag(f.Params); !ok || err != nil || tag.RSSI != -57 || !bytes.Equal(tag.EPC, epc) {
			t.Errorf("poll: %+v, %v", tag, err)
		}
		if err := m.Inject(chip.Fault{Kind: chip.BrownOut}); err != nil {
			t.Fatal(err)
		}
		if r, p := m.Settings(); r != FactoryRegion || p != FactoryPower {
			t.Errorf("after a brown-out %v at %d", r, p)
		}
	})
}

func TestPollMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here := true
		h := plug(t, New(Config{Field: func(at time.Time) []gen2.Tag {
			if here {
				return one(at)
			}
			return nil
		}}))
		h.say(r200.PollMany, r200.EncodePollMany(3)...)
		h.say(r200.GetRegion) // deaf while it polls
		for i := range 3 {
			if f, ok := h.hear(); !ok || f.Kind != r200.Notice {
				t.Fatalf("round %d: %+v, %v", i, f, ok)
			}
		}
		if f, ok := h.hear(); ok {
			t.Fatalf("after the last round: %+v", f)
		}
		h.in = r200.NewReader(h.port)
		synctest.Wait()
		here = false
		h.say(r200.PollMany, r200.EncodePollMany(1000)...)
		h.want(r200.Failed, byte(r200.NoTag))
		h.say(r200.StopPoll)
		for {
			f, ok := h.hear()
			if !ok {
				t.Fatal("no answer to stop")
			}
			if f.Code == r200.StopPoll {
				break
			}
		}
		if f, ok := h.hear(); ok {
			t.Fatalf("after the stop: %+v", f)
		}
	})
}

func TestSelectAndRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := append([]byte{0x30}, epc[1:]...)
		h := plug(t, New(Config{Field: func(at time.Time) []gen2.Tag {
			return append([]gen2.Tag{{EPC: other, RSSI: -40}}, one(at)...)
		}}))
		at := r200.MemoryRange{Bank: r200.BankTID, Words: 6}.Encode()
		for _, v := range []struct {
			epc  []byte
			code r200.ErrorCode // 0: its tid
		}{{epc, 0}, {other, r200.TagRefused | memoryOverrun}, {append([]byte{0x31}, epc[1:]...), r200.ReadFailed}} {
			sel, err := r200.EncodeSelect(v.epc)
			if err != nil {
				t.Fatal(err)
			}
			h.say(r200.SetSelect, sel...)
			h.want(r200.SetSelect, 0)
			h.say(r200.ReadMemory, at...)
			if v.code != 0 {
				h.want(r200.Failed, byte(v.code))
				continue
			}
			f, _ := h.hear()
			if m, err := r200.DecodeMemory(f.Params, 6); err != nil || !bytes.Equal(m.EPC, epc) || !bytes.Equal(m.Data, tid) {
				t.Errorf("read %+v, %v", m, err)
			}
		}
	})
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Config{Field: one})
		if err := m.Garbage([]byte{1}); err == nil {
			t.Error("garbage on no line")
		}
		h := plug(t, m)
		synctest.Wait()
		inject := func(f chip.Fault) {
			t.Helper()
			if err := m.Inject(f); err != nil {
				t.Fatal(err)
			}
		}
		inject(chip.Fault{Kind: chip.Corrupt, Count: 1})
		h.say(r200.GetRegion)
		if f, ok := h.hear(); ok {
			t.Errorf("flipped bit passed: %+v", f)
		}
		h.in = r200.NewReader(h.port)
		noise := make(chan error, 1)
		go func() { noise <- m.Garbage([]byte{1, 2, 0xaa, 3}) }()
		synctest.Wait() // the garbage is on the line, and goes first
		said := make(chan error, 1)
		go func() { said <- r200.WriteFrame(h.port, r200.Frame{Kind: r200.Command, Code: r200.GetRegion}) }()
		h.want(r200.GetRegion, byte(FactoryRegion))
		if err := <-said; err != nil {
			t.Fatal(err)
		}
		if err := <-noise; err != nil || h.in.Skipped() != 4 {
			t.Errorf("garbage %v, %d skipped", err, h.in.Skipped())
		}
		m.BreakTags(1)
		h.say(r200.Poll)
		f, _ := h.hear()
		if tag, err := r200.DecodeTag(f.Params); err == nil {
			t.Errorf("broken tag passed: %+v", tag)
		}
		m.Jam(true)
		h.say(r200.Poll)
		h.want(r200.Failed, byte(r200.HopFailed))
		m.Jam(false)
		m.Mute(true)
		h.say(r200.Poll)
		if f, ok := h.hear(); ok {
			t.Errorf("mute says %+v", f)
		}
		m.Mute(false)
		inject(chip.Fault{Kind: chip.Gone})
		if err := <-h.gone; err == nil {
			t.Error("served on without a port")
		}
		if err := m.Serve(h.port); err == nil {
			t.Error("a module that is gone serves")
		}
		inject(chip.Fault{})
		h = plug(t, m)
		h.say(r200.GetRegion)
		h.want(r200.GetRegion, byte(FactoryRegion))
		for _, k := range []chip.Kind{chip.Short, chip.Stuck, chip.Drift, chip.Counterfeit} {
			if err := m.Inject(chip.Fault{Kind: k}); err == nil {
				t.Errorf("%v taken", k)
			}
		}
	})
}
