package epcis

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"trailmark/gateway/internal/epcis/document"
	"trailmark/gateway/internal/store"
	"trailmark/internal/epc"
	"trailmark/statement"
	"trailmark/trace"
)

// maxSeen bounds the sightings that are read for one answer.
const maxSeen = 50_000

const hour = 3_600_000 // ms

// A stay is a run of sightings of an object in one zone, none further apart than
// the plan in force says means "there all along".
type stay struct {
	site     string // the plan's issuer
	zone     statement.Zone
	from, to int64
	by       statement.Hash // device that saw it last
	antenna  string
}

// signedEvents answers with what devices signed of an object: for each hour that it
// was seen in a zone an ObjectEvent, with the digest of each block of readings of
// the zone's channels.
func (r *Repository) signedEvents(w http.ResponseWriter, req *http.Request) error {
	values := req.URL.Query()
	for name := range values {
		if !slices.Contains([]string{"MATCH_epc", "GE_eventTime", "LT_eventTime", "perPage", "nextPageToken"}, name) {
			return problemf(http.StatusBadRequest, parameter, "parameter %.60q is not supported here", name)
		}
	}
	q, err := queryOf(without(values, "MATCH_epc"))
	if err != nil {
		return err
	}
	name, err := document.ObjectName(values.Get("MATCH_epc"))
	if err != nil || len(values["MATCH_epc"]) != 1 {
		return problemf(http.StatusBadRequest, parameter, "MATCH_epc=%.120s: one item or logistic unit is asked for", values.Get("MATCH_epc"))
	}
	object, err := epc.ParseObject(name)
	if err != nil || object.Lot != "" {
		return problemf(http.StatusBadRequest, parameter, "MATCH_epc=%.120s is no item or logistic unit, which a tag could name", name)
	}
	stays, err := r.stays(req.Context(), object, q.From, q.To)
	if err != nil {
		return err
	}
	hours := hoursOf(stays, q.From, q.To)
	hours = slices.DeleteFunc(hours, func(h seen) bool { return h.order(q.AfterTime, q.AfterIndex) <= 0 })
	if len(hours) >= q.Limit {
		hours = hours[:q.Limit-1]
		next(w, req, token(hours[len(hours)-1].to, hours[len(hours)-1].key()))
	}
	list, said := []json.RawMessage{}, document.Said{}
	for _, h := range hours {
		e, err := r.signedEvent(req.Context(), name, h)
		if err != nil {
			return err
		}
		list, said.Signed = append(list, e.Document()), append(said.Signed, e.ID)
	}
	return reply(w, req, http.StatusOK, document.QueryDocument(r.Now(), list, said))
}

func without(values url.Values, name string) url.Values {
	rest := maps.Clone(values)
	delete(rest, name)
	return rest
}

// seen is a stay's part in one hour, [from, to].
type seen struct {
	stay
	from, to int64
}

// key tells zones apart that were left in the same millisecond.
func (s seen) key() uint64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s.site + "\x00" + s.zone.ID)) // it never fails
	return uint64(h.Sum32())
}

func (s seen) order(at int64, key uint64) int {
	return cmp.Or(cmp.Compare(s.to, at), cmp.Compare(s.key(), key))
}

// hoursOf divides stays at full hours; to is 0 for no end.
func hoursOf(stays []stay, from, to int64) (out []seen) {
	for _, s := range stays {
		for at := s.from; at <= s.to; at = at - at%hour + hour {
			end := min(s.to, at-at%hour+hour-1)
			if end >= from && (to == 0 || end < to) {
				out = append(out, seen{s, at, end})
			}
		}
	}
	slices.SortFunc(out, func(a, b seen) int { return a.order(b.to, b.key()) })
	return out
}

// stays are those of an object that have a part in [from, to) ms; to 0: no end.
func (r *Repository) stays(ctx context.Context, object epc.Object, from, to int64) ([]stay, error) {
	found, err := Sightings(ctx, r.Store, object)
	if err != nil {
		return nil, err
	}
	if to > 0 {
		found = slices.DeleteFunc(found, func(s store.Sighting) bool { return s.First >= to })
	}
	if len(found) > maxSeen {
		return nil, problemf(http.StatusBadRequest, parameter, "%d sightings, the most that are read at once are %d; ask for a part by GE_eventTime and LT_eventTime", len(found), maxSeen)
	}
	frames := map[uint64]*statement.Frame{}
	issuers := map[statement.Hash]string{}
	var out []stay
	for _, s := range found {
		f := frames[s.Index]
		if f == nil {
			if f, err = r.frame(ctx, s.Index); err != nil {
				return nil, err
			}
			frames[s.Index] = f
		}
		plan, known := r.Desk.Plan(f.Plan)
		if !known || f.Basis() != trace.Wall {
			continue
		}
		id, _, ok := plan.Antenna(s.KeyID, s.Antenna)
		zone, _ := plan.Zone(id)
		if !ok {
			continue
		}
		site, known := issuers[f.Plan]
		if !known {
			if site, err = r.issuer(ctx, f.Plan); err != nil {
				return nil, err
			}
			issuers[f.Plan] = site
		}
		if n := len(out); n > 0 && out[n-1].zone.ID == id && out[n-1].site == site && s.First-out[n-1].to <= zone.ReRead {
			last := &out[n-1]
			last.to, last.by, last.antenna, last.zone = max(last.to, s.Last), s.KeyID, s.Antenna, zone
			continue
		}
		out = append(out, stay{site, zone, s.First, s.Last, s.KeyID, s.Antenna})
	}
	return slices.DeleteFunc(out, func(s stay) bool { return s.to < from }), nil
}

func (r *Repository) frame(ctx context.Context, index uint64) (*statement.Frame, error) {
	row, err := r.Store.Statement(ctx, index)
	if err != nil {
		return nil, err
	}
	s, err := statement.Parse(row.Data)
	if err != nil {
		return nil, fmt.Errorf("stored statement %d: %w", index, err)
	}
	return s.Frame()
}

func (r *Repository) issuer(ctx context.Context, plan statement.Hash) (string, error) {
	row, err := r.Store.StatementByID(ctx, plan)
	if err != nil {
		return "", err
	}
	s, err := statement.Parse(row.Data)
	if err != nil {
		return "", err
	}
	return s.Header.Issuer, nil
}

func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }

// signedEvent is one hour of a stay as an event.
func (r *Repository) signedEvent(ctx context.Context, object string, h seen) (*document.Event, error) {
	event := map[string]any{"@context": []any{document.Context, map[string]string{"trailmark": document.Prefix}},
		"type": "ObjectEvent", "eventTime": stamp(h.to), "eventTimeZoneOffset": "+00:00", "epcList": []string{object}, "action": "OBSERVE",
		"readPoint":          map[string]any{"id": r.Zone(h.site, h.zone.ID)},
		"trailmark:evidence": "device-signed", "trailmark:seenFrom": stamp(h.from), "trailmark:seenBy": r.device(h.by), "trailmark:antenna": h.antenna}
	elements, err := r.elements(ctx, h)
	if err != nil {
		return nil, err
	}
	if len(elements) > 0 {
		event["sensorElementList"], event["bizStep"] = elements, "sensor_reporting"
	}
	data, err := json.Marshal(event)
	if err != nil {
		return nil, err
	}
	e, err := document.ParseEvent(data)
	if err != nil {
		return nil, fmt.Errorf("event of %s at %s: %w", object, stamp(h.to), err)
	}
	return e, nil
}

// maxElements bounds the sensor elements of one event.
const maxElements = 400

// elements are the blocks of an hour, or of a zone with very many of them one
// element for each channel.
func (r *Repository) elements(ctx context.Context, h seen) ([]any, error) {
	type reading struct {
		ch statement.Channel
		b  store.Block
	}
	var all []reading
	whole := map[int]trace.Digest{} // of a channel's blocks, by its first one's place in all
	for _, ch := range h.zone.Channels {
		blocks, err := r.Store.BlocksIn(ctx, ch.Device, ch.Name, h.from, h.to+1)
		if err != nil {
			return nil, err
		}
		first := len(all)
		for i, b := range blocks {
			all = append(all, reading{ch, b})
			d := b.Digest
			if i > 0 {
				was := whole[first]
				d = trace.Digest{T0: was.T0, T1: max(was.T1, d.T1), Covered: was.Covered + d.Covered, Sum: was.Sum + d.Sum, Min: min(was.Min, d.Min), Max: max(was.Max, d.Max)}
			}
			whole[first] = d
		}
	}
	var out []any
	for i, x := range all {
		if len(all) > maxElements {
			d, first := whole[i]
			if !first {
				continue
			}
			x.b.Digest = d
		}
		row, err := r.Store.Statement(ctx, x.b.Index)
		if err != nil {
			return nil, err
		}
		out = append(out, r.element(x.ch, x.b, row.ID))
	}
	return out, nil
}

// device is the URI that a device speaks as.
func (r *Repository) device(kid statement.Hash) string {
	if id, ok := r.Desk.Identity(kid); ok {
		return id.Subject
	}
	return document.Prefix + "key:" + kid.String()
}

// element is the digest of one block: what the device signed of it.
func (r *Repository) element(ch statement.Channel, b store.Block, frame statement.Hash) any {
	metadata := map[string]any{"startTime": stamp(b.Digest.T0), "endTime": stamp(b.Digest.T1), "deviceID": r.device(b.KeyID),
		"deviceMetadata": document.Prefix + "key:" + b.KeyID.String(), "rawData": document.Prefix + "statement:" + frame.String(), "trailmark:evidence": "device-signed"}
	if id, ok := r.Desk.Identity(b.KeyID); ok && id.Simulated {
		metadata["trailmark:simulated"] = true
	}
	report := map[string]any{"minValue": thousandths(b.Digest.Min), "maxValue": thousandths(b.Digest.Max),
		"meanValue": thousandths(mean(b.Digest)), "trailmark:channel": ch.Name}
	if u, ok := units[ch.Unit]; ok {
		report["type"], report["uom"] = u[0], u[1]
	} else {
		report["type"], report["trailmark:unit"] = document.Prefix+"senml:"+url.PathEscape(ch.Unit), ch.Unit
	}
	return map[string]any{"sensorMetadata": metadata, "sensorReport": []any{report}}
}

// units are SenML units as the CBV's kind of measurement and a UN/CEFACT code.
var units = map[string][2]string{"Cel": {"Temperature", "CEL"}, "K": {"Temperature", "KEL"}, "%RH": {"RelativeHumidity", "P1"}, "Pa": {"Pressure", "PAL"},
	"lx": {"Illuminance", "LUX"}, "V": {"Voltage", "VLT"}, "A": {"ElectricCurrent", "AMP"}, "W": {"Power", "WTT"}, "J": {"Energy", "JOU"},
	"Hz": {"Frequency", "HTZ"}, "m/s2": {"Acceleration", "MSK"}, "kg": {"Mass", "KGM"}, "m": {"Length", "MTR"}}

// mean is rounded to the nearest thousandth, halves away from zero.
func mean(d trace.Digest) int64 {
	half := d.Covered / 2
	if d.Sum < 0 {
		half = -half
	}
	return (d.Sum + half) / d.Covered
}

func thousandths(v int64) json.Number {
	return json.Number(strconv.FormatFloat(float64(v)/1000, 'f', -1, 64))
}

// Sightings are those of every tag that names an object, by time.
func Sightings(ctx context.Context, st *store.Store, object epc.Object) ([]store.Sighting, error) {
	return st.SightingsOf(ctx, object.Tags(), 0, 1<<48, 1<<62)
}
