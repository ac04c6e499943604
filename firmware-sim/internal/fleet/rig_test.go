package fleet

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"net"
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

const origin = "example.org/demo/2026h2"

// rig is a gateway as its devices see it: an enrolment server, a broker and a
// ledger. It takes a frame that continues its device's chain and refuses any other.
type rig struct {
	t       *testing.T
	gateway *devicetest.Gateway
	ln      net.Listener
	signer  note.Signer
	logKey  statement.Key

	mu      sync.Mutex
	tree    *testonly.Tree                   // guarded by mu
	heads   map[statement.Hash]*head         // guarded by mu: by device
	places  map[statement.Hash]uint64        // guarded by mu: of statements
	online  map[*session]bool                // guarded by mu
	told    map[statement.Hash][]uint64      // guarded by mu: sizes of the checkpoints told last, by device
	refused map[string]int                   // guarded by mu
	lie     func(*statement.Receipts) []byte // guarded by mu: what is told instead
}

type head struct {
	seq uint64
	id  statement.Hash
}

// session is one device's connection.
type session struct {
	net.Conn
	kid statement.Hash
	mu  sync.Mutex // held while writing
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, gateway: devicetest.New(t), tree: testonly.New(rfc6962.DefaultHasher), heads: map[statement.Hash]*head{},
		places: map[statement.Hash]uint64{}, online: map[*session]bool{}, told: map[statement.Hash][]uint64{}, refused: map[string]int{}}
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	if r.signer, err = note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.SplitN(vkey, "+", 3)[2])
	if err != nil {
		t.Fatal(err)
	}
	if r.logKey, err = statement.NewKey(ed25519.PublicKey(raw[1:])); err != nil { // after the algorithm byte
		t.Fatal(err)
	}
	if r.ln, err = tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert,
		Certificates: []tls.Certificate{r.gateway.Server(time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	var sessions sync.WaitGroup
	t.Cleanup(func() { r.ln.Close(); sessions.Wait() })
	r.simulated(true)
	sessions.Go(func() {
		for {
			conn, err := r.ln.Accept()
			if err != nil {
				return
			}
			sessions.Go(func() { r.serve(conn.(*tls.Conn)) })
		}
	})
	return r
}

// simulated says what the gateway makes of the devices that enrol.
func (r *rig) simulated(yes bool) {
	r.gateway.Set(nil, func(a *device.Answer) {
		a.Broker, a.Origin, a.LogKey = "mqtts://"+r.ln.Addr().String(), origin, r.logKey.Encoded()
		if !yes {
			return
		}
		s, err := statement.Parse(a.Identity)
		if err != nil {
			r.t.Error(err)
			return
		}
		id, err := s.Identity()
		if err != nil {
			r.t.Error(err)
			return
		}
		id.Simulated = true
		a.Identity, a.SimAuthority = r.gateway.Identify(r.gateway.Authority, *id, devicetest.Audience), a.Authority
	}, 0)
}

// config is a small fleet on r.
func (r *rig) config(devices int) Config {
	r.t.Helper()
	claims := filepath.Join(r.t.TempDir(), "claims")
	if err := os.WriteFile(claims, []byte(strings.Repeat(r.gateway.Claim.String()+"\n", devices)), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return Config{Devices: devices, Claims: claims, Dir: filepath.Join(r.t.TempDir(), "fleet"), Seed: 1, Readings: 5,
		Every: 50 * time.Millisecond, Frames: 6, Drain: 20 * time.Second, For: time.Minute}
}

func (r *rig) serve(conn *tls.Conn) {
	defer conn.Close()
	s := &session{Conn: conn}
	for {
		p, err := packets.ReadPacket(conn)
		if err != nil {
			return // the device is gone
		}
		var answer packets.ControlPacket
		switch p := p.(type) {
		case *packets.ConnectPacket:
			key, err := statement.NewKey(conn.ConnectionState().PeerCertificates[0].PublicKey)
			if err != nil || !strings.HasPrefix(p.ClientIdentifier, key.ID().String()) {
				r.t.Errorf("client %q: %v", p.ClientIdentifier, err)
			}
			s.kid = key.ID()
			answer = packets.NewControlPacket(packets.Connack)
		case *packets.SubscribePacket:
			if len(p.Topics) != 1 || p.Topics[0] != statement.TopicDown("demo", s.kid) {
				r.t.Errorf("device %v subscribes to %v", s.kid, p.Topics)
			}
			ack := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
			ack.MessageID, ack.ReturnCodes = p.MessageID, []byte{1}
			answer = ack
			r.mu.Lock()
			r.online[s] = true
			r.mu.Unlock()
			defer func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				delete(r.online, s)
			}()
		case *packets.PublishPacket:
			if p.TopicName != statement.TopicUp("demo", s.kid) {
				r.t.Errorf("device %v publishes on %s", s.kid, p.TopicName)
			}
			r.take(s.kid, p.Payload)
			ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
			ack.MessageID = p.MessageID
			answer = ack
		case *packets.DisconnectPacket:
			return
		default:
			continue
		}
		if s.write(answer) != nil {
			return
		}
	}
}

func (s *session) write(p packets.ControlPacket) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.Write(s.Conn)
}

// take judges a message as a gateway does and sends the receipt to every session
// of its device.
func (r *rig) take(kid statement.Hash, up []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, err := statement.ParseUp(up)
	if err != nil {
		r.t.Error(err)
		return
	}
	ring := statement.NewKeyring(devicetest.Audience, r.gateway.Authority.Key())
	id := statement.Identity{Key: statement.PublicKey{Key: r.key(kid)}, Subject: "urn:dev:test", Role: statement.RoleDevice, Simulated: true}
	s, err := statement.Parse(r.gateway.Identify(r.gateway.Authority, id, devicetest.Audience))
	if err == nil {
		_, err = ring.Add(s)
	}
	if err != nil {
		r.t.Error(err)
		return
	}
	h := r.heads[kid]
	_, err = ring.Verify(d.Statement)
	place, stored := r.places[d.Statement.ID()]
	switch {
	case err != nil:
		r.refused["signature"]++
		return
	case stored:
		r.refused["repeated"]++
	case h == nil && (d.Frame.Seq != 0 || !d.Frame.Prev.IsZero()), h != nil && d.Frame.Seq > h.seq+1:
		r.refused["order"]++
		return
	case h != nil && d.Frame.Seq <= h.seq:
		r.refused["fork"]++
		return
	case h != nil && d.Frame.Prev != h.id:
		r.refused["prev"]++
		return
	default:
		place = r.tree.Size()
		entry := d.Statement.Entry()
		r.tree.AppendData(entry[:])
		r.places[d.Statement.ID()] = place
		r.heads[kid] = &head{d.Frame.Seq, d.Statement.ID()}
	}
	for s := range r.online {
		if s.kid == kid {
			r.receipt(s, d, place)
		}
	}
}

// receipt tells a session of one statement. The caller holds r.mu.
func (r *rig) receipt(s *session, d *statement.Delivery, place uint64) {
	size := r.tree.Size()
	text, err := note.Sign(&note.Note{Text: string(log.Checkpoint{Origin: origin, Size: size, Hash: r.tree.HashAt(size)}.Marshal())}, r.signer)
	if err != nil {
		r.t.Error(err)
		return
	}
	path, err := r.tree.InclusionProof(place, size)
	if err != nil {
		r.t.Error(err)
		return
	}
	m := &statement.Receipts{Type: statement.DownReceipts, Checkpoint: text,
		Included: []statement.Included{{Seq: d.Frame.Seq, ID: d.Statement.ID(), Index: place, Path: hashes(path)}}}
	for _, old := range append([]uint64{0}, r.told[s.kid]...) { // whichever the device has
		c := statement.Consistency{OldSize: old}
		if old > 0 {
			p, err := r.tree.ConsistencyProof(old, size)
			if err != nil {
				r.t.Error(err)
				return
			}
			c.Path = hashes(p)
		}
		m.Consistency = append(m.Consistency, c)
	}
	if t := r.told[s.kid]; !slices.Contains(t, size) {
		r.told[s.kid] = append(t, size)[max(0, len(t)-6):]
	}
	data := dcbor.MustMarshal(m)
	if r.lie != nil {
		data = r.lie(m)
	}
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.Qos, p.MessageID, p.TopicName, p.Payload = 1, 1, statement.TopicDown("demo", s.kid), data
	_ = s.write(p) // a device that is gone is told again
}

func hashes(raw [][]byte) []statement.Hash {
	out := make([]statement.Hash, len(raw))
	for i := range raw {
		out[i] = statement.Hash(raw[i])
	}
	return out
}

// key is the key of a device: they follow from the seed.
func (r *rig) key(kid statement.Hash) statement.Key {
	for n := range 64 {
		priv, err := key(1, n)
		if err != nil {
			r.t.Fatal(err)
		}
		if k, err := statement.NewKey(priv.Public()); err == nil && k.ID() == kid {
			return k
		}
	}
	r.t.Errorf("no device has the key %v", kid)
	return statement.Key{}
}

// seen returns how often the gateway refused for a reason, or repeated itself.
func (r *rig) seen(what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused[what]
}

// size is that of the ledger.
func (r *rig) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int(r.tree.Size())
}
