package app

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
	"golang.org/x/mod/sumdb/note"

	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/internal/device/devicetest"
	"trailmark/statement"
)

const testOrigin = "example.org/demo" // as devicetest.Gateway answers

// A site is a gateway with a broker and a ledger behind its enrolment: it takes
// frames in the order of their chains, holds every one to what it knows of the
// device, and answers with receipts.
type site struct {
	*devicetest.Gateway
	t      *testing.T
	ln     net.Listener
	signer note.Signer
	answer func(*device.Answer)
	tree   *testonly.Tree // guarded by mu, as all that follows

	mu     sync.Mutex
	conns  map[net.Conn]bool
	index  map[statement.Hash]uint64 // of a statement in the ledger
	issued []uint64                  // sizes of checkpoints
	chain  []*statement.Delivery     // all epochs of the one device
	deaf   bool                      // the broker lets nobody in
	mute   bool                      // frames are taken, and no receipt given
	each   func(*statement.Delivery) // hears of each new frame, if not nil
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{Gateway: devicetest.New(t), t: t, tree: testonly.New(rfc6962.DefaultHasher), conns: map[net.Conn]bool{}, index: map[statement.Hash]uint64{}}
	skey, vkey, err := note.GenerateKey(rand.Reader, testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	if s.signer, err = note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.SplitN(vkey, "+", 3)[2])
	if err != nil {
		t.Fatal(err)
	}
	logKey, err := statement.NewKey(ed25519.PublicKey(raw[1:])) // after the algorithm byte
	if err != nil {
		t.Fatal(err)
	}
	if s.ln, err = tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert,
		Certificates: []tls.Certificate{s.Server(time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.ln.Close() })
	s.answer = func(a *device.Answer) { a.Broker, a.LogKey = "mqtts://"+s.ln.Addr().String(), logKey.Encoded() }
	s.handle(nil)
	go func() {
		for {
			conn, err := s.ln.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return s
}

// serve speaks the little of MQTT 3.1.1 that a device needs.
func (s *site) serve(conn net.Conn) {
	defer conn.Close()
	s.mu.Lock()
	deaf := s.deaf
	s.conns[conn] = true
	s.mu.Unlock()
	topic := ""
	for !deaf {
		p, err := packets.ReadPacket(conn)
		if err != nil {
			return
		}
		switch p := p.(type) {
		case *packets.ConnectPacket:
			err = packets.NewControlPacket(packets.Connack).Write(conn)
		case *packets.SubscribePacket:
			topic = p.Topics[0]
			a := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
			a.MessageID, a.ReturnCodes = p.MessageID, []byte{0}
			err = a.Write(conn)
		case *packets.PublishPacket:
			if answer := s.take(p.Payload); answer != nil {
				down := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
				down.TopicName, down.Payload = topic, dcbor.MustMarshal(answer)
				err = down.Write(conn)
			}
		case *packets.PingreqPacket:
			err = packets.NewControlPacket(packets.Pingresp).Write(conn)
		}
		if err != nil {
			return
		}
	}
}

// take puts a frame into the ledger where it belongs, or says that it is there.
func (s *site) take(up []byte) *statement.Receipts {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deaf {
		return nil
	}
	d, err := statement.ParseUp(up)
	if err != nil {
		s.t.Error(err)
		return nil
	}
	id := d.Statement.ID()
	if _, known := s.index[id]; !known {
		if !s.follows(d) {
			return nil
		}
		s.chain = append(s.chain, d)
		s.index[id] = s.tree.Size()
		entry := d.Statement.Entry()
		s.tree.AppendData(entry[:])
		if s.each != nil {
			s.each(d)
		}
	}
	if s.mute {
		return nil
	}
	return s.receipt(d)
}

// follows reports that a frame goes on where the device's last one ended, as
// gateways check it: no second frame for a number, and a new key only after the
// old one named it.
func (s *site) follows(d *statement.Delivery) bool {
	if len(s.chain) == 0 {
		return d.Frame.Seq == 0
	}
	last := s.chain[len(s.chain)-1]
	switch {
	case d.Frame.Prev == last.Statement.ID() && d.Statement.Header.KeyID == last.Statement.Header.KeyID && successor(last).IsZero():
		return d.Frame.Seq == last.Frame.Seq+1
	case d.Frame.Prev == last.Statement.ID() && d.Statement.Header.KeyID == successor(last):
		return d.Frame.Seq == 0
	case d.Statement.Header.KeyID == last.Statement.Header.KeyID && d.Frame.Seq > last.Frame.Seq+1:
		return false // one before it is on its way
	}
	s.t.Errorf("frame %d of key %.8s… after %.8s… does not follow frame %d of %.8s…, which is %.8s… and hands over to %.8s…",
		d.Frame.Seq, d.Statement.Header.KeyID, d.Frame.Prev, last.Frame.Seq, last.Statement.Header.KeyID, last.Statement.ID(), successor(last))
	return false
}

// successor is the key that a frame hands over to.
func successor(d *statement.Delivery) statement.Hash {
	for _, v := range d.Contents {
		if h, ok := v.(*statement.Happening); ok && h.Type == statement.KeyRotation {
			return statement.Hash(h.Raw)
		}
	}
	return statement.Hash{}
}

func (s *site) receipt(d *statement.Delivery) *statement.Receipts {
	size := s.tree.Size()
	text, err := note.Sign(&note.Note{Text: string(log.Checkpoint{Origin: testOrigin, Size: size, Hash: s.tree.HashAt(size)}.Marshal())}, s.signer)
	if err != nil {
		s.t.Error(err)
	}
	from := append([]uint64{}, s.issued[max(0, len(s.issued)-6):]...)
	if a := d.Frame.After; a != nil {
		from = append(from, a.Size)
	}
	slices.Sort(from)
	r := &statement.Receipts{Type: statement.DownReceipts, Checkpoint: text, Consistency: []statement.Consistency{{Path: []statement.Hash{}}}}
	for _, old := range slices.Compact(from) {
		path, err := s.tree.ConsistencyProof(old, size)
		if err != nil {
			s.t.Error(err)
		}
		r.Consistency = append(r.Consistency, statement.Consistency{OldSize: old, Path: hashes(path)})
	}
	if len(s.issued) == 0 || s.issued[len(s.issued)-1] != size {
		s.issued = append(s.issued, size)
	}
	i := s.index[d.Statement.ID()]
	path, err := s.tree.InclusionProof(i, size)
	if err != nil {
		s.t.Error(err)
	}
	r.Included = []statement.Included{{Seq: d.Frame.Seq, ID: d.Statement.ID(), Index: i, Path: hashes(path)}}
	return r
}

func hashes(raw [][]byte) []statement.Hash {
	out := make([]statement.Hash, len(raw))
	for i := range raw {
		out[i] = statement.Hash(raw[i])
	}
	return out
}

// handle has every request to the enrolment seen by f first: see Gateway.Set.
func (s *site) handle(f func(http.ResponseWriter, *http.Request) bool) { s.Set(f, s.answer, 0) }

// hang makes the broker deaf, or lets devices in again.
func (s *site) hang(up bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deaf = up; up {
		for conn := range s.conns {
			conn.Close()
		}
		clear(s.conns)
	}
}

func (s *site) silence(mute bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mute = mute
}

// hear has f told of each frame that comes.
func (s *site) hear(f func(*statement.Delivery)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.each = f
}

// frames are what the ledger has.
func (s *site) frames() []*statement.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.chain)
}

// times are when the one channel of testConfig was read, in ms.
func times(frames []*statement.Delivery) (out []int64) {
	for _, d := range frames {
		for _, v := range d.Contents {
			if b, ok := v.(*statement.Block); ok {
				out = append(out, b.Times()...)
			}
		}
	}
	return out
}

// launch runs an agent; stop ends it and gives its error, also where it ended by
// itself.
func launch(t *testing.T, c Config) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, c, slog.New(slog.NewTextHandler(t.Output(), nil))) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { stop() })
	return stop
}

// state is what an agent said last, empty before.
func state(c Config) (s status) {
	if b, err := os.ReadFile(filepath.Join(c.Dir, statusName)); err == nil && json.Unmarshal(b, &s) != nil {
		return status{}
	}
	return s
}

// eventually waits for what must come: files have no event to wait for.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// image is a data folder as a cut of power leaves it: what is replaced whole while
// it is copied is there as it was before or after.
func image(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) || filepath.Ext(path) == ".tmp" {
			return nil
		} else if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// gone reports that there is no such file in a data folder.
func gone(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return errors.Is(err, os.ErrNotExist)
}
