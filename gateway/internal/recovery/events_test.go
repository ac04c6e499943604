package recovery

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/gateway/internal/epcis/document"
	"trailmark/gateway/internal/ingest"
	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

// TestEventsComeBack: events that the archive holds become the rows that they were,
// a forgotten one without its document, a damaged one without its leaves.
func TestEventsComeBack(t *testing.T) {
	authority, organisation := signer(t, 1), signer(t, 3)
	id, err := authority.Sign(statement.Header{Issuer: "authority", Subject: "0", Audience: audience, Kind: statement.KindIdentity},
		dcbor.MustMarshal(&statement.Identity{Version: 1, Key: statement.PublicKey{Key: organisation.Key()}, Subject: "urn:x:org", Role: statement.RoleOrganisation, To: trace.MaxTime}))
	if err != nil {
		t.Fatal(err)
	}
	a := Archive(t.TempDir())
	entries := list{id.Entry()}
	var events []ingest.Event
	for i, serial := range []string{"1", "2", "3"} {
		doc, err := document.ParseEvent([]byte(`{"@context":"` + document.Context + `","type":"ObjectEvent","eventTime":"2026-09-21T15:00:00Z","eventTimeZoneOffset":"+00:00","epcList":["https://id.gs1.org/01/10614141073464/21/` + serial + `"],"action":"ADD"}`))
		if err != nil {
			t.Fatal(err)
		}
		seed := [32]byte{byte(i)}
		items, err := statement.NewItems(seed, statement.ListItems, statement.Item{Object: doc.Members.Items[0].Name})
		if err != nil {
			t.Fatal(err)
		}
		s, err := organisation.Sign(statement.Header{Issuer: "urn:x:org", Subject: "demo", Audience: audience, Kind: statement.KindEvent},
			dcbor.MustMarshal(statement.NewEvent(doc.Document(), statement.Commission, doc.Members.At, items)))
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, ingest.Event{Statement: s, Private: ingest.Private{ID: doc.ID, Doc: doc.Document(), Seed: seed[:], Items: items}})
		entries = append(entries, s.Entry())
	}
	if err := a.Save(id); err != nil {
		t.Fatal(err)
	}
	if err := a.SaveEvents(events...); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second time changes nothing
		if err := a.Forget(events[1].Statement); err != nil {
			t.Fatal(err)
		}
	}
	if !a.Forgotten(events[1].Statement) || a.Forgotten(events[0].Statement) || !a.HasPrivate(events[1].Statement) {
		t.Error("the archive does not know what was forgotten")
	}
	for _, e := range []ingest.Event{events[1]} {
		names, err := filepath.Glob(filepath.Join(string(a), "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			data, err := os.ReadFile(n)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(filepath.Base(n), e.Statement.Entry().String()) && strings.Contains(string(data), `"doc"`) {
				t.Errorf("%s still has the document", n)
			}
		}
	}
	if err := os.WriteFile(a.path(events[2].Statement, privateSuffix), []byte(`{"items":["AAAA"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	quiet := slog.New(slog.DiscardHandler)
	in, err := ingest.New(t.Context(), st, statement.NewKeyring(audience, authority.Key()), time.Now, quiet)
	if err != nil {
		t.Fatal(err)
	}
	others, err := a.Load()
	if err != nil || len(others) != 4 {
		t.Fatal(len(others), err)
	}
	r, err := New(t.Context(), Options{Store: st, Books: []Book{{Ledger: entries, Size: 4, Origin: origin}}, Ingest: in, Audience: audience, Log: quiet, Private: a.Private,
		Post: func(context.Context, statement.Hash, []byte) error { return nil }}, others)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Done() {
		t.Fatal(r.Status())
	}
	for i, want := range []struct {
		doc, id bool
		objects int
	}{{true, true, 1}, {false, true, 1}, {false, false, 0}} {
		e, err := st.EventAt(t.Context(), uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		objects, err := st.EventObjects(t.Context(), uint64(i+1))
		if err != nil || (e.Doc != nil) != want.doc || (e.ID != "") != want.id || len(objects) != want.objects {
			t.Errorf("event %d: %+v, %d objects, %v", i, e, len(objects), err)
		}
	}
}
