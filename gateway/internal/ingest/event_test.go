package ingest

import (
	"crypto/sha256"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"trailmark/gateway/internal/epcis/document"
	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

// office is a store with one organisation's key.
type office struct {
	t      *testing.T
	st     *store.Store
	in     *Ingest
	signer *statement.Signer
	kept   []Event
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, signer: signer(t, 41)}
	var err error
	o.st, err = store.Open(t.Context(), t.TempDir())
	o.must(err)
	t.Cleanup(func() { o.st.Close() })
	authority := signer(t, 42)
	o.in, err = New(t.Context(), o.st, statement.NewKeyring("demo/test", authority.Key()), time.Now, slog.New(slog.DiscardHandler))
	o.must(err)
	id, err := authority.Sign(statement.Header{Issuer: "authority", Subject: "0", Audience: "demo/test", Kind: statement.KindIdentity},
		dcbor.MustMarshal(&statement.Identity{Version: 1, Key: statement.PublicKey{Key: o.signer.Key()}, Subject: "https://example.com/417/demo", Role: statement.RoleOrganisation, To: trace.MaxTime}))
	o.must(err)
	o.must(o.in.Add(t.Context(), id))
	return o
}

func (o *office) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) add(e Event) error {
	return o.in.Capture(o.t.Context(), func(c *Capture) error {
		_, err := c.Add(e)
		return err
	}, func(es []Event) error {
		o.kept = append(o.kept, es...)
		return nil
	})
}

const packed = `{"@context":"https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld","type":"AggregationEvent","eventTime":"2026-09-21T15:00:00Z","eventTimeZoneOffset":"+00:00",` +
	`"parentID":"https://id.gs1.org/00/106141412345678908","childEPCs":["https://id.gs1.org/01/10614141073464/21/2017","https://id.gs1.org/01/10614141073464/21/2018"],"action":"ADD","bizStep":"packing","readPoint":{"id":"https://id.gs1.org/414/4012345000016"}}`

// event signs what packed says, changed in the statement, and beside it.
func (o *office) event(change func(*statement.Event, []statement.Item), beside func(*Private)) Event {
	o.t.Helper()
	doc, err := document.ParseEvent([]byte(packed))
	o.must(err)
	m := doc.Members
	seed := [32]byte{7}
	p := Private{Doc: doc.Document(), Seed: seed[:]}
	var items []statement.Item
	for _, x := range m.Items {
		items = append(items, statement.Item{Object: x.Name})
	}
	e := statement.NewEvent(p.Doc, m.Action, m.At, nil, statement.EventOf{Object: m.Named[0]})
	e.Place, e.Step = m.Place, m.Step
	if change != nil {
		change(e, items)
	}
	p.Items, err = statement.NewItems(seed, statement.ListItems, items...)
	o.must(err)
	root := p.Items.Root()
	e.Items = &root
	if beside != nil {
		beside(&p)
	}
	s, err := o.signer.Sign(statement.Header{Issuer: "https://example.com/417/demo", Subject: "demo", Audience: "demo/test", Kind: statement.KindEvent}, dcbor.MustMarshal(e))
	o.must(err)
	return Event{Statement: s, Private: p}
}

// TestCaptureRefuses: an event whose document, leaves or order are not what is
// signed has no effect, though the organisation's own key signed it.
func TestCaptureRefuses(t *testing.T) {
	o := newOffice(t)
	for name, c := range map[string]struct {
		change func(*statement.Event, []statement.Item)
		beside func(*Private)
		want   string
	}{
		"another action": {func(e *statement.Event, _ []statement.Item) { e.Action = statement.Unpack }, nil, "signed are action 3"},
		"another time":   {func(e *statement.Event, _ []statement.Item) { e.At++ }, nil, "the document says"},
		"another place":  {func(e *statement.Event, _ []statement.Item) { e.Place = "https://id.gs1.org/414/4012345000054" }, nil, "the document says"},
		"another step":   {func(e *statement.Event, _ []statement.Item) { e.Step = "" }, nil, "the document says"},
		"another parent": {func(e *statement.Event, _ []statement.Item) {
			e.Objects[0].Object = "https://id.gs1.org/00/340123450000000000"
		}, nil, "object 0 signed"},
		"another child": {func(_ *statement.Event, x []statement.Item) {
			x[1].Object = "https://id.gs1.org/01/10614141073464/21/9"
		}, nil, "object 2 signed"},
		"another order":        {func(_ *statement.Event, x []statement.Item) { x[0], x[1] = x[1], x[0] }, nil, "object 1 signed"},
		"a TID of nowhere":     {func(_ *statement.Event, x []statement.Item) { x[0].TID = []byte("1234") }, nil, "with TID"},
		"a wrong event before": {func(_ *statement.Event, x []statement.Item) { x[0].Prev = statement.Hash{1} }, nil, "before it of https://id.gs1.org/01/10614141073464/21/2017"},
		"no document":          {nil, func(p *Private) { p.Doc = nil }, "without its document"},
		"another document":     {nil, func(p *Private) { p.Doc = append(p.Doc, ' ') }, "document with hash"},
		"a leaf less":          {nil, func(p *Private) { p.Items = p.Items[:1] }, "1 leaves of list 6"},
		"leaves of inputs":     {nil, func(p *Private) { p.Inputs = p.Items }, "which is not signed"},
		"no event":             {func(e *statement.Event, _ []statement.Item) { e.Document = sha256.Sum256([]byte("{}")) }, func(p *Private) { p.Doc = []byte("{}") }, "@context"},
	} {
		if err := o.add(o.event(c.change, c.beside)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if n, err := o.st.Count(t.Context()); err != nil || n != 1 || len(o.kept) != 0 {
		t.Fatalf("%d statements, %d archived, %v", n, len(o.kept), err)
	}
	if err := o.in.Add(t.Context(), o.event(nil, nil).Statement); err == nil || !strings.Contains(err.Error(), "comes with its document") {
		t.Errorf("a statement alone: %v", err)
	}
	good := o.event(nil, nil)
	o.must(o.add(good))
	if err := o.add(good); err == nil || !strings.Contains(err.Error(), "stored is") {
		t.Errorf("twice: %v", err)
	}
	if len(o.kept) != 1 {
		t.Errorf("%d archived", len(o.kept))
	}
	stranger := signer(t, 43)
	s, err := stranger.Sign(good.Statement.Header, good.Statement.Payload)
	o.must(err)
	if err := o.add(Event{s, good.Private}); !errors.Is(err, statement.ErrUntrusted) {
		t.Errorf("of a stranger: %v", err)
	}
}

// TestKeepFails: what the archive does not have is not stored.
func TestKeepFails(t *testing.T) {
	o := newOffice(t)
	boom := errors.New("disk full")
	err := o.in.Capture(t.Context(), func(c *Capture) error {
		_, err := c.Add(o.event(nil, nil))
		return err
	}, func([]Event) error { return boom })
	if n, count := o.st.Count(t.Context()); !errors.Is(err, boom) || count != nil || n != 1 {
		t.Errorf("%v, %d statements", err, n)
	}
}

// TestRestore: an event comes back with all that is left of it, and without what
// was lost or is not what was signed.
func TestRestore(t *testing.T) {
	for name, c := range map[string]struct {
		beside  func(*Private)
		objects int
		doc     bool
		id      bool
	}{
		"whole":       {nil, 3, true, true},
		"forgotten":   {func(p *Private) { p.Doc, p.Seed, p.ID = nil, nil, "urn:x:1" }, 3, false, true},
		"leaves lost": {func(p *Private) { p.Items, p.ID = nil, "urn:x:1" }, 1, false, true},
		"all lost":    {func(p *Private) { *p = Private{} }, 1, false, false},
	} {
		o := newOffice(t)
		e := o.event(nil, c.beside)
		for range 2 { // a second time it is there
			o.must(o.in.Restore(t.Context(), e))
		}
		row, err := o.st.EventAt(t.Context(), 1)
		o.must(err)
		objects, err := o.st.EventObjects(t.Context(), 1)
		o.must(err)
		if (row.Doc != nil) != c.doc || (row.Seed != nil) != c.doc || len(objects) != c.objects || (row.ID != "") != c.id || row.Action != statement.Pack {
			t.Errorf("%s: %+v with %d objects", name, row, len(objects))
		}
	}
	o := newOffice(t)
	if err := o.in.Restore(t.Context(), o.event(nil, func(p *Private) { p.Doc = []byte("{}") })); err == nil || !strings.Contains(err.Error(), "document with hash") {
		t.Errorf("another document: %v", err)
	}
}
