package comet

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// oldHome unpacks a chain with five anchors of crashLog that the release before
// votes and dated history made, by crashAdmin's and crashSender's keys.
func oldHome(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	f := must(os.Open("testdata/home-v1.tar.gz"))(t)
	defer f.Close()
	for r := tar.NewReader(must(gzip.NewReader(f))(t)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return home
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(home, filepath.Clean("/"+h.Name))
		if h.FileInfo().IsDir() {
			err = os.MkdirAll(path, 0o700)
		} else {
			err = os.WriteFile(path, must(io.ReadAll(r))(t), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A chain of the release before keeps its history, gets its times, and goes on
// under the new rules; a reader that comes first finds it whole, too.
func TestOldHome(t *testing.T) {
	home := oldHome(t)
	ar := must(OpenArchive(home, testChain))(t)
	if got := ar.Sizes(crashOrigin); len(got) != 5 {
		t.Errorf("the archive has sizes %v", got)
	}
	if err := ar.Close(); err != nil {
		t.Error(err)
	}
	var said strings.Builder
	conf := Config{Home: home, ChainID: testChain, Admin: public(crashAdmin), Log: slog.New(slog.NewTextHandler(&said, nil))}
	n := must(Start(t.Context(), conf))(t)
	for _, want := range []string{"chain state migrated", "chain upgraded"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	l := crashLog(t)
	submit(t, n, l.anchor(crashSender, 6))
	all := must(n.Anchors(crashOrigin, 0, 10))(t)
	if len(all) != 6 {
		t.Fatalf("%d anchors, want 6", len(all))
	}
	if err := n.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, a := range all {
		d, ok := n.app.state.history.at(a.Height)
		if !ok || !d.time.Equal(a.Time) || d.hash != a.BlockHash {
			t.Errorf("anchor %d is dated %+v, its block %s %x", i, d, a.Time, a.BlockHash)
		}
	}
	hash, version := n.app.state.appHash, n.app.governance().version
	stop(t, n)
	if version != stateVersion {
		t.Errorf("version %d, want %d", version, stateVersion)
	}
	// All of it again from the blocks alone, as a new member executes them.
	if err := os.Remove(filepath.Join(home, "validator", "data", "state.journal")); err != nil {
		t.Fatal(err)
	}
	n = must(Start(t.Context(), conf))(t)
	defer stop(t, n)
	if n.app.state.appHash != hash {
		t.Errorf("executed anew the state hashes to %x, want %x", n.app.state.appHash, hash)
	}
}
