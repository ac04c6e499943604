package witness

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"

	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

const origin = "ledger.example.com/acme/2026h2"

func signer(t testing.TB, seed byte) *statement.Signer {
	t.Helper()
	s, err := statement.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fleet is the wire to devices, which answer as they are told.
type fleet struct {
	t       *testing.T
	present []Device
	c       *Collector
	answer  func(kid statement.Hash, note []byte) // nil: nobody answers

	mu      sync.Mutex
	asked   [][]statement.Hash      // guarded by mu
	revoked map[statement.Hash]bool // guarded by mu
}

func (f *fleet) Present(context.Context) ([]Device, error) { return f.present, nil }

func (f *fleet) Counts(kid statement.Hash) (statement.Key, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.present {
		if d.Key.ID() == kid {
			return d.Key, !f.revoked[kid]
		}
	}
	return statement.Key{}, false
}

func (f *fleet) Ask(_ context.Context, _ string, note []byte, _ uint64, kids []statement.Hash, _ map[statement.Hash]uint64) ([]statement.Hash, error) {
	f.mu.Lock()
	f.asked = append(f.asked, kids)
	f.mu.Unlock()
	if f.answer != nil {
		for _, kid := range kids {
			go f.answer(kid, note)
		}
	}
	return kids, nil
}

// rig is a Collector over a real store.
type rig struct {
	*fleet
	c      *Collector
	st     *store.Store
	logKey ed25519.PrivateKey
	by     map[statement.Hash]*statement.Signer
}

func newRig(t *testing.T, most int, places ...string) *rig {
	t.Helper()
	st, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	r := &rig{fleet: &fleet{t: t, revoked: map[statement.Hash]bool{}}, st: st, logKey: ed25519.NewKeyFromSeed(make([]byte, 32)), by: map[statement.Hash]*statement.Signer{}}
	for i, p := range places {
		s := signer(t, byte(10+i))
		r.by[s.Key().ID()] = s
		r.present = append(r.present, Device{s.Key(), p})
	}
	key, err := statement.NewKey(r.logKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	r.c = New(Options{Store: st, Fleet: r.fleet, LogKey: key, Most: most, Wait: 500 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	return r
}

type noteSigner struct {
	note.Verifier
	key ed25519.PrivateKey
}

func (s noteSigner) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

func (r *rig) note(size uint64) []byte {
	r.t.Helper()
	root := sha256.Sum256(fmt.Appendf(nil, "%d", size))
	v, err := statement.LogVerifier(origin, r.c.opt.LogKey)
	if err != nil {
		r.t.Fatal(err)
	}
	signed, err := note.Sign(&note.Note{Text: string(log.Checkpoint{Origin: origin, Size: size, Hash: root[:]}.Marshal())}, noteSigner{v, r.logKey})
	if err != nil {
		r.t.Fatal(err)
	}
	return signed
}

func (r *rig) opened(n []byte) statement.Checkpoint {
	r.t.Helper()
	cp, err := statement.OpenCheckpoint(n, origin, r.c.opt.LogKey)
	if err != nil {
		r.t.Fatal(err)
	}
	return cp
}

// line is a device's honest answer.
func (r *rig) message(kid statement.Hash, n []byte) []byte {
	r.t.Helper()
	cp := r.opened(n)
	line, err := r.by[kid].Cosign(cp, 1_790_000_000)
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := statement.EncodeCosigned(sha256.Sum256([]byte(origin)), cp.Size, line)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (r *rig) honest(kid statement.Hash, n []byte) {
	if err := r.c.Take(context.Background(), kid, r.message(kid, n)); err != nil {
		r.t.Error(err)
	}
}

func TestCollect(t *testing.T) {
	r := newRig(t, 8, "a", "a", "b")
	r.answer = r.honest
	n := r.note(5)
	began := time.Now()
	got := r.c.Collect(t.Context(), origin, n)
	if took := time.Since(began); took > 400*time.Millisecond {
		t.Errorf("waited %v though all had answered", took)
	}
	cp := r.opened(got)
	if !bytes.HasPrefix(got, n) || len(cp.Cosignatures()) != 3 {
		t.Fatalf("%d cosignatures:\n%s", len(cp.Cosignatures()), got)
	}
	for _, s := range cp.Cosignatures() {
		kid, _ := statement.DeviceOf(s.Name)
		w, err := statement.DeviceWitness(r.by[kid].Key())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cp.VerifyCosignature(s, w); err != nil {
			t.Error(err)
		}
	}
	// The same checkpoint again: nobody is asked twice.
	if again := r.c.Collect(t.Context(), origin, n); !bytes.Equal(again, got) || len(r.asked) != 1 {
		t.Errorf("asked %d times:\n%s", len(r.asked), again)
	}
	// A revoked device's line is kept and no longer shown.
	r.mu.Lock()
	for kid := range r.by {
		r.revoked[kid] = true
		break
	}
	r.mu.Unlock()
	if n := len(r.opened(r.c.Collect(t.Context(), origin, n)).Cosignatures()); n != 2 {
		t.Errorf("%d cosignatures with a revoked device, want 2", n)
	}
	if taken, refused := r.c.Counts(); taken != 3 || refused != 0 {
		t.Errorf("counted %d and %d", taken, refused)
	}
}

// TestNeverWaitsLong: silence costs the wait, and an answer that comes late is still
// kept.
func TestNeverWaitsLong(t *testing.T) {
	r := newRig(t, 8, "a", "b")
	n := r.note(5)
	began := time.Now()
	if got := r.c.Collect(t.Context(), origin, n); !bytes.Equal(got, n) {
		t.Errorf("without answers %q", got)
	}
	if took := time.Since(began); took < 400*time.Millisecond || took > 3*time.Second {
		t.Errorf("waited %v, want half a second", took)
	}
	kid := r.present[0].Key.ID()
	r.honest(kid, n)
	lines, err := r.c.Lines(t.Context(), origin, 5, r.opened(n).Root)
	if err != nil || bytes.Count(lines, []byte("\n")) != 1 {
		t.Errorf("late: %q, %v", lines, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := r.c.Collect(ctx, origin, r.note(6)); len(got) == 0 {
		t.Error("nothing after the end")
	}
	none := newRig(t, 0, "a")
	if n := none.note(5); !bytes.Equal(none.c.Collect(t.Context(), origin, n), n) || len(none.asked) != 0 {
		t.Error("asked though nobody is to be asked")
	}
	bad := []byte("hello\n")
	if got := r.c.Collect(t.Context(), origin, bad); !bytes.Equal(got, bad) {
		t.Errorf("of noise it makes %q", got)
	}
}

// TestAnswers: only what was asked for, from whom it was asked, is kept.
func TestAnswers(t *testing.T) {
	r := newRig(t, 2, "a", "b", "c")
	n := r.note(5)
	r.c.Collect(t.Context(), origin, n)
	asked := r.asked[0]
	var left statement.Hash
	for _, d := range r.present {
		if kid := d.Key.ID(); kid != asked[0] && kid != asked[1] {
			left = kid
		}
	}
	other := append([]byte(nil), r.note(6)...)
	forged := func(edit func(m *statement.Cosigned)) []byte {
		m, err := statement.ParseCosigned(r.message(asked[0], n))
		if err != nil {
			t.Fatal(err)
		}
		m.Line = bytes.Clone(m.Line)
		edit(m)
		b, err := statement.EncodeCosigned(m.Origin, m.Size, m.Line)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		kid     statement.Hash
		message []byte
	}{
		"one that was not asked":    {left, r.message(left, n)},
		"another's line":            {asked[0], r.message(asked[1], n)},
		"a checkpoint nobody asked": {asked[0], r.message(asked[0], other)},
		"of another checkpoint": {asked[0], forged(func(m *statement.Cosigned) {
			o, _ := statement.ParseCosigned(r.message(asked[0], other))
			m.Line = o.Line
		})},
		"of another ledger":          {asked[0], forged(func(m *statement.Cosigned) { m.Origin[0]++ })},
		"a bit of its signature":     {asked[0], forged(func(m *statement.Cosigned) { m.Line[len(m.Line)-20] ^= 1 })},
		"noise":                      {asked[0], []byte{0x84, 2, 0}},
		"a key that nobody knows of": {statement.Hash{1}, r.message(asked[0], n)},
	} {
		if err := r.c.Take(t.Context(), c.kid, c.message); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.mu.Lock()
	r.revoked[asked[1]] = true
	r.mu.Unlock()
	if err := r.c.Take(t.Context(), asked[1], r.message(asked[1], n)); !errors.Is(err, ErrRefused) {
		t.Errorf("a revoked device: %v", err)
	}
	if err := r.c.Take(t.Context(), asked[0], r.message(asked[0], n)); err != nil {
		t.Errorf("good: %v", err)
	}
	if err := r.c.Take(t.Context(), asked[0], r.message(asked[0], n)); !errors.Is(err, ErrRefused) {
		t.Errorf("the same again: %v", err)
	}
	if kept, err := r.st.Cosignatures(t.Context(), origin, 5); err != nil || len(kept) != 1 || kept[0].KeyID != asked[0] {
		t.Errorf("kept %+v, %v", kept, err)
	}
	if _, refused := r.c.Counts(); refused != 10 {
		t.Errorf("%d refused, want 10", refused)
	}
}

// TestPlaces: of many devices those of different places are asked, in turn.
func TestPlaces(t *testing.T) {
	places := []string{"a", "a", "a", "a", "b", "b", "c"}
	r := newRig(t, 3, places...)
	place := map[statement.Hash]string{}
	for _, d := range r.present {
		place[d.Key.ID()] = d.Place
	}
	r.c.opt.Wait = time.Millisecond
	times := map[statement.Hash]int{}
	for size := range uint64(12) {
		r.c.Collect(t.Context(), origin, r.note(size+1))
		kids := r.asked[size]
		var got []string
		for _, kid := range kids {
			got = append(got, place[kid])
			times[kid]++
		}
		if len(kids) != 3 || strings.Count(strings.Join(got, ""), "a") != 1 || strings.Count(strings.Join(got, ""), "b") != 1 {
			t.Errorf("round %d asked at %q", size, got)
		}
	}
	for kid, n := range times {
		if want := map[string]int{"a": 3, "b": 6, "c": 12}[place[kid]]; n != want {
			t.Errorf("a device at %s was asked %d times, want %d", place[kid], n, want)
		}
	}
}

// TestOldOnesGo: the store keeps the cosignatures of the newest checkpoints.
func TestOldOnesGo(t *testing.T) {
	r := newRig(t, 1, "a")
	r.answer = r.honest
	for size := range uint64(70) {
		r.c.Collect(t.Context(), origin, r.note(size+1))
	}
	for size, want := range map[uint64]int{1: 0, 6: 0, 7: 1, 70: 1} {
		if kept, err := r.st.Cosignatures(t.Context(), origin, size); err != nil || len(kept) != want {
			t.Errorf("of size %d: %d, %v, want %d", size, len(kept), err, want)
		}
	}
	sizes, err := r.st.CosignedSizes(t.Context(), origin)
	if err != nil || len(sizes) != 1 || sizes[r.present[0].Key.ID()] != 70 {
		t.Errorf("%v, %v", sizes, err)
	}
}
