package e2e

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"trailmark/e2e/stage"
	"trailmark/passport"
	"trailmark/statement"
)

// witnessed is what a verdict says of witnesses.
type witnessed struct {
	Witnesses *struct {
		Quorum  int
		Ledgers []struct {
			Size, Reach int
			Cosigned    []struct{ Name, Label string }
		}
	}
}

// witnessStatus is what an agent says of itself as a witness.
type witnessStatus struct {
	Size     uint64 `json:"checkpoint_size"`
	Cosigned uint64 `json:"cosigned_size"`
	Evidence string `json:"evidence"`
}

func asWitness(t *testing.T, s *stage.Stage, zone string) (w witnessStatus) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.Dir, "agent-"+zone, "status.json"))
	if err != nil {
		return w // not written yet
	}
	if err := json.Unmarshal(data, &w); err != nil {
		t.Fatal(err)
	}
	return w
}

// verdict verifies an item's passport by the built command.
func verdict(t *testing.T, s *stage.Stage, item, file string) (v witnessed, ok bool) {
	t.Helper()
	code, data, err := s.Get(t.Context(), item, passport.MediaType)
	if err != nil || code != 200 || os.WriteFile(file, data, 0o600) != nil {
		return v, false
	}
	out, err := s.Run(t.Context(), "anchor", "verify", "--trust", s.Trust, "--json", file)
	if err != nil {
		t.Fatal(err, out)
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatal(err)
	}
	if v.Witnesses == nil || len(v.Witnesses.Ledgers) != 1 {
		t.Fatalf("no witnesses in %s", out)
	}
	return v, true
}

// TestCosignedPassport: an item's passport shows the cosignatures of two devices or
// more, those that did not measure it too; the served checkpoint is taken with them
// by another implementation; and both go on after kills.
func TestCosignedPassport(t *testing.T) {
	s := startStage(t, "--lead", "1s", "--stay", "1h")
	file := filepath.Join(t.TempDir(), "item.passport")
	quorate := func() bool {
		v, ok := verdict(t, s, s.World.Items[0].Link, file)
		if !ok {
			return false
		}
		l := v.Witnesses.Ledgers[0]
		if v.Witnesses.Quorum != 2 {
			t.Fatalf("quorum %d", v.Witnesses.Quorum)
		}
		return len(l.Cosigned) >= 2 && l.Reach == l.Size
	}
	eventually(t, 60*time.Second, "a passport with a quorum of witnesses", quorate)
	out, err := s.Run(t.Context(), "anchor", "verify", "--trust", s.Trust, file)
	if err != nil || !strings.Contains(out, "of quorum 2 witnesses cosigned; whoever is shown another ledger") || !strings.Contains(out, "simulated: ") {
		t.Errorf("%v\n%s", err, out)
	}

	// The lines of the served checkpoint, to a verifier of another make.
	var served []byte
	eventually(t, 40*time.Second, "a served checkpoint with cosignatures", func() bool {
		code, body, err := s.Get(t.Context(), "/checkpoint", "text/plain")
		served = body
		return err == nil && code == 200 && strings.Count(string(body), "\n— trailmark/device/") >= 2
	})
	var verifiers []note.Verifier
	for _, key := range deviceKeys(t, file) {
		w, err := statement.DeviceWitness(key)
		if err != nil {
			t.Fatal(err)
		}
		v, err := fnote.NewVerifierForCosignatureV1(w.Name + "+00000000+" + base64.StdEncoding.EncodeToString(append([]byte{4}, key.Public().(ed25519.PublicKey)...)))
		if err != nil {
			t.Fatal(err)
		}
		verifiers = append(verifiers, v)
	}
	n, err := note.Open(served, note.VerifierList(verifiers...))
	if err != nil || len(n.Sigs) < 2 {
		t.Fatalf("another implementation: %v\n%s", err, served)
	}
	t.Logf("served with %d cosignatures, checked by github.com/transparency-dev/formats", len(n.Sigs))

	// kill -9 of the gateway and of every agent.
	if err := s.KillGateway(); err != nil {
		t.Fatal(err)
	}
	before := map[string]uint64{}
	for _, z := range s.Zones {
		before[z.Zone] = asWitness(t, s, z.Zone).Cosigned
		if err := s.Kill(stage.AgentName(z)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.StartGateway(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, z := range s.Zones {
		if err := s.StartAgent(z, "not-used-again"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 60*time.Second, "cosignatures after the kills", func() bool {
		for _, z := range s.Zones {
			if asWitness(t, s, z.Zone).Cosigned <= before[z.Zone] {
				return false
			}
		}
		return true
	})
	eventually(t, 30*time.Second, "a passport with a quorum after the kills", quorate)
	for _, z := range s.Zones {
		if w := asWitness(t, s, z.Zone); w.Evidence != "" {
			t.Errorf("%s accuses the ledger: %s", z.Zone, w.Evidence)
		}
	}
	s.Stop()
	out, err = s.Run(t.Context(), "gateway", "fsck", "--dir", s.Dir)
	if err != nil || !strings.Contains(out, ": 0 findings") {
		t.Errorf("fsck: %v\n%s", err, out)
	}
}

// deviceKeys are the devices' keys that a passport's identities name.
func deviceKeys(t *testing.T, file string) (out []statement.Key) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := passport.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range p.Evidence {
		st, err := statement.Parse(e.Statement)
		if err != nil {
			t.Fatal(err)
		}
		if st.Header.Kind != statement.KindIdentity {
			continue
		}
		id, err := st.Identity()
		if err != nil {
			t.Fatal(err)
		}
		if id.Role == statement.RoleDevice {
			out = append(out, id.Key.Key)
		}
	}
	return out
}

// TestForkIsNotCosigned: a gateway that is put back to an older state and goes on
// signs a second history. Every device that had verified more refuses it, keeps
// both heads, and its doctor says so.
func TestForkIsNotCosigned(t *testing.T) {
	s := startStage(t, "--lead", "1s", "--stay", "1h")
	cosigned := func(above uint64) func() bool {
		return func() bool {
			for _, z := range s.Zones {
				if asWitness(t, s, z.Zone).Cosigned <= above {
					return false
				}
			}
			return true
		}
	}
	eventually(t, 60*time.Second, "first cosignatures", cosigned(0))
	if err := s.KillGateway(); err != nil {
		t.Fatal(err)
	}
	own, older := filepath.Join(s.Dir, "gateway"), filepath.Join(t.TempDir(), "older")
	clone := func(from, to string) { // with the modes of its keys
		t.Helper()
		if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	clone(own, older)
	if err := s.StartGateway(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "cosignatures of what the copy does not know", cosigned(asWitness(t, s, s.Zones[0].Zone).Size+5))
	if err := s.KillGateway(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(own); err != nil {
		t.Fatal(err)
	}
	clone(older, own)
	last := map[string]witnessStatus{}
	for _, z := range s.Zones {
		last[z.Zone] = asWitness(t, s, z.Zone)
	}
	if err := s.StartGateway(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 90*time.Second, "every device's evidence", func() bool {
		for _, z := range s.Zones {
			if asWitness(t, s, z.Zone).Evidence == "" {
				return false
			}
		}
		return true
	})
	time.Sleep(3 * s.Anchor) // it goes on asking
	for _, z := range s.Zones {
		w := asWitness(t, s, z.Zone)
		if was := last[z.Zone]; w.Size < was.Size || w.Cosigned != was.Cosigned {
			t.Errorf("%s cosigned up to %d, verified %d; before the fork %d and %d", z.Zone, w.Cosigned, w.Size, was.Cosigned, was.Size)
		}
		text, err := os.ReadFile(filepath.Join(s.Dir, "agent-"+z.Zone, w.Evidence))
		if err != nil || strings.Count(string(text), "\n— ") < 2 {
			t.Errorf("evidence %v:\n%s", err, text)
		}
	}
	z := s.Zones[0]
	out, _ := s.Run(t.Context(), "agent", "doctor", "--dir", filepath.Join(s.Dir, "agent-"+z.Zone)) // it fails, which is the point
	if !strings.Contains(out, "the ledger contradicts itself") {
		t.Errorf("doctor:\n%s", out)
	}
	if out, err := s.Run(t.Context(), "agent", "status", "--dir", filepath.Join(s.Dir, "agent-"+z.Zone)); err != nil || !strings.Contains(out, "evidence in") {
		t.Errorf("status: %v\n%s", err, out)
	}
	t.Logf("cosigned %d entries and no other history of them", last[z.Zone].Cosigned)
}
