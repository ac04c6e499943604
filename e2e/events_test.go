package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"trailmark/e2e/stage"
)

// epcisGet asks the gateway and gives status and body.
func epcisGet(t *testing.T, s *stage.Stage, path string) (int, string) {
	t.Helper()
	code, data, err := s.Get(t.Context(), path, "application/ld+json")
	if err != nil {
		t.Fatal(err)
	}
	return code, string(data)
}

func epcisPost(t *testing.T, s *stage.Stage, path, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/ld+json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(data)
}

// oneEvent is an event with a context of its own.
func oneEvent(kind, rest string) string {
	return fmt.Sprintf(`{"@context":"https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld","type":"%s","eventTime":"%s","eventTimeZoneOffset":"+00:00",%s}`,
		kind, time.Now().UTC().Format(time.RFC3339Nano), rest)
}

// TestEvents: goods are commissioned, packed, made into others, recalled and handed
// over beside the running gateway; a document is forgotten; and a gateway whose
// database was lost has every event again, but for what was forgotten.
func TestEvents(t *testing.T) {
	s := startStage(t, "--lead", "1s", "--stay", "1h")
	item, link := s.World.Items[0].URI, "https://id.gs1.org"+s.World.Items[0].Link
	const pallet, product = "https://id.gs1.org/00/106141412345678908", "https://id.gs1.org/01/04012345111118/21/P1"

	res, body := epcisPost(t, s, "/epcis/events", oneEvent("ObjectEvent", `"epcList":["`+item+`"],"action":"ADD","bizStep":"commissioning"`))
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("%s: %s", res.Status, body)
	}
	commissioned := res.Header.Get("Location")
	// By the command line.
	file := filepath.Join(t.TempDir(), "pack.json")
	if err := os.WriteFile(file, []byte(oneEvent("AggregationEvent", `"parentID":"`+pallet+`","childEPCs":["`+item+`"],"action":"ADD","bizStep":"packing"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := gatewayRun(t, s, "event", "--file", file); !strings.Contains(out, "AggregationEvent ni:///sha-256;") {
		t.Errorf("%s", out)
	}
	packed := "/epcis/events?MATCH_parentID=" + url.QueryEscape(pallet)
	eventually(t, 20*time.Second, "the event of the inbox", func() bool {
		_, body := epcisGet(t, s, packed)
		return strings.Contains(body, `"AggregationEvent"`)
	})
	if left, err := filepath.Glob(filepath.Join(s.Dir, "inbox", "event-*")); err != nil || len(left) > 0 {
		t.Errorf("a document is left in the inbox: %v, %v", left, err)
	}
	// A wrong one leaves nothing.
	if err := os.WriteFile(file, []byte(oneEvent("AggregationEvent", `"childEPCs":["`+item+`"],"action":"ADD"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := s.Run(t.Context(), "gateway", "event", "--dir", s.Dir, "--file", file); err == nil || !strings.Contains(err.Error(), "has no parent") {
		t.Errorf("%s %v", out, err)
	}

	to := filepath.Join(t.TempDir(), "backup")
	if out, err := s.Run(t.Context(), "gateway", "backup", "--dir", s.Dir, "--to", to); err != nil || !strings.Contains(out, "0 findings") {
		t.Fatal(out, err)
	}
	res, body = epcisPost(t, s, "/epcis/events", oneEvent("TransformationEvent", `"inputEPCList":["`+pallet+`"],"outputEPCList":["`+product+`"]`))
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("%s: %s", res.Status, body)
	}
	made := res.Header.Get("Location")

	// What the devices signed of it.
	signed := "/epcis/signed/events?MATCH_epc=" + url.QueryEscape(link)
	eventually(t, 60*time.Second, "a signed reading", func() bool {
		_, body := epcisGet(t, s, signed)
		return strings.Contains(body, `"uom":"CEL"`) && strings.Contains(body, `"trailmark:evidence":"device-signed"`)
	})
	var reached []struct {
		Object string `json:"object"`
		Why    string `json:"why"`
	}
	if err := json.Unmarshal([]byte(gatewayRun(t, s, "recall", "--object", item, "--json")), &reached); err != nil || len(reached) != 3 || reached[2].Object != product || reached[2].Why != "made from" {
		t.Errorf("%v, %v", reached, err)
	}
	if out := gatewayRun(t, s, "recall", "--object", item); !strings.Contains(out, "2 objects, 1 of them products") {
		t.Errorf("%s", out)
	}
	// Custody, with the zone's temperature.
	const own = "https://trailmark.example/417/demo"
	out := gatewayRun(t, s, "handover", "--object", item, "--to", own, "--place", "dock 4")
	id := regexp.MustCompile(`statement ([0-9a-f]{64})`).FindStringSubmatch(out)
	if id == nil || !strings.Contains(out, "channel 28-") {
		t.Fatalf("%s", out)
	}
	eventually(t, 20*time.Second, "the handover", func() bool {
		out, err := s.Run(t.Context(), "gateway", "accept", "--dir", s.Dir, "--handover", id[1])
		return err == nil && strings.Contains(out, "acceptance signed") && strings.Contains(out, "channel 28-")
	})
	// The document of the commissioning goes; its statement stays.
	path, err := url.PathUnescape(strings.TrimPrefix(commissioned, "/epcis/events/"))
	if err != nil {
		t.Fatal(err)
	}
	gatewayRun(t, s, "event", "--forget", path)
	eventually(t, 20*time.Second, "forgetting", func() bool {
		code, _ := epcisGet(t, s, commissioned)
		return code == http.StatusGone
	})
	settled(t, s, 2)
	if err := s.KillGateway(); err != nil {
		t.Fatal(err)
	}
	loseStore(t, s)
	if out, err := s.Run(t.Context(), "gateway", "restore", "--from", to, "--dir", s.Dir, "--store-only"); err != nil {
		t.Fatal(out, err)
	}
	if err := s.StartGateway(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code, body := epcisGet(t, s, made); code != 200 || !strings.Contains(body, product) {
		t.Errorf("an event from after the backup: %d %s", code, body)
	}
	if code, body := epcisGet(t, s, commissioned); code != http.StatusGone {
		t.Errorf("a forgotten document came back from the backup: %d %s", code, body)
	}
	if res, body := epcisPost(t, s, "/epcis/events", oneEvent("ObjectEvent", `"epcList":["`+product+`"],"action":"OBSERVE"`)); res.StatusCode != http.StatusCreated {
		t.Errorf("%s: %s", res.Status, body)
	}
	settled(t, s, 2)
	s.Stop()
	if out, err := s.Run(t.Context(), "gateway", "fsck", "--dir", s.Dir); err != nil {
		t.Errorf("%s %v", out, err)
	}
}
