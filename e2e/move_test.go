package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/e2e/stage"
)

// A gateway's own chain becomes the first member of a consortium. The history
// stays, the gateway believes no member, anchors wait while the chain halts, and a
// passport is checked by the trust file from before the move.
func TestMoveToConsortium(t *testing.T) {
	s := startStage(t, "--lead", "1s", "--stay", "1h")
	anchored := func() stage.Figures {
		f, err := s.Figures(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	eventually(t, 40*time.Second, "an anchor on the gateway's own chain", func() bool { return anchored().Anchored > 5 })
	before := anchored()
	old := filepath.Join(t.TempDir(), "trust.cbor")
	trust, err := os.ReadFile(s.Trust)
	if err == nil {
		err = os.WriteFile(old, trust, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.KillGateway(); err != nil {
		t.Fatal(err)
	}

	first := newMember(t)
	first.dir = filepath.Join(s.Dir, "gateway", "chain")
	first.start()
	second := joinBy(t, first)
	agree(t, first, second)
	voteIn(t, second, "Berg", first)
	s.Chain = second.chain()
	if err := s.StartGateway(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 40*time.Second, "anchors by way of the other organisation's member", func() bool { return anchored().Anchored > before.Anchored+3 })
	if st := second.status(); len(st.Origins) != 1 || int64(st.Origins[0].Anchors) < 2 || len(st.Validators) != 2 {
		t.Errorf("the chain after the move: %+v", st)
	}

	first.kill() // one of two: the chain halts
	time.Sleep(time.Second)
	halted := anchored()
	eventually(t, 30*time.Second, "the ledger going on while the chain halts", func() bool { return anchored().LedgerSize > halted.LedgerSize+4 })
	queued := anchored().LedgerSize
	first.start()
	eventually(t, 60*time.Second, "the waiting anchor", func() bool { return anchored().Anchored >= queued })

	item := filepath.Join(t.TempDir(), "item.passport")
	eventually(t, 40*time.Second, "a passport whose anchors the old trust file checks", func() bool {
		code, body, err := s.Get(t.Context(), s.World.Items[0].Link, "application/vnd.trailmark.passport+cbor")
		if err != nil || code != http.StatusOK {
			return false
		}
		if err := os.WriteFile(item, body, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := s.Run(t.Context(), "anchor", "verify", "--trust", old, "--json", item)
		if err != nil && !strings.Contains(out, `"anchors"`) {
			t.Fatalf("%s: %v", out, err)
		}
		return strings.Contains(strings.ReplaceAll(out, " ", ""), `"checked":true`)
	})
	if err := s.KillGateway(); err != nil {
		t.Fatal(err)
	}
	s.Chain = "" // its own validator again would sign a second history
	if err := s.StartGateway(t.Context()); err == nil {
		t.Error("the gateway started its own validator after the move")
	}
}
