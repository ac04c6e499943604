package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"trailmark/internal/epc"
)

// Case is what the items are packed into, on the pallet. It has no tag.
var Case = func() string {
	id, err := epc.SSCC96("9521234", "0000002001", 0)
	if err != nil {
		panic(err) // it is a constant
	}
	return "https://id.gs1.org" + id.Link().Path()
}()

// Object is the name of a thing in events.
func (t Thing) Object() string { return "https://id.gs1.org" + t.Link }

// Tell leaves EPCIS events of now for the gateway.
func (s *Stage) Tell(ctx context.Context, events ...map[string]any) error {
	now := time.Now().UTC()
	for _, e := range events {
		e["eventTime"], e["eventTimeZoneOffset"] = now.Format("2006-01-02T15:04:05.000Z"), "+00:00"
	}
	doc, err := json.Marshal(map[string]any{"@context": []any{"https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld", map[string]string{"trailmark": "urn:trailmark:"}},
		"type": "EPCISDocument", "schemaVersion": "2.0", "creationDate": now.Format(time.RFC3339), "epcisBody": map[string]any{"eventList": events}})
	if err != nil {
		return err
	}
	file := filepath.Join(s.Dir, "events.json")
	if err := os.WriteFile(file, doc, 0o600); err != nil {
		return err
	}
	_, err = s.Run(ctx, "gateway", "event", "--dir", s.Dir, "--file", file)
	return err
}

// Commission is an event: things got their numbers, on tags with these chips.
func Commission(things ...Thing) map[string]any {
	var names []string
	var tags []map[string]string
	for _, t := range things {
		names = append(names, t.Object())
		tags = append(tags, map[string]string{"trailmark:epc": t.Object(), "trailmark:tid": t.TID})
	}
	return map[string]any{"type": "ObjectEvent", "action": "ADD", "bizStep": "commissioning", "disposition": "active", "epcList": names, "ilmd": map[string]any{"trailmark:tags": tags}}
}

// Pack is an event: things were packed into a parent.
func Pack(parent string, things ...string) map[string]any {
	return map[string]any{"type": "AggregationEvent", "action": "ADD", "bizStep": "packing", "parentID": parent, "childEPCs": things}
}

// Unpack is an event: things were taken out of a parent; none: all.
func Unpack(parent string, things ...string) map[string]any {
	if things == nil {
		things = []string{}
	}
	return map[string]any{"type": "AggregationEvent", "action": "DELETE", "bizStep": "unpacking", "parentID": parent, "childEPCs": things}
}

// Custodian makes the key of somebody who has the goods for a while, and says whom
// it speaks as.
func (s *Stage) Custodian(ctx context.Context, id, names string) (string, error) {
	out, err := s.Run(ctx, "gateway", "custodian", "--dir", s.Dir, "--id", id, "--name", names)
	if err != nil {
		return "", err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1], nil
}

var signedAs = regexp.MustCompile(`statement ([0-9a-f]{64})`)

// HandOver lets one custodian ("": the organisation itself) give an object to
// another, who accepts it, each with the temperature digest of the moment.
func (s *Stage) HandOver(ctx context.Context, object, from, to, issuer, place string) error {
	var out string
	err := s.until(ctx, func() (err error) { // the zone where it is has to be on record
		if out, err = s.Run(ctx, "gateway", "handover", "--dir", s.Dir, "--as", from, "--object", object, "--to", issuer, "--place", place); err == nil && !strings.Contains(out, "channel") {
			err = errors.New("nobody saw " + object)
		}
		return err
	})
	id := signedAs.FindStringSubmatch(out)
	if err != nil || id == nil {
		return fmt.Errorf("handover said %q: %w", out, err)
	}
	return s.until(ctx, func() error { // a running gateway takes the handover in within seconds
		_, err := s.Run(ctx, "gateway", "accept", "--dir", s.Dir, "--as", to, "--handover", id[1])
		return err
	})
}

// until tries for 20 seconds.
func (s *Stage) until(ctx context.Context, try func() error) error {
	for end := time.Now().Add(20 * time.Second); ; {
		err := try()
		if err == nil || time.Now().After(end) {
			return err
		}
		if err := sleep(ctx, 300*time.Millisecond); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// Story is the life of the goods along the simulator's route: they are given their
// numbers and packed in a case on the pallet; a carrier takes the pallet over in
// the first zone and hands it to the shop in the last, where all is unpacked. It
// says each step once it is done.
func (s *Stage) Story(ctx context.Context, say func(string)) error {
	carrier, err := s.Custodian(ctx, "carrier", "zh-CN=示例冷链物流,en=Example Cold Chain")
	if err != nil {
		return err
	}
	shop, err := s.Custodian(ctx, "shop", "zh-CN=示例药房,en=Example Pharmacy")
	if err != nil {
		return err
	}
	var items []string
	for _, it := range s.World.Items {
		items = append(items, it.Object())
	}
	pallet := s.World.Pallet.Object()
	if err := s.Tell(ctx, Commission(s.World.Items...), Pack(Case, items...), Pack(pallet, Case)); err != nil {
		return err
	}
	say(fmt.Sprintf("%d items commissioned, packed in a case, the case on a pallet", len(items)))
	first, last := s.World.Route[0], s.World.Route[len(s.World.Route)-1]
	if err := sleep(ctx, time.Until(first.Leave.Add(-first.Leave.Sub(first.Enter)*2/5))); err != nil {
		return err
	}
	if err := s.HandOver(ctx, pallet, "", "carrier", carrier, s.Zones[0].Name); err != nil {
		return err
	}
	say("the carrier took the pallet over, both signed the temperature of that moment")
	if err := sleep(ctx, time.Until(last.Enter.Add(last.Leave.Sub(last.Enter)/4))); err != nil {
		return err
	}
	if err := s.HandOver(ctx, pallet, "carrier", "shop", shop, s.Zones[len(s.Zones)-1].Name); err != nil {
		return err
	}
	say("the shop took the pallet over")
	if err := s.Tell(ctx, Unpack(pallet), Unpack(Case)); err != nil {
		return err
	}
	say("the shop unpacked pallet and case")
	return nil
}
