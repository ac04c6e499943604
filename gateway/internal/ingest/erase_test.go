package ingest

import (
	"bytes"
	"database/sql"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trailmark/gateway/internal/store"
	"trailmark/internal/device"
	"trailmark/statement"
)

// readings gives a frame sixty readings of its own, and so many sightings that
// what is left after an erasure is longer than all was before.
func readings(r *rand.Rand) func(*device.Input) {
	return func(in *device.Input) {
		c := device.ChannelReadings{Channel: channel}
		for i := range int64(60) {
			c.Times = append(c.Times, in.Clock.Wall-(59-i)*1000)
			c.Values = append(c.Values, r.Int64N(16000))
		}
		in.Readings = []device.ChannelReadings{c}
		for i := range byte(20) {
			g := *in.Sightings[0]
			g.EPC = bytes.Repeat([]byte{i + 1}, 12)
			in.Sightings = append(in.Sightings, &g)
		}
	}
}

// blockOf is the block of the nth frame as an erasure names it.
func (w *world) blockOf(n uint64) (store.Block, *statement.Erasure) {
	w.t.Helper()
	found, err := w.st.BlocksOf(w.t.Context(), w.dev.Key().ID(), channel, n, n)
	if err != nil || len(found) != 1 {
		w.t.Fatalf("frame %d: %d blocks, %v", n, len(found), err)
	}
	b := found[0]
	d := w.delivery(n)
	return b, &statement.Erasure{Version: 1, Frame: d.Statement.ID(), At: w.now, Why: "test", Records: []statement.Erased{{Index: 0, Hash: d.Leaves[0], Kind: statement.RecordBlock,
		Block: &statement.ErasedBlock{Channel: channel, Start: b.Start.Hash(), N: b.N, Digest: b.Digest}}}}
}

func (w *world) delivery(n uint64) *store.Delivery {
	w.t.Helper()
	row, err := w.st.Frame(w.t.Context(), w.dev.Key().ID(), 0, n)
	if err != nil {
		w.t.Fatal(err)
	}
	d, err := row.Delivery()
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) erase(e *statement.Erasure) {
	w.t.Helper()
	if err := w.in.Add(w.t.Context(), w.sign(w.site, statement.KindErasure, "site", e)); err != nil {
		w.t.Fatal(err)
	}
}

// files are all bytes of the store's folder.
func (w *world) files() (all []byte) {
	w.t.Helper()
	names, err := filepath.Glob(filepath.Join(w.dir, "*"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, data...)
	}
	return all
}

// TestErase: what is erased leaves the files, everything else stays and verifies,
// and no resend brings it back.
func TestErase(t *testing.T) {
	w := newWorld(t)
	r := rand.New(rand.NewPCG(1, 2))
	const frames = 200
	var ups [][]byte
	for range frames {
		s := w.seal(readings(r))
		ups = append(ups, s.Up)
		w.accept(s.Up)
	}
	gone := r.Perm(frames)[:frames/2]
	if !slices.Contains(gone, frames-1) {
		gone = append(gone, frames-1) // the newest: the next frame rests on it
	}
	var secrets [][]byte // of what goes
	var kept [][]byte    // of what stays, to see that the search finds
	for n := range frames {
		d := w.delivery(uint64(n))
		body := bytes.Clone(d.Bodies[0].Data)
		if !slices.Contains(gone, n) {
			kept = append(kept, body)
			continue
		}
		salt := statement.Salt(d.Seed, 0)
		// SQLite puts what is too long for a page into chains of pages: any part counts.
		for at := 64; at+24 <= len(body); at += 24 { // from the values on
			secrets = append(secrets, body[at:at+24])
		}
		secrets = append(secrets, bytes.Clone(d.Seed[:]), salt[:])
	}
	for _, n := range gone {
		_, e := w.blockOf(uint64(n))
		w.erase(e)
	}
	if err := w.st.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := w.files()
	for _, s := range secrets {
		if bytes.Contains(all, s) {
			t.Fatalf("% x is still in the files", s)
		}
	}
	for _, s := range kept {
		if !bytes.Contains(all, s[64:88]) {
			t.Fatal("a block that was not erased is not found")
		}
	}

	for _, n := range gone {
		d := w.delivery(uint64(n))
		if d.Contents[0] != nil || d.Records[0] != nil || d.Seed != [32]byte{} || len(d.Records) != 23 {
			t.Fatalf("frame %d after its erasure: %+v", n, d.Contents)
		}
		if _, ok := d.Contents[1].(*statement.HeadRecord); !ok {
			t.Fatalf("frame %d lost its head", n)
		}
	}
	traces, err := w.st.Traces(t.Context(), w.dev.Key().ID())
	if err != nil || len(traces) != 1 || !traces[0].Erased || traces[0].Value != 0 {
		t.Errorf("the newest reading after its erasure: %+v, %v", traces, err)
	}
	w.open()                    // as after a restart
	w.accept(ups[frames-1:]...) // sent again
	if n := w.in.Counters.Snapshot()["repeated"]; n != 1 {
		t.Errorf("%d repeated", n)
	}
	if d := w.delivery(frames - 1); d.Contents[0] != nil {
		t.Error("a resend brought an erased block back")
	}
	_, again := w.blockOf(uint64(gone[0]))
	again.At++
	w.erase(again) // once more: nothing left to forget
	w.accept(w.seal(readings(r)).Up)
	if traces, err = w.st.Traces(t.Context(), w.dev.Key().ID()); err != nil || traces[0].Erased {
		t.Errorf("a new reading is not shown: %+v, %v", traces, err)
	}
}

// TestErasureRefused: an erasure that is not exactly of what the ledger says
// changes nothing.
func TestErasureRefused(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.accept(w.seal().Up)
	}
	other := signer(t, 9)
	if err := w.in.Add(t.Context(), w.identity(other, statement.RoleSite, "other")); err != nil {
		t.Fatal(err)
	}
	_, next := w.blockOf(2)
	for name, c := range map[string]struct {
		by     *statement.Signer
		iss    string
		change func(*statement.Erasure)
		want   string
	}{
		"another site":  {other, "other", func(*statement.Erasure) {}, "no plan of other lists channel"},
		"a device":      {w.dev, "urn:dev:os:32473-d", func(*statement.Erasure) {}, "role"},
		"unknown trace": {w.site, "site", func(e *statement.Erasure) { e.Records[0].Block.Start[0] ^= 1 }, "no trace"},
		"unknown block": {w.site, "site", func(e *statement.Erasure) { e.Records[0].Block.N = 99 }, "no trace"},
		"digest":        {w.site, "site", func(e *statement.Erasure) { e.Records[0].Block.Digest.Sum++ }, "is not block 1 of its trace"},
		"channel":       {w.site, "site", func(e *statement.Erasure) { e.Records[0].Block.Channel = "x" }, "is not block 1 of its trace"},
		"frame":         {w.site, "site", func(e *statement.Erasure) { e.Frame = next.Frame }, "is of another frame"},
		"hash":          {w.site, "site", func(e *statement.Erasure) { e.Records[0].Hash[0] ^= 1 }, "is not the one with this hash"},
		"head": {w.site, "site", func(e *statement.Erasure) {
			e.Records[0].Index, e.Records[0].Hash = 1, w.delivery(1).Leaves[1]
		}, "is no block of"},
		"beyond": {w.site, "site", func(e *statement.Erasure) { e.Records[0].Index = 99 }, "is not the one with this hash"},
		"two frames": {w.site, "site", func(e *statement.Erasure) {
			r := next.Records[0]
			r.Index = 1
			e.Records = append(e.Records, r)
		}, "is of another frame"},
		"no block": {w.site, "site", func(e *statement.Erasure) {
			e.Records[0].Kind, e.Records[0].Block = statement.RecordSighting, nil
		}, "only readings are erased here"},
	} {
		t.Run(name, func(t *testing.T) {
			_, e := w.blockOf(1)
			c.change(e)
			before, err := w.st.Count(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := w.in.Add(t.Context(), w.sign(c.by, statement.KindErasure, c.iss, e)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if after, err := w.st.Count(t.Context()); err != nil || after != before {
				t.Errorf("%d statements became %d, %v", before, after, err)
			}
			if w.delivery(1).Contents[0] == nil {
				t.Error("the block is gone")
			}
		})
	}
}

// TestDamagedRemains: what is left of a frame is checked against its root.
func TestDamagedRemains(t *testing.T) {
	w := newWorld(t)
	w.accept(w.seal().Up)
	_, e := w.blockOf(0)
	w.erase(e)
	db, err := sql.Open("sqlite", filepath.Join(w.dir, store.File))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	row, err := w.st.Frame(t.Context(), w.dev.Key().ID(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var good []byte
	if err := db.QueryRow("SELECT kept FROM statement WHERE idx = ?", row.Index).Scan(&good); err != nil {
		t.Fatal(err)
	}
	for at := range good {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		if _, err := db.Exec("UPDATE statement SET kept = ? WHERE idx = ?", bad, row.Index); err != nil {
			t.Fatal(err)
		}
		row, err := w.st.Frame(t.Context(), w.dev.Key().ID(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := row.Delivery(); err == nil {
			t.Fatalf("byte %d of %d changed unseen", at, len(good))
		}
	}
}

// TestRevokedFrames: from a seq on a key's frames are refused, those waiting and
// those after a restart too; earlier ones are taken.
func TestRevokedFrames(t *testing.T) {
	w := newWorld(t)
	var ups [][]byte
	for range 4 {
		ups = append(ups, w.seal().Up)
	}
	w.accept(ups[0])
	w.accept(ups[2]) // waits for 1
	kid := w.dev.Key().ID()
	status := func(revoked ...statement.Revoked) error {
		return w.in.Add(t.Context(), w.sign(w.authority, statement.KindKeyStatus, "authority",
			&statement.KeyStatus{Version: 1, Origin: "o", At: w.now, InForce: []statement.Hash{}, Revoked: append([]statement.Revoked{}, revoked...)}))
	}
	if err := status(statement.Revoked{KeyID: kid, Seq: 3}, statement.Revoked{KeyID: kid, Seq: 2}); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string][]statement.Revoked{"taken back": nil, "eased": {{KeyID: kid, Seq: 3}}, "of a later epoch": {{KeyID: kid, Epoch: 1}}} {
		if err := status(r...); err == nil || !strings.Contains(err.Error(), "for ever") {
			t.Errorf("revocation %s: %v", name, err)
		}
	}
	out := w.give(ups[1])
	if len(out[0].Receipts) != 1 || out[0].Err == nil || w.heads()[0].Seq != 1 {
		t.Errorf("the frame before the revocation, with the waiting one after: %+v", out[0])
	}
	w.open()
	w.refuse(Revoked, ups[2])
	w.refuse(Revoked, ups[3])
	if r, ok := w.in.Revoked(kid); !ok || r.Seq != 2 {
		t.Errorf("after a restart: %+v, %v", r, ok)
	}
}
