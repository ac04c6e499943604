package e2e

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	tlog "github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"

	"trailmark/internal/chain/comet"
)

// member is one organisation's process of the built anchor command.
type member struct {
	t           *testing.T
	dir         string
	listen, rpc string
	key         string // validator's, in hex
	cmd         *exec.Cmd
	stderr      *os.File
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func newMember(t *testing.T) *member {
	t.Helper()
	m := &member{t: t, dir: filepath.Join(t.TempDir(), "m"), listen: freePort(t), rpc: freePort(t)}
	t.Cleanup(m.kill)
	return m
}

// anchor runs the built command to its end.
func anchor(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "anchor"), args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("anchor %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

func field(t *testing.T, out, name string) string {
	t.Helper()
	for line := range strings.SplitSeq(out, "\n") {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("no %s in\n%s", name, out)
	return ""
}

func (m *member) start() {
	m.t.Helper()
	if m.stderr == nil {
		f, err := os.Create(m.dir + ".log")
		if err != nil {
			m.t.Fatal(err)
		}
		m.stderr = f
	}
	m.cmd = exec.Command(filepath.Join(bin, "anchor"), "node", "--dir", m.dir, "--listen", m.listen, "--rpc", m.rpc)
	m.cmd.Stderr = m.stderr
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "node ") {
		b, _ := os.ReadFile(m.stderr.Name())
		m.t.Fatalf("anchor node says %q: %v\n%s", line, err, b)
	}
}

func (m *member) kill() {
	if m.cmd != nil {
		_ = m.cmd.Process.Signal(syscall.SIGKILL)
		_ = m.cmd.Wait()
		m.cmd = nil
	}
}

func (m *member) chain() string { return "comet://" + m.rpc }

func (m *member) status() (s comet.Status) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(anchor(m.t, "status", "--chain", m.chain(), "--json")), &s); err != nil {
		m.t.Fatal(err)
	}
	return s
}

// joinBy makes a member by the two commands of the manual, with an invitation by
// another.
func joinBy(t *testing.T, by *member) *member {
	t.Helper()
	m := newMember(t)
	genesis := filepath.Join(t.TempDir(), "genesis.json")
	inv := anchor(t, "invite", "--dir", by.dir, "--chain", by.chain(), "--peer", by.listen, "--server", by.rpc, "--genesis", genesis)
	m.key = field(t, anchor(t, "join", "--dir", m.dir, "--genesis", genesis, "--invitation", strings.TrimSpace(inv)), "validator")
	m.start()
	return m
}

// voteIn adds a member by the votes of those who are in.
func voteIn(t *testing.T, m *member, name string, present ...*member) {
	t.Helper()
	out := anchor(t, "vote", "--dir", present[0].dir, "--chain", present[0].chain(), "--add", m.key, "--called", name)
	id := strings.TrimSuffix(strings.Fields(out)[1], ":")
	for _, p := range present[1:] {
		if strings.Contains(out, "carried out") {
			break
		}
		out = anchor(t, "vote", "--dir", p.dir, "--chain", p.chain(), "--yes", id)
	}
	if !strings.Contains(out, "carried out") {
		t.Fatalf("after all votes: %s", out)
	}
}

// agree waits until members are at one height with one app hash.
func agree(t *testing.T, members ...*member) comet.Status {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		first, same := members[0].status(), true
		for _, m := range members[1:] {
			s := m.status()
			same = same && s.Height == first.Height && s.AppHash == first.AppHash
		}
		if same {
			return first
		}
		if time.Now().After(end) {
			for _, m := range members {
				s := m.status()
				t.Logf("%s: block %d, app hash %s", m.rpc, s.Height, s.AppHash)
			}
			t.Fatal("no agreement within a minute")
		}
	}
}

// writer is a ledger and its submitter.
type writer struct {
	t      *testing.T
	origin string
	signer note.Signer
	vkey   string
	key    ed25519.PrivateKey
	size   uint64
}

func newWriter(t *testing.T, origin string) *writer {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &writer{t: t, origin: origin, signer: signer, vkey: vkey, key: key}
}

// note signs the checkpoint of a size.
func (w *writer) note(size uint64) []byte {
	w.t.Helper()
	root := sha256.Sum256(fmt.Appendf(nil, "%s %d", w.origin, size))
	b, err := note.Sign(&note.Note{Text: string(tlog.Checkpoint{Origin: w.origin, Size: size, Hash: root[:]}.Marshal())}, w.signer)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// anchors puts so many more sizes on the chain and returns how long each took.
func (w *writer) anchors(c *comet.Client, n int) (took []time.Duration) {
	w.t.Helper()
	for range n {
		w.size++
		began := time.Now()
		ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
		p, err := c.Anchor(ctx, w.key, w.note(w.size))
		cancel()
		if err != nil {
			w.t.Fatalf("anchor of size %d after %s: %v", w.size, time.Since(began), err)
		}
		if p.Size != w.size || p.Time.Before(began.Add(-time.Second)) || p.Time.After(time.Now()) {
			w.t.Fatalf("anchor of size %d, sent at %s: %+v", w.size, began, p.Dated)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took
}

func percentiles(took []time.Duration) string {
	return fmt.Sprintf("p50 %s, p99 %s", took[len(took)/2].Round(time.Millisecond), took[len(took)*99/100].Round(time.Millisecond))
}

func pemFile(t *testing.T, key ed25519.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "admin.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// founder begins a chain with a registered ledger and returns what a verifier
// pins: its one validator.
func founder(t *testing.T, w *writer) (*member, comet.Pins) {
	t.Helper()
	_, admin, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m := newMember(t)
	m.key = field(t, anchor(t, "create", "--dir", m.dir, "--name", "trailmark-consortium", "--admin", hex.EncodeToString(admin.Public().(ed25519.PublicKey))), "validator")
	m.start()
	anchor(t, "register", "--chain", m.chain(), "--admin-key", pemFile(t, admin), "--log-key", w.vkey, "--submitter", hex.EncodeToString(w.key.Public().(ed25519.PublicKey)))
	key, err := hex.DecodeString(m.key)
	if err != nil {
		t.Fatal(err)
	}
	return m, comet.Pins{ChainID: "trailmark-consortium", Validators: []comet.Voter{{Key: key, Power: 1}}}
}

func dial(t *testing.T, m *member, pins comet.Pins) *comet.Client {
	t.Helper()
	c, err := comet.Dial(m.rpc, pins)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// killedAnchors is how many anchors are timed with a member dead.
func killedAnchors() int {
	if os.Getenv("TRAILMARK_LONG") != "" {
		return 100
	}
	return 15
}

// One organisation's chain becomes four organisations' and keeps its history; one
// of four dies and anchors go on; two die and nothing does, nor is anything lost;
// they come back to one state; and a fifth joins by two commands. Clients believe
// no member: they follow from the one validator that they pinned at first.
func TestConsortium(t *testing.T) {
	w := newWriter(t, "trailmark.example/acme/2026h1")
	a, pins := founder(t, w)
	first := dial(t, a, pins)
	w.anchors(first, 3)
	if out := anchor(t, "status", "--chain", a.chain()); !strings.Contains(out, "1 of 1: tamper-evident only to those who kept earlier heads") {
		t.Errorf("status of one validator does not say so:\n%s", out)
	}

	members := []*member{a}
	for _, name := range []string{"Berg", "Chen", "Diallo"} {
		m := joinBy(t, members[len(members)-1])
		agree(t, append(members, m)...)
		voteIn(t, m, name, members...)
		members = append(members, m)
	}
	s := agree(t, members...)
	if len(s.Validators) != 4 || s.Anchors != 3 {
		t.Fatalf("status %+v", s)
	}
	c := dial(t, members[1], pins)
	all := w.anchors(c, 20)
	t.Logf("four validators: %d anchors, %s", len(all), percentiles(all))
	for size := uint64(1); size <= 3; size++ { // of the time with one validator
		p, err := c.Prove(t.Context(), w.origin, size)
		if err != nil || p.Size != size {
			t.Fatalf("size %d after the change: %+v, %v", size, p, err)
		}
		if _, err := c.Tx(t.Context(), p.Dated); err != nil {
			t.Error(err)
		}
	}
	if n := len(c.Voters()); n != 4 {
		t.Errorf("the client followed to %d validators, want 4", n)
	}

	members[3].kill()
	one := w.anchors(c, killedAnchors())
	t.Logf("one of four killed: %d anchors, %s", len(one), percentiles(one))
	if p99 := one[len(one)*99/100]; p99 > 3*time.Second {
		t.Errorf("one of four killed: p99 %s, want under 3s", p99)
	}

	members[2].kill()
	acknowledged := w.size
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	_, err := c.Anchor(ctx, w.key, w.note(w.size+1))
	cancel()
	if err == nil {
		t.Fatal("anchored with two of four")
	}
	halted := members[0].status()
	head, err := c.Head(t.Context(), w.origin)
	if err != nil || head.Size != acknowledged {
		t.Fatalf("with two of four the head is %+v, want size %d: %v", head, acknowledged, err)
	}

	members[2].start()
	members[3].start()
	w.anchors(c, 2) // the first is the one that the chain had not taken
	if s := agree(t, members...); s.Height <= halted.Height {
		t.Errorf("at block %d after the halt at %d", s.Height, halted.Height)
	}
	for size := uint64(1); size <= w.size; size++ {
		if p, err := c.Prove(t.Context(), w.origin, size); err != nil || !p.Found {
			t.Fatalf("size %d: %v", size, err)
		}
	}

	fifth := joinBy(t, members[0])
	agree(t, append(members, fifth)...)
	voteIn(t, fifth, "Eriksen", members...)
	members = append(members, fifth)
	w.anchors(dial(t, fifth, pins), 2)
	if s := agree(t, members...); len(s.Validators) != 5 {
		t.Errorf("%d validators, want 5", len(s.Validators))
	}
	members[1].kill() // one of five
	w.anchors(dial(t, fifth, pins), 2)

	// A client that pins a validator of another chain gets nothing.
	key := make([]byte, 32)
	copy(key, w.key.Public().(ed25519.PublicKey))
	stranger := dial(t, a, comet.Pins{ChainID: pins.ChainID, Validators: []comet.Voter{{Key: key, Power: 1}}})
	if _, err := stranger.Head(t.Context(), w.origin); err == nil {
		t.Error("a client with other pins believes the member")
	}
}
