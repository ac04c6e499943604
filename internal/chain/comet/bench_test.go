package comet

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
)

// BenchmarkAnchor is one anchor after the other, each final.
func BenchmarkAnchor(b *testing.B) {
	admin, gateway := newKey(b), newKey(b)
	l := newTestLog(b, "trailmark.example/acme/2026h1")
	n := start(b, b.TempDir(), admin)
	submit(b, n, l.register(admin, 1, gateway))
	size := uint64(0)
	for b.Loop() {
		size++
		submit(b, n, l.anchor(gateway, size))
	}
}

// BenchmarkOpen reads the journal of a chain that has been anchoring for long.
func BenchmarkOpen(b *testing.B) {
	for _, anchors := range []uint64{1_000, 100_000} {
		b.Run(fmt.Sprintf("anchors=%d", anchors), func(b *testing.B) {
			admin := newKey(b)
			l := newTestLog(b, "trailmark.example/acme/2026h1")
			file := filepath.Join(b.TempDir(), "state.journal")
			s := must(newState(testGenesis(public(admin))))(b)
			j, _, err := openJournal(file, s.repeat)
			if err != nil {
				b.Fatal(err)
			}
			block := func(change func(*batch) error) {
				next := s.begin(s.height + 1)
				next.open(s.now, nil)
				if err := change(next); err != nil {
					b.Fatal(err)
				}
				opening := must(next.finish())(b)
				raw := must(encodeRecord(&next.record))(b)
				if _, err := j.f.Write(raw); err != nil { // without fsync
					b.Fatal(err)
				}
				if err := s.commit(next, opening); err != nil {
					b.Fatal(err)
				}
			}
			block(func(t *batch) error { return t.register(Registration{Revision: 1, Origin: l.origin, LogKey: l.key}) })
			for size := range anchors {
				block(func(t *batch) error { return t.anchor(hashOf(l.origin), size+1, rootOf(size+1)) })
				block(func(*batch) error { return nil }) // the block that follows each
			}
			if err := j.close(); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				a := must(openApp(file, testGenesis(public(admin)), nil, slog.New(slog.DiscardHandler)))(b)
				if a.state.appHash != s.appHash {
					b.Fatal("another state")
				}
				if err := a.close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
