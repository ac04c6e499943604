package alarm

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"
	"unicode/utf8"

	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// maxWindow is the longest time that one event can hold notices back.
const maxWindow = 7 * 24 * time.Hour

// A Window is when work on a zone or a device makes its alarms no news. It is the
// member trailmark:maintenance of an EPCIS event that an organisation signs; the
// objects of the event statement say what is worked on.
type Window struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Why  string    `json:"why"`
}

// maintenance is the member's name.
const maintenance = "trailmark:maintenance"

// ParseWindow reads the maintenance window of an EPCIS event; nil: it has none.
func ParseWindow(epcis []byte) (*Window, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(epcis, &members); err != nil {
		return nil, nil // not ours to judge
	}
	raw, has := members[maintenance]
	if !has {
		return nil, nil
	}
	var w Window
	if err := json.Unmarshal(raw, &w); err != nil {
		return nil, fmt.Errorf("%s: %w", maintenance, err)
	}
	return &w, w.check()
}

func (w *Window) check() error {
	from, to := w.From.UnixMilli(), w.To.UnixMilli()
	switch {
	case from <= 0 || to >= 1<<48 || from >= to:
		return fmt.Errorf("maintenance from %s to %s is no span of time", w.From.Format(time.RFC3339), w.To.Format(time.RFC3339))
	case w.To.Sub(w.From) > maxWindow:
		return fmt.Errorf("maintenance of %v, at most %v\nhint: sign another event when it takes longer", w.To.Sub(w.From), maxWindow)
	case w.Why == "" || len(w.Why) > 256 || !utf8.ValidString(w.Why):
		return errors.New("maintenance without a reason of 1 to 256 bytes")
	}
	return nil
}

// NewWindow is the EPCIS 2.0 event of a maintenance window of objects, which are
// URIs made by ZoneURI or devices' identities.
func NewWindow(w Window, at time.Time, objects []string) ([]byte, error) {
	if err := w.check(); err != nil {
		return nil, err
	}
	_, offset := at.Zone()
	sign := '+'
	if offset < 0 {
		sign, offset = '-', -offset
	}
	w.From, w.To = w.From.UTC(), w.To.UTC()
	return json.Marshal(map[string]any{
		"@context": []any{"https://ref.gs1.org/standards/epcis/epcis-context.jsonld", map[string]string{"trailmark": "https://trailmark.example/ns#"}},
		"type":     "ObjectEvent", "action": "OBSERVE", "bizStep": "inspecting", "epcList": objects,
		"eventTime": at.Format("2006-01-02T15:04:05.000Z07:00"), "eventTimeZoneOffset": fmt.Sprintf("%c%02d:%02d", sign, offset/3600, offset/60%60),
		maintenance: w,
	})
}

// ZoneURI names a zone of a tenant's site as an event's object.
func ZoneURI(zone string) string { return "urn:trailmark:zone:" + url.PathEscape(zone) }

// event takes in a maintenance window. Other events are none of ours.
func (j *judge) event(row store.Statement) error {
	s, err := statement.Parse(row.Data)
	if err != nil {
		j.e.damaged(row, err)
		return nil
	}
	ev, err := s.Event()
	if err != nil {
		j.e.damaged(row, err)
		return nil
	}
	text, objects, err := j.captured(row.Index, ev)
	if err != nil || text == nil {
		return err
	}
	w, err := ParseWindow(text)
	if err != nil {
		j.e.log.Warn("event that says it is a maintenance window is none", "statement", row.ID.String()[:16], "err", err)
		return nil
	}
	if w == nil {
		return nil
	}
	for _, o := range objects {
		if err := j.tx.AddWindow(store.Window{ID: row.ID, Index: row.Index, Issuer: s.Header.Issuer,
			Opens: w.From.UnixMilli(), Closes: w.To.UnixMilli(), Object: o, Why: w.Why}); err != nil {
			return fmt.Errorf("window: %w", err)
		}
	}
	return nil
}

// captured is the EPCIS text of an event and the objects that it is of; no text
// where it was erased. What an event of version 2 hashes only is in its row.
func (j *judge) captured(index uint64, ev *statement.Event) (text []byte, objects []string, err error) {
	if ev.Version == 1 {
		for _, o := range ev.Objects {
			objects = append(objects, o.Object)
		}
		return ev.EPCIS, objects, nil
	}
	e, err := j.tx.EventAt(index)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, nil // brought back after a loss, without its document
	} else if err != nil {
		return nil, nil, fmt.Errorf("window: %w", err)
	}
	rows, err := j.tx.EventObjects(index)
	if err != nil {
		return nil, nil, fmt.Errorf("window: %w", err)
	}
	for _, o := range rows {
		if !slices.Contains(objects, o.Object) {
			objects = append(objects, o.Object)
		}
	}
	return e.Doc, objects, nil
}
