package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/e2e/stage"
	"trailmark/passport"
)

// itemVerdict is the part of a verdict that the story is about.
type itemVerdict struct {
	Outcome passport.Outcome `json:"outcome"`
	Legs    []struct {
		Zone     string   `json:"zone"`
		Carriers []string `json:"carriers"`
		Channels []struct {
			Channel    string                    `json:"channel"`
			Custodians []passport.CustodianFacts `json:"custodians"`
		} `json:"channels"`
	} `json:"legs"`
	Withheld []json.RawMessage        `json:"withheld"`
	Events   []passport.EventFacts    `json:"journey"`
	Conflict []passport.Contradiction `json:"conflicts"`
	Hidden   []passport.HiddenFacts   `json:"withheld_events"`
	Custody  []passport.CustodyFacts  `json:"custody"`
}

// verifyItem fetches an item's passport and has anchor verify it; false: there is
// none yet.
func verifyItem(t *testing.T, s *stage.Stage, item stage.Thing) (v itemVerdict, ok bool) {
	t.Helper()
	code, data, err := s.Get(t.Context(), item.Link, passport.MediaType)
	if err != nil || code != 200 {
		return v, false
	}
	file := filepath.Join(t.TempDir(), "item.passport")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := s.Run(t.Context(), "anchor", "verify", "--trust", s.Trust, "--json", file)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatal(err)
	}
	return v, true
}

// TestStory: an item is commissioned on its tag, packed in a case on a pallet, handed
// to a carrier and by him to a shop, and unpacked there; its passport shows all of
// it, with the minutes of each custodian. Of another item the maker told a tag that
// is not the one that the readers hear.
func TestStory(t *testing.T) {
	s := startStage(t, "--lead", "3s", "--stay", "6s", "--travel", "1s", "--door", "1s", "--items", "4")
	followed, copied := s.World.Items[0], &s.World.Items[1]
	copied.TID = "e28011602000000000000001"
	if err := s.Story(t.Context(), func(step string) { t.Log(step) }); err != nil {
		t.Fatal(err)
	}
	var v itemVerdict
	eventually(t, 40*time.Second, "the whole story", func() bool {
		v, _ = verifyItem(t, s, followed)
		return len(v.Legs) == 3 && len(v.Withheld) == 0 && len(v.Events) == 5 && len(v.Custody) == 2 && v.Custody[1].Accepted
	})
	if v.Outcome == passport.Incomplete || len(v.Conflict)+len(v.Hidden) > 0 || !v.Custody[0].Accepted {
		t.Errorf("%s, conflicts %v, hidden %v, custody %+v", v.Outcome, v.Conflict, v.Hidden, v.Custody)
	}
	by := map[string]int64{}
	for _, leg := range v.Legs {
		for _, ch := range leg.Channels {
			if len(ch.Custodians) == 0 {
				t.Errorf("leg in %s: nobody answers for %s", leg.Zone, ch.Channel)
			}
			for _, p := range ch.Custodians {
				by[p.ByName] += p.Covered
			}
		}
	}
	if len(by) != 3 || by["示例冷链物流 · Example Cold Chain"] < 6000 || by[""] > 0 {
		t.Errorf("minutes by custodian: %v", by)
	}
	if pallet := s.World.Pallet.Object(); v.Custody[0].Object != pallet || len(v.Legs[1].Carriers) != 1 || v.Legs[1].Carriers[0] != pallet {
		t.Errorf("handed over with %q, seen by %v", v.Custody[0].Object, v.Legs[1].Carriers)
	}
	w, _ := verifyItem(t, s, *copied)
	if w.Outcome != passport.Incomplete && w.Outcome != passport.Beyond || len(w.Conflict) == 0 || w.Conflict[0].Kind != passport.AnotherTag {
		t.Errorf("an item on another tag: %s, %v", w.Outcome, w.Conflict)
	}
	// Staff are told of the copy and of nothing else; whoever looked the item up is
	// counted and no more.
	var findings []struct {
		Kind   string `json:"kind"`
		Object string `json:"object"`
	}
	eventually(t, 20*time.Second, "the finding", func() bool {
		getJSON(t, s, "/api/findings", &findings)
		return len(findings) > 0
	})
	if len(findings) != 1 || findings[0].Kind != "another-tag" || findings[0].Object != copied.Object() {
		t.Errorf("findings %+v", findings)
	}
	var alarms struct {
		Alarms []struct {
			Rule   string `json:"rule"`
			Device string `json:"device"`
		} `json:"alarms"`
	}
	eventually(t, 20*time.Second, "the alarm", func() bool {
		getJSON(t, s, "/api/alarms", &alarms)
		for _, a := range alarms.Alarms {
			if a.Rule == "another-tag" && a.Device == copied.Object() {
				return true
			}
		}
		return false
	})
	for range 2 {
		if code, _, err := s.Get(t.Context(), followed.Link, "text/html"); err != nil || code != 200 {
			t.Fatal(code, err)
		}
	}
	var scans struct {
		First *time.Time `json:"first"`
		Days  []struct {
			State string `json:"state"`
			Count int    `json:"count"`
		} `json:"days"`
	}
	getJSON(t, s, "/api/items/"+strings.TrimPrefix(strings.Replace(followed.Link, "/21/", "/", 1), "/01/")+"/scans", &scans)
	if scans.First == nil || len(scans.Days) != 1 || scans.Days[0].State != "custody" || scans.Days[0].Count != 2 {
		t.Errorf("scans %+v", scans)
	}
}

func getJSON(t *testing.T, s *stage.Stage, path string, into any) {
	t.Helper()
	code, data, err := s.Get(t.Context(), path, "application/json")
	if err != nil || code != 200 {
		t.Fatalf("%s: %d %s %v", path, code, data, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %s: %v", path, data, err)
	}
}
