package llrp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"trailmark/agent/internal/rfid"
	"trailmark/firmware-sim/chip/gen2"
	"trailmark/firmware-sim/reader"
	wire "trailmark/internal/llrp"
)

func tidOf(last byte) []byte {
	return append([]byte{0xe2, 0x80, 0x11, 0x60, 0x20}, bytes.Repeat([]byte{last}, 7)...)
}

// A wall is what the simulated reader's antennas look at.
func wall(time.Time) []reader.Tag {
	return []reader.Tag{{Antenna: 1, EPC: epc(1), RSSI: -50, TID: tidOf(1)}, {Antenna: 2, EPC: epc(2), RSSI: -61, TID: tidOf(2)},
		{Antenna: 2, EPC: epc(3), RSSI: -70, TID: tidOf(3)[:8]}}
}

// pipes listens without a network, so that time in a test can be fake.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return nil }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.done:
		return nil, errors.New("no route to host")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A bay is a simulated reader that a client may call.
type bay struct {
	*reader.Server
	*pipes
	stop  context.CancelFunc
	ended chan error
}

func newBay(t *testing.T, field reader.Field, o reader.Options) *bay {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	b := &bay{reader.New(field, o), &pipes{conns: make(chan net.Conn), done: make(chan struct{})}, stop, make(chan error, 1)}
	go func() { b.ended <- b.Serve(ctx, b.pipes) }()
	return b
}

func (b *bay) close(t *testing.T) {
	t.Helper()
	b.stop()
	if err := <-b.ended; err != nil {
		t.Error(err)
	}
}

// client starts a client of the bay.
func (b *bay) client(t *testing.T, o Options) *stand {
	t.Helper()
	if o.Dial == nil {
		o.Dial = b.dial
	}
	return newStand(t, o)
}

// drain returns what is read in d, by EPC's last byte, and ends the client.
func (s *stand) drain(d time.Duration) map[byte][]rfid.Read {
	s.Helper()
	got := map[byte][]rfid.Read{}
	for late := time.After(d); ; {
		select {
		case r := <-s.reads:
			got[r.EPC[len(r.EPC)-1]] = append(got[r.EPC[len(r.EPC)-1]], r)
		case <-late:
			return got
		}
	}
}

// finish ends the client while reads go on.
func (s *stand) finish() {
	s.Helper()
	s.stop()
	for {
		select {
		case err := <-s.done:
			if err != nil {
				s.Errorf("run: %v", err)
			}
			return
		case <-s.reads:
		}
	}
}

// A raw client looks at the reader as anybody may.
type raw struct {
	*testing.T
	conn net.Conn
}

func (b *bay) raw(t *testing.T) raw {
	t.Helper()
	for {
		conn, err := b.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		m, err := wire.ReadMessage(conn, wire.MaxMessage)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := wire.DecodeEvent(m.Payload); err != nil || e.Attempt == nil {
			t.Fatalf("greeting %+v, %v", e, err)
		} else if *e.Attempt == wire.Connected {
			return raw{t, conn}
		}
		conn.Close()
		time.Sleep(time.Second)
	}
}

func (r raw) ask(mt wire.MessageType, payload []byte) []byte {
	r.Helper()
	if err := wire.WriteMessage(r.conn, wire.Message{Version: wire.Version, Type: mt, ID: 9, Payload: payload}); err != nil {
		r.Fatal(err)
	}
	for {
		m, err := wire.ReadMessage(r.conn, wire.MaxMessage)
		if err != nil {
			r.Fatal(err)
		}
		if m.ID == 9 && m.Type == mt.Response() {
			if s, err := wire.DecodeStatus(m.Payload); err != nil || s.Code != wire.Success {
				r.Fatalf("%v: %+v, %v", mt, s, err)
			}
			return m.Payload
		}
	}
}

func (r raw) specs(list wire.MessageType) []wire.Spec {
	r.Helper()
	specs, err := wire.DecodeSpecs(r.ask(list, nil))
	if err != nil {
		r.Fatal(err)
	}
	return specs
}

// versions notes the version of the last message written to a connection.
type versions struct {
	net.Conn
	last *atomic.Uint32
}

func (v versions) Write(b []byte) (int, error) {
	v.last.Store(uint32(b[0] >> 2 & 7))
	return v.Conn.Write(b)
}

// TestMakes reads the same wall through readers of different makes.
func TestMakes(t *testing.T) {
	for _, v := range []struct {
		name    string
		reader  reader.Options
		client  Options
		version uint32
		tids    bool
	}{
		{"nobody's of llrp 1.0.1", reader.Options{Version: wire.Version}, Options{}, 1, true},
		{"zebra", reader.Options{Manufacturer: wire.VendorZebra}, Options{Power: 25.5, Session: 2, Population: 8}, 2, true},
		{"impinj", reader.Options{Manufacturer: wire.VendorImpinj}, Options{Antennas: []uint16{1, 2}}, 2, true},
		{"impinj of llrp 1.0.1", reader.Options{Manufacturer: wire.VendorImpinj, Version: wire.Version}, Options{Power: 30}, 1, true},
		{"epcs only", reader.Options{}, Options{EPCOnly: true}, 2, false},
		{"no clock", reader.Options{Uptime: true}, Options{}, 2, true},
		{"clock in 1970", reader.Options{Skew: -100 * 365 * 24 * time.Hour}, Options{}, 2, true},
		{"clock of tomorrow", reader.Options{Skew: 24 * time.Hour}, Options{}, 2, true},
	} {
		t.Run(v.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBay(t, wall, v.reader)
				var last atomic.Uint32
				v.client.Dial = func(ctx context.Context, n, a string) (net.Conn, error) {
					conn, err := b.dial(ctx, n, a)
					return versions{conn, &last}, err
				}
				s := b.client(t, v.client)
				s.wantStatus("up", "with 4 antennas")
				began := time.Now()
				got := s.drain(time.Minute)
				if last.Load() != v.version {
					t.Errorf("spoke version %d, want %d", last.Load(), v.version)
				}
				for i := byte(1); i <= 3; i++ {
					if len(got[i]) < 200 {
						t.Errorf("tag %d: %d reads in a minute", i, len(got[i]))
					}
					for _, r := range got[i] {
						want := tidOf(i)
						if i == 3 || !v.tids { // the third has no serial number
							want = nil
						}
						if !bytes.Equal(r.TID, want) || r.Antenna != uint16(min(i, 2)) || r.RSSI >= 0 || r.Last.Before(began.Add(-time.Second)) || r.Last.After(time.Now()) || r.First.After(r.Last) {
							t.Fatalf("tag %d: %+v", i, r)
						}
					}
				}
				s.finish()
				r := b.raw(t)
				if ro, access := r.specs(wire.GetROSpecs), r.specs(wire.GetAccessSpecs); len(ro)+len(access) != 0 {
					t.Errorf("left behind: %v, %v", ro, access)
				}
				r.conn.Close()
				b.close(t)
			})
		})
	}
}

// What others left on the reader goes only if it holds what we need.
func TestForeignSpecs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBay(t, wall, reader.Options{Manufacturer: wire.VendorImpinj})
		r := b.raw(t)
		foreign, err := wire.ROSpec{ID: 1234, AISpecs: []wire.AISpec{{Antennas: []uint16{0}}}, Report: &wire.ReportSpec{Trigger: wire.ReportEndAISpec, N: 1}}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		access, err := wire.AccessSpec{ID: 4321, ROSpec: 1234, OpSpec: 1, Bank: wire.BankTID, Words: 2}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		r.ask(wire.AddROSpec, foreign)
		r.ask(wire.AddAccessSpec, access)
		r.ask(wire.EnableROSpec, wire.EncodeROSpecID(1234))
		r.ask(wire.StartROSpec, wire.EncodeROSpecID(1234))
		r.conn.Close()
		time.Sleep(time.Second)
		s := b.client(t, Options{}) // its TIDs come by FastID: it needs no AccessSpec
		s.wantStatus("up", "")
		for i, reads := range s.drain(10 * time.Second) {
			if i < 3 && !bytes.Equal(reads[0].TID, tidOf(i)) {
				t.Errorf("tag %d: %+v", i, reads[0])
			}
		}
		s.finish()
		r = b.raw(t)
		if got := r.specs(wire.GetROSpecs); len(got) != 0 {
			t.Errorf("rospecs %v", got)
		}
		if got := r.specs(wire.GetAccessSpecs); len(got) != 1 || got[0].ID != 4321 {
			t.Errorf("accessspecs %v, want the other's", got)
		}
		// A session of ours that died.
		dead, err := wire.ROSpec{ID: own | 77, AISpecs: []wire.AISpec{{Antennas: []uint16{0}}}, Report: &wire.ReportSpec{Trigger: wire.ReportEndAISpec, N: 1}}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		r.ask(wire.AddROSpec, dead)
		r.conn.Close()
		time.Sleep(time.Second)
		s = b.client(t, Options{})
		s.wantStatus("up", "")
		if got := s.drain(10 * time.Second); len(got) != 3 {
			t.Errorf("%d tags", len(got))
		}
		s.finish()
		b.close(t)
	})
}

// A reader has one client. The second one waits for its turn.
func TestReaderInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBay(t, wall, reader.Options{})
		r := b.raw(t)
		s := b.client(t, Options{})
		s.wantStatus("down", "another client is connected")
		r.conn.Close()
		s.wantStatus("up", "")
		if got := s.drain(5 * time.Second); len(got) != 3 {
			t.Errorf("%d tags", len(got))
		}
		s.finish()
		b.close(t)
	})
}

func TestReaderFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBay(t, wall, reader.Options{})
		s := b.client(t, Options{})
		s.wantStatus("up", "")
		b.Drop()
		s.wantStatus("down", "")
		s.wantStatus("up", "")
		b.Hang(true)
		hung := time.Now()
		s.wantStatus("down", "two keepalives missed")
		if d := time.Since(hung); d < 10*time.Second || d > 30*time.Second {
			t.Errorf("noticed after %v", d)
		}
		time.Sleep(5 * time.Minute)
		b.Hang(false)
		s.wantStatus("up", "")
		s.drain(time.Second)
		b.Plug(2, false)
		s.drain(time.Second) // those under way
		if got := s.drain(10 * time.Second); len(got) != 1 || len(got[1]) == 0 {
			t.Errorf("with antenna 2 off: tags of %d", len(got))
		}
		b.Plug(2, true)
		if got := s.drain(10 * time.Second); len(got) != 3 {
			t.Errorf("with antenna 2 on again: %d tags", len(got))
		}
		s.finish()
		b.close(t)
	})
}

// More tags than a round can hear are all heard in the end.
func TestCrowd(t *testing.T) {
	for _, o := range []Options{{Session: 0}, {Session: 1}, {Session: 2}} {
		synctest.Test(t, func(t *testing.T) {
			const crowd = 150
			field := func(time.Time) []reader.Tag {
				tags := make([]reader.Tag, crowd)
				for i := range tags {
					id := binary.BigEndian.AppendUint16(make([]byte, 10), uint16(i))
					tags[i] = reader.Tag{Antenna: uint16(1 + i%2), EPC: id, RSSI: -60, TID: tidOf(byte(i))}
				}
				return tags
			}
			b := newBay(t, field, reader.Options{Antennas: 2, Air: gen2.New(4)})
			s := b.client(t, o)
			s.wantStatus("up", "")
			seen := map[string]int{}
			for late := time.After(10 * time.Second); ; {
				select {
				case r := <-s.reads:
					seen[string(r.EPC)]++
					continue
				case <-late:
				}
				break
			}
			again := 0
			for _, n := range seen {
				again += n - 1
			}
			if len(seen) != crowd || (o.Session == 2) != (again == 0) {
				t.Errorf("session %d: %d of %d tags, %d reads again", o.Session, len(seen), crowd, again)
			}
			s.finish()
			b.close(t)
		})
	}
}

func TestTLS(t *testing.T) {
	certificate, err := reader.SelfSigned("dock-3.example.com")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	fingerprint := sha256.Sum256(leaf.Raw)
	pinned, err := Pinned(hex.EncodeToString(fingerprint[:]))
	if err != nil {
		t.Fatal(err)
	}
	fingerprint[0] ^= 1
	other, err := Pinned(hex.EncodeToString(fingerprint[:]))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	for _, v := range []struct {
		name, address string
		config        *tls.Config
		why           string // "": up
	}{
		{"pinned", "192.0.2.7", pinned, ""},
		{"another reader's fingerprint", "192.0.2.7", other, "hint: was the reader replaced"},
		{"authority", "dock-3.example.com", &tls.Config{RootCAs: pool}, ""},
		{"authority, another name", "dock-4.example.com", &tls.Config{RootCAs: pool}, "dock-4"},
		{"public authorities", "dock-3.example.com", &tls.Config{RootCAs: x509.NewCertPool()}, "unknown authority"},
	} {
		t.Run(v.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			served := make(chan error, 1)
			sim := reader.New(wall, reader.Options{TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}, Poll: 5 * time.Millisecond})
			go func() { served <- sim.Serve(ctx, ln) }()
			s := newStand(t, Options{Address: v.address, TLS: v.config, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
			}})
			if v.why == "" {
				s.wantStatus("up", "")
				if r := <-s.reads; r.Antenna == 0 {
					t.Errorf("read %+v", r)
				}
			} else {
				s.wantStatus("down", v.why)
			}
			s.finish()
			stop()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}
