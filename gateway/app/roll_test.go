package app

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"trailmark/gateway/internal/store"
	"trailmark/passport"
)

// running is a gateway in this process, by a clock that the test sets.
type running struct {
	t     *testing.T
	dir   string
	clock atomic.Int64 // ms
	url   string
	stop  func() error
}

func (g *running) set(at time.Time) { g.clock.Store(at.UnixMilli()) }

func (g *running) start() {
	g.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := Default()
	c.Dir, c.HTTP, c.EST, c.MQTT = g.dir, "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	c.AnchorEvery, c.CheckpointEvery = 200*time.Millisecond, 100*time.Millisecond
	c.Now = func() time.Time { return time.UnixMilli(g.clock.Load()) }
	up, ended := make(chan Ready, 1), make(chan error, 1)
	go func() { ended <- Run(ctx, c, slog.New(slog.DiscardHandler), func(r Ready) { up <- r }) }()
	select {
	case r := <-up:
		g.url = r.URL
	case err := <-ended:
		cancel()
		g.t.Fatal(err)
	}
	g.stop = func() error {
		cancel()
		return <-ended
	}
}

func (g *running) get(path string, into any) {
	g.t.Helper()
	r, err := http.Get(g.url + path)
	if err != nil {
		g.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		g.t.Fatalf("%s: %s %s (%v)", path, r.Status, body, err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		g.t.Fatalf("%s: %v", path, err)
	}
}

// product signs one more product, and waits until the gateway has taken it in and
// anchored all that it has.
func (g *running) product(n int) {
	g.t.Helper()
	c := ProductConfig{Dir: g.dir, GTIN: "09521234543213", Name: fmt.Sprintf("en=Product %d", n), Band: "2..8"}
	if err := Product(c, time.Now, io.Discard); err != nil {
		g.t.Fatal(err)
	}
	g.anchored(func(f figures) bool {
		left, err := filepath.Glob(filepath.Join(g.dir, inboxDir, "*.cose"))
		return err == nil && len(left) == 0
	})
}

// anchored waits until a condition holds and all entries are anchored.
func (g *running) anchored(also func(figures) bool) figures {
	g.t.Helper()
	var f figures
	for range 300 {
		g.get("/api/figures", &f)
		if also(f) && f.LedgerSize > 0 && f.Anchored == f.LedgerSize {
			return f
		}
		time.Sleep(50 * time.Millisecond)
	}
	g.t.Fatalf("never anchored: %+v", f)
	return f
}

type listedLedgers struct {
	Ledgers []struct {
		Origin, Path string
		Size         uint64
		Closed       bool
	}
}

// TestHalfYearEnds runs a whole gateway over the end of a half-year, with its real
// store, ledgers and chain: the old ledger is anchored to its end, the new one goes on
// from 0, both are served, a restart and fsck find all of it right, and the trust file
// that was pinned at the start names both. So it is for a folder of an earlier version.
func TestHalfYearEnds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "g")
	made := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	if err := Init(dir, DefaultOrganisation(), false, func() time.Time { return made }, io.Discard); err != nil {
		t.Fatal(err)
	}
	pinned, err := os.ReadFile(filepath.Join(dir, "authority", "trust.cbor"))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := passport.ParseTrust(pinned)
	if err != nil {
		t.Fatal(err)
	}
	g := &running{t: t, dir: dir}
	g.set(made)
	g.start()
	g.product(1)
	first := g.anchored(func(figures) bool { return true })
	if first.Origin != "trailmark.example/demo/2026h2" {
		t.Fatalf("ledger %s", first.Origin)
	}
	g.set(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))
	time.Sleep(1500 * time.Millisecond) // the gateway looks every second
	g.product(2)
	second := g.anchored(func(f figures) bool { return f.Origin == "trailmark.example/demo/2027h1" })
	check := func(sizes ...uint64) {
		t.Helper()
		var list listedLedgers
		g.get("/ledgers", &list)
		if len(list.Ledgers) != len(sizes) {
			t.Fatalf("%+v", list)
		}
		for i, l := range list.Ledgers {
			if l.Size != sizes[i] || l.Closed != (i < len(sizes)-1) {
				t.Errorf("%+v, want size %d", l, sizes[i])
			}
			named := false
			for _, p := range trust.Logs {
				named = named || p.Origin == l.Origin
			}
			if !named {
				t.Errorf("the trust file of the start does not name %s", l.Origin)
			}
		}
	}
	all := second.Statements
	check(all-second.LedgerSize, second.LedgerSize)
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), filepath.Join(dir, ownDir))
	if err != nil {
		t.Fatal(err)
	}
	if a, err := st.LastAnchorOf(t.Context(), first.Origin); err != nil || a.Size != all-second.LedgerSize {
		t.Errorf("the old ledger is anchored at %d of %d (%v)", a.Size, all-second.LedgerSize, err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if damaged, err := Fsck(t.Context(), dir, false, &out, io.Discard); err != nil || damaged {
		t.Fatalf("fsck: %v\n%s", err, &out)
	}
	// A backup of both ledgers, put into a new folder. Nobody has heard of more.
	copied, restored := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "restored")
	if err := Backup(t.Context(), dir, copied, true, &out, io.Discard); err != nil {
		t.Fatalf("backup: %v\n%s", err, &out)
	}
	if err := Restore(t.Context(), copied, restored, false, io.Discard); err != nil {
		t.Fatal(err)
	}
	// Off over a whole half-year.
	g.set(time.Date(2028, 2, 1, 0, 0, 0, 0, time.UTC))
	g.start()
	g.product(3)
	third := g.anchored(func(f figures) bool { return f.Origin == "trailmark.example/demo/2028h1" })
	check(all-second.LedgerSize, third.Statements-third.LedgerSize-(all-second.LedgerSize), third.LedgerSize)
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if damaged, err := Fsck(t.Context(), dir, false, &out, io.Discard); err != nil || damaged {
		t.Fatalf("fsck: %v\n%s", err, &out)
	}
	const authority = "authority/authority.pem" // what a restore leaves to people
	pem, err := os.ReadFile(filepath.Join(dir, authority))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(restored, authority), pem, 0o600); err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, dir: restored}
	r.set(time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC))
	r.start()
	r.product(4)
	if f := r.anchored(func(f figures) bool { return f.LedgerSize > second.LedgerSize }); f.Origin != second.Origin {
		t.Errorf("restored: %+v", f)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
}

// TestFolderOfBefore: a folder from before there were several ledgers goes on with
// its one as the first, at the next migration of its database.
func TestFolderOfBefore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "g")
	made := time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
	if err := Init(dir, DefaultOrganisation(), false, func() time.Time { return made }, io.Discard); err != nil {
		t.Fatal(err)
	}
	g := &running{t: t, dir: dir}
	g.set(made)
	g.start()
	g.product(1)
	was := g.anchored(func(figures) bool { return true })
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	downgrade(t, filepath.Join(dir, ownDir, store.File), 3)
	g.start()
	g.product(2)
	if now := g.anchored(func(f figures) bool { return f.LedgerSize > was.LedgerSize }); now.Origin != was.Origin {
		t.Errorf("%+v after %+v", now, was)
	}
	g.set(time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC))
	time.Sleep(1500 * time.Millisecond)
	g.product(3)
	g.anchored(func(f figures) bool { return f.Origin == "trailmark.example/demo/2027h1" })
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if damaged, err := Fsck(t.Context(), dir, false, &out, io.Discard); err != nil || damaged {
		t.Fatalf("fsck: %v\n%s", err, &out)
	}
}

// downgrade takes a database back to what an earlier version left.
func downgrade(t *testing.T, path string, version int64) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p, err := goose.NewProvider(goose.DialectSQLite3, db, os.DirFS("../internal/store/migrations"), goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.DownTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("UPDATE sqlite_sequence SET seq = $1 WHERE name = 'goose_db_version'", version+1); err != nil { // as if it had never been higher
		t.Fatal(err)
	}
}
