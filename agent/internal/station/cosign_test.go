package station

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/agent/internal/clock"
	"trailmark/agent/internal/witness"
	"trailmark/statement"
)

// ask is a request to cosign the ledger as it is, with proofs from sizes.
func (l *testLedger) ask(from ...uint64) *statement.Cosign {
	size := l.tree.Size()
	m := &statement.Cosign{Type: statement.DownCosign, Checkpoint: l.checkpoint(size)}
	for _, old := range from {
		c := statement.Consistency{OldSize: old}
		if old > 0 && old < size {
			p, err := l.tree.ConsistencyProof(old, size)
			if err != nil {
				l.t.Fatal(err)
			}
			c.Path = hashes(p)
		}
		m.Consistency = append(m.Consistency, c)
	}
	return m
}

// grow adds entries of somebody else.
func (l *testLedger) grow(n int, salt byte) {
	for i := range n {
		l.tree.AppendData([]byte{salt, byte(i)})
	}
}

// fork is another history under the log's own key, of size entries.
func (l *testLedger) fork(size int) *testLedger {
	f := newLedger(l.t)
	f.signer, f.key = l.signer, l.key
	f.grow(size-1, 'f')
	return f
}

// answers gives the cosignatures among what was sent since the last take, verified.
func (r *rig) answers() []*statement.Cosigned {
	r.t.Helper()
	var out []*statement.Cosigned
	for _, m := range r.up.take() {
		if !statement.IsCosigned(m) {
			continue
		}
		c, err := statement.ParseCosigned(m)
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// verified checks one answer as a gateway does, and gives its time.
func (r *rig) verified(c *statement.Cosigned, note []byte) int64 {
	r.t.Helper()
	cp, err := statement.OpenCheckpoint(note, origin, r.ledger.key)
	if err != nil {
		r.t.Fatal(err)
	}
	w, err := statement.DeviceWitness(r.sealer.Signer.Key())
	if err != nil {
		r.t.Fatal(err)
	}
	_, at, err := cp.WithCosignature(c.Line, w, r.ledger.key)
	if err != nil || c.Size != cp.Size || c.Origin != originHash() {
		r.t.Fatalf("%+v: %v", c, err)
	}
	return at
}

func TestCosign(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.start()
		r.connect()
		first := r.ledger.ask(0)
		r.tell(first)
		got := r.answers()
		if len(got) != 1 {
			t.Fatalf("%d answers", len(got))
		}
		if at, now := r.verified(got[0], first.Checkpoint), r.clock.Now().Wall/1000; at < now-1 || at > now {
			t.Errorf("signed at %d, it is %d", at, now)
		}
		if s := r.said(); s.NoWitness != "" || s.Accused != "" {
			t.Errorf("status %+v", s)
		}
		// The same checkpoint gets the same line, at once and at any time.
		r.tell(first)
		after(time.Minute)
		r.tell(r.ledger.ask(1))
		again := r.answers()
		if len(again) != 2 || !bytes.Equal(again[0].Line, got[0].Line) || !bytes.Equal(again[1].Line, got[0].Line) {
			t.Fatalf("%d answers to the same question", len(again))
		}
		// A larger one, with proofs from sizes that are not ours among ours.
		r.ledger.grow(5, 1)
		second := r.ledger.ask(0, 1, 3)
		r.tell(second)
		got = r.answers()
		if len(got) != 1 || got[0].Size != 6 {
			t.Fatalf("%+v", got)
		}
		r.verified(got[0], second.Checkpoint)
		// Within a second there is no other, and then there is.
		r.ledger.grow(1, 2)
		r.tell(r.ledger.ask(6))
		if got := r.answers(); len(got) != 0 {
			t.Errorf("%d cosignatures within a second", len(got))
		}
		after(time.Second)
		r.tell(r.ledger.ask(6, 7))
		if got := r.answers(); len(got) != 1 || got[0].Size != 7 {
			t.Errorf("after a second: %+v", got)
		}
		// An older checkpoint is not the largest any more.
		r.tell(first)
		r.tell(second)
		if got := r.answers(); len(got) != 0 {
			t.Errorf("%d cosignatures of older checkpoints", len(got))
		}
		// A receipts message goes on from there, and its checkpoint can be cosigned.
		after(2 * r.c.SealEvery)
		r.ledger.grow(2, 3)
		r.tell(r.ledger.receipts(7))
		r.up.take()
		r.tell(r.ledger.ask(9))
		if got := r.answers(); len(got) != 1 || got[0].Size != 9 {
			t.Errorf("of the checkpoint of receipts: %+v", got)
		}
		after(2 * time.Second)
		if s := r.said(); s.Cosigned != 9 || s.Size != 9 || s.Accused != "" {
			t.Errorf("status %+v", s)
		}
		r.halt()
	})
}

// TestCosignRefusesFork: of a ledger that contradicts itself a device cosigns one
// history, raises the alarm, and keeps both heads.
func TestCosignRefusesFork(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(r *rig) *statement.Cosign
		alarm bool
	}{
		{"same size, another root", func(r *rig) *statement.Cosign { return r.ledger.fork(6).ask(6) }, true},
		{"larger, of another history", func(r *rig) *statement.Cosign { return r.ledger.fork(9).ask(6) }, true},
		{"smaller, of another history", func(r *rig) *statement.Cosign { return r.ledger.fork(4).ask(0) }, false},
		{"larger, from nothing", func(r *rig) *statement.Cosign { return r.ledger.fork(9).ask(0) }, false},
		{"another log key", func(r *rig) *statement.Cosign {
			l := newLedger(r.t)
			l.tree = r.ledger.tree
			return l.ask(6)
		}, false},
		{"no checkpoint", func(r *rig) *statement.Cosign {
			m := r.ledger.ask(6)
			m.Checkpoint = []byte("hello\n")
			return m
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bench(t, func(t *testing.T, r *rig) {
				r.ledger.grow(5, 1)
				r.start()
				r.connect()
				r.tell(r.ledger.ask(0))
				if got := r.answers(); len(got) != 1 {
					t.Fatalf("%d answers", len(got))
				}
				after(2 * time.Second)
				r.tell(c.spoil(r))
				r.tell(c.spoil(r))
				if got := r.answers(); len(got) != 0 {
					t.Fatalf("cosigned: %+v", got[0])
				}
				after(2 * time.Second)
				if s := r.said(); (s.Accused != "") != c.alarm || s.Size != 6 {
					t.Errorf("status %+v", s)
				}
				// It goes on with the history that it knows.
				r.ledger.grow(1, 2)
				r.tell(r.ledger.ask(6))
				if got := r.answers(); len(got) != 1 || got[0].Size != 7 {
					t.Errorf("then %+v", got)
				}
				accused := r.said().Accused
				r.halt()
				if n := len(happenings(r.chain(r.card()), statement.Tamper)); n != map[bool]int{true: 1}[c.alarm] {
					t.Errorf("%d tamper happenings", n)
				}
				if !c.alarm {
					return
				}
				b, err := os.ReadFile(filepath.Join(r.dir, accused))
				if err != nil || strings.Count(string(b), origin+"\n") != 2 {
					t.Errorf("evidence %v:\n%s", err, b)
				}
				r.start() // and it is not forgotten
				if s := r.said(); s.Accused != accused {
					t.Errorf("after a restart: %+v", s)
				}
				r.halt()
			})
		})
	}
}

// TestCosignSurvivesKill: what was cosigned is known after a kill, even when no frame
// that names it was ever signed; another history of it is refused.
func TestCosignSurvivesKill(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.ledger.grow(5, 1)
		r.start()
		r.connect()
		r.tell(r.ledger.ask(0))
		if got := r.answers(); len(got) != 1 {
			t.Fatalf("%d answers", len(got))
		}
		killed := t.TempDir() // the card as it is at this moment
		if err := os.CopyFS(killed, os.DirFS(r.dir)); err != nil {
			t.Fatal(err)
		}
		r.halt()
		r.dir = killed
		r.start()
		r.connect()
		if got := r.state().Checked; got.Size != 6 {
			t.Fatalf("after a kill it knows %+v", got)
		}
		for _, size := range []int{6, 9} {
			r.tell(r.ledger.fork(size).ask(0, 6))
		}
		if got := r.answers(); len(got) != 0 {
			t.Fatalf("cosigned another history: %+v", got[0])
		}
		after(2 * time.Second)
		r.ledger.grow(1, 2)
		r.tell(r.ledger.ask(6))
		if got := r.answers(); len(got) != 1 || got[0].Size != 7 {
			t.Errorf("then %+v", got)
		}
		r.halt()
	})
}

// TestCosignSuccessor: a device cosigns the next half-year's ledger from its beginning,
// and none of the one before any more, also after a kill.
func TestCosignSuccessor(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		first, err := statement.ParseOrigin(origin)
		if err != nil {
			t.Fatal(err)
		}
		r.ledger.grow(5, 1)
		r.start()
		r.connect()
		r.tell(r.ledger.ask(0))
		after(2 * time.Second)
		next := r.ledger.named(first.Next().String())
		next.grow(3, 2)
		m := next.ask(0, 6)
		r.tell(m)
		got := r.answers()
		if len(got) != 2 || got[1].Size != next.tree.Size() || got[1].Origin != originOf(next.origin) {
			t.Fatalf("answers %+v", got)
		}
		killed := t.TempDir()
		if err := os.CopyFS(killed, os.DirFS(r.dir)); err != nil {
			t.Fatal(err)
		}
		r.halt()
		r.dir = killed
		r.start()
		r.connect()
		r.ledger.grow(4, 3)
		r.tell(r.ledger.ask(0, 6))
		fork := next.named(next.origin)
		fork.grow(6, 'f')
		r.tell(fork.ask(0, next.tree.Size()))
		if got := r.answers(); len(got) != 0 {
			t.Fatalf("cosigned an earlier ledger, or another one: %+v", got[0])
		}
		if got := r.state().Checked; got.Origin != originOf(next.origin) || got.Size != next.tree.Size() {
			t.Errorf("verified %+v", got)
		}
		after(2 * time.Second)
		next.grow(1, 4)
		r.tell(next.ask(next.tree.Size() - 1))
		if got := r.answers(); len(got) != 1 || got[0].Size != next.tree.Size() {
			t.Errorf("then %+v", got)
		}
		r.halt()
	})
}

// TestCosignKeepsFirst: a head that the card does not take is not cosigned.
func TestCosignKeepsFirst(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.start()
		r.connect()
		if err := r.memory.Close(); err != nil { // every write fails from now on
			t.Fatal(err)
		}
		r.tell(r.ledger.ask(0))
		if got := r.answers(); len(got) != 0 {
			t.Errorf("cosigned without keeping: %+v", got[0])
		}
		r.halt()
	})
}

func TestCosignNeedsTime(t *testing.T) {
	for q, want := range map[clock.Quality]int{clock.Unset: 0, clock.Restored: 1, clock.RTC: 1, clock.Synchronised: 1} {
		bench(t, func(t *testing.T, r *rig) {
			r.clock.q = q
			r.start()
			r.connect()
			r.tell(r.ledger.ask(0))
			if got := r.answers(); len(got) != want {
				t.Errorf("clock %s: %d cosignatures, want %d", q, len(got), want)
			}
			if got := r.state().Checked.Size; got != 1 {
				t.Errorf("clock %s: verified %d", q, got)
			}
			r.halt()
		})
	}
}

// TestNoWitness: devices that cannot cosign check all the same.
func TestNoWitness(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, r *rig)
		want string
	}{
		"a P-256 key": {func(t *testing.T, r *rig) {
			priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if r.sealer.Signer, err = statement.NewSigner(priv); err != nil {
				t.Fatal(err)
			}
			r.c.Key = r.sealer.Signer.Key().ID()
		}, "P-256"},
		"no memory": {func(_ *testing.T, r *rig) { r.forgetful = true }, "remember"},
	} {
		t.Run(name, func(t *testing.T) {
			bench(t, func(t *testing.T, r *rig) {
				c.make(t, r)
				r.start()
				r.connect()
				r.tell(r.ledger.ask(0))
				r.ledger.grow(3, 1)
				r.tell(r.ledger.ask(1))
				r.tell(r.ledger.fork(4).ask(4))
				if got := r.answers(); len(got) != 0 {
					t.Errorf("%d cosignatures", len(got))
				}
				after(2 * time.Second)
				if s := r.said(); !strings.Contains(s.NoWitness, c.want) || s.Size != 4 || s.Cosigned != 0 {
					t.Errorf("status %+v", s)
				}
				r.halt()
				if n := len(happenings(r.chain(r.card()), statement.Tamper)); n != 1 {
					t.Errorf("%d tamper happenings", n)
				}
			})
		})
	}
}

// TestCosignAfterAlarm: a key that someone else has is no witness.
func TestCosignAfterAlarm(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.c.Stall = 1000 * time.Hour
		sent := r.signed(2)
		r.ledger.add(sent...)
		m := r.ledger.receipts(0, sent...)
		m.Included[0].ID[0]++
		r.tell(m)
		r.up.take()
		after(2 * time.Second)
		r.tell(r.ledger.ask(r.ledger.tree.Size()))
		if got := r.answers(); len(got) != 0 {
			t.Errorf("cosigned with a stolen key: %+v", got[0])
		}
		if s := r.said(); !strings.Contains(s.NoWitness, "someone else") {
			t.Errorf("status %+v", s)
		}
		r.halt()
	})
}

var _ Witness = (*witness.Memory)(nil)
