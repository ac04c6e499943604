package app

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"trailmark/gateway/internal/enrol"
	"trailmark/gateway/internal/epcis"
	"trailmark/gateway/internal/epcis/document"
	"trailmark/gateway/internal/ingest"
	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// Suffixes of files in the inbox that are about events.
const (
	captureSuffix = ".epcis"         // a document to capture, all of it or nothing
	proceedSuffix = ".proceed.epcis" // what is right of it
	forgetSuffix  = ".forget"        // the eventID of an event whose document is to be erased
)

func (g *gateway) repository() *epcis.Repository {
	return epcis.New(epcis.Options{Store: g.store, Desk: gate{g}, Add: func(ctx context.Context, s *statement.Statement) error { return gate{g}.Add(ctx, s) },
		Sign: vouched(g, g.keys.Event), SignHandover: vouched(g, g.keys.Handover), SignAcceptance: vouched(g, g.keys.Acceptance),
		Issuer: g.org.Issuer(), Zone: zoneURI, Open: g.private, Log: g.log})
}

// vouched signs only with a key that the ledger knows.
func vouched[T any](g *gateway, sign func(T) (*statement.Statement, error)) func(T) (*statement.Statement, error) {
	return func(v T) (*statement.Statement, error) {
		if g.keys.Organisation == nil {
			return nil, epcis.NoKey()
		}
		if _, known := g.ingest.Identity(g.keys.Organisation.Key().ID()); !known {
			return nil, epcis.NoKey()
		}
		return sign(v)
	}
}

// zoneURI is the place of a zone: a location of the site, as GS1 writes one where
// the site's name is a GLN.
func zoneURI(site, zone string) string {
	if strings.HasPrefix(site, "https://") || strings.HasPrefix(site, "http://") {
		return site + "/254/" + url.PathEscape(zone)
	}
	return site + ":" + url.PathEscape(zone)
}

// join has the organisation's key vouched for in a folder from before there was one.
func (g *gateway) join(ctx context.Context) error {
	if g.keys.Organisation != nil {
		if _, known := g.ingest.Identity(g.keys.Organisation.Key().ID()); known {
			return nil
		}
	}
	s, err := g.keys.Join(g.conf.Dir)
	if errors.Is(err, enrol.ErrNoAuthority) {
		g.log.Warn("no events can be captured: nobody vouched for the organisation's key", "hint", "bring the authority's folder back and start the gateway once")
		return nil
	} else if err != nil {
		return err
	}
	return gate{g}.Add(ctx, s)
}

// Capture is ingest's, with the archive before the commit and the ledger after it.
func (t gate) Capture(ctx context.Context, fn func(*ingest.Capture) error) error {
	err := t.g.ingest.Capture(ctx, fn, func(events []ingest.Event) error {
		if err := t.g.archive().SaveEvents(events...); err != nil {
			return fmt.Errorf("archive of events: %w", err)
		}
		return nil
	})
	if err == nil {
		t.g.seq.Wake()
	}
	return err
}

// Plan is a plan that the site signed.
func (t gate) Plan(id statement.Hash) (*statement.Plan, bool) { return t.g.ingest.Plan(id) }

// sweepEvents takes in what the inbox has of events.
func (g *gateway) sweepEvents(ctx context.Context) error {
	names, err := filepath.Glob(filepath.Join(g.conf.Dir, inboxDir, "*"))
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		take := g.takeCapture
		if strings.HasSuffix(name, forgetSuffix) {
			take = g.takeForget
		} else if !strings.HasSuffix(name, captureSuffix) {
			continue
		}
		if err := take(ctx, name); err != nil {
			g.log.Error("events in the inbox refused", "file", name, "err", err)
			if err := os.Rename(name, name+".refused"); err != nil {
				return err
			}
			continue
		}
		// It goes: what lists siblings stands in the store, where it can be erased.
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

func (g *gateway) takeCapture(ctx context.Context, name string) error {
	data, err := readBounded(name, document.MaxSize)
	if err != nil {
		return err
	}
	job, err := g.events.Capture(ctx, data, strings.HasSuffix(name, proceedSuffix))
	if err != nil {
		return err
	}
	g.log.Info("events captured", "file", filepath.Base(name), "events", len(job.Events), "refused", len(job.Errors))
	for _, p := range job.Errors {
		g.log.Error("event refused", "file", filepath.Base(name), "err", p)
	}
	return nil
}

func (g *gateway) takeForget(ctx context.Context, name string) error {
	id, err := readBounded(name, 1024)
	if err != nil {
		return err
	}
	events, err := g.store.EventsByID(ctx, strings.TrimSpace(string(id)))
	if err != nil {
		return err
	}
	if len(events) == 0 {
		return fmt.Errorf("no event %q was captured", id)
	}
	for _, e := range events { // the archive first: it is what says that they stay away
		row, err := g.store.Statement(ctx, e.Index)
		if err != nil {
			return err
		}
		s, err := statement.Parse(row.Data)
		if err != nil {
			return err
		}
		if err := g.archive().Forget(s); err != nil {
			return err
		}
	}
	if _, err := g.ingest.Forget(ctx, strings.TrimSpace(string(id))); err != nil {
		return err
	}
	g.unscrubbed.Store(true)
	return nil
}

func readBounded(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, most)
}

func readAll(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("more than %d bytes", most)
	}
	return data, err
}

// EventConfig is what `gateway event` needs.
type EventConfig struct {
	Dir     string
	File    string // "-": standard input
	Proceed bool
	Forget  string // eventID, instead of File
}

// Event checks an EPCIS document and leaves it for the gateway to capture, or has
// the document of an event erased.
func Event(c EventConfig, stdin io.Reader, out io.Writer) error {
	if _, err := loadOrganisation(c.Dir); err != nil {
		return err
	}
	switch {
	case (c.File == "") == (c.Forget == ""):
		return errors.New("what to capture, or to forget?\nhint: --file event.json, --file - or --forget EVENTID")
	case c.Forget != "":
		name := fmt.Sprintf("event-%x%s", sum(c.Forget), forgetSuffix)
		if err := enrol.WriteFile(filepath.Join(c.Dir, inboxDir, name), []byte(c.Forget+"\n"), 0o600); err != nil {
			return err
		}
		_, err := fmt.Fprintf(out, "the document of event %s will be forgotten; a running gateway does so within seconds, one that is stopped when it starts\nits statement stays in the ledger, and every proof of it\n", c.Forget)
		return err
	}
	var data []byte
	var err error
	if c.File == "-" {
		data, err = readAll(stdin, document.MaxSize)
	} else {
		data, err = readBounded(c.File, document.MaxSize)
	}
	if err != nil {
		return err
	}
	all, err := document.Parse(data)
	if err != nil {
		return fmt.Errorf("%s: nothing of it was left for the gateway:\n%w", c.File, err)
	}
	var wrong document.Errors
	for _, one := range all {
		wrong = append(wrong, one.Errors...)
	}
	if len(wrong) > 0 && !c.Proceed {
		return fmt.Errorf("%s: nothing of it was left for the gateway:\n%w\nhint: --proceed captures the events that are right", c.File, wrong)
	}
	suffix := captureSuffix
	if c.Proceed {
		suffix = proceedSuffix
	}
	if err := leave(c.Dir, data, suffix); err != nil {
		return err
	}
	for _, one := range all {
		if one.Event != nil {
			fmt.Fprintf(out, "%s %s, %d objects\n", one.Event.Type, one.Event.ID, len(one.Event.Members.Named)+len(one.Event.Members.Items)+len(one.Event.Members.Inputs))
		}
	}
	for _, e := range wrong {
		fmt.Fprintf(out, "refused: %v\n", e)
	}
	_, err = fmt.Fprintln(out, "left for the gateway: a running one captures it within seconds, one that is stopped when it starts")
	return err
}

// leave puts a document where the gateway captures it, in the order of being left.
func leave(dir string, data []byte, suffix string) error {
	name := fmt.Sprintf("event-%020d-%x%s", time.Now().UnixNano(), sum(string(data)), suffix)
	return enrol.WriteFile(filepath.Join(dir, inboxDir, name), data, 0o600)
}

// sum names files.
func sum(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:8]
}

// Recall lists every object that a recalled one reaches.
func Recall(ctx context.Context, dir, object string, asJSON bool, out io.Writer) error {
	if _, err := loadOrganisation(dir); err != nil {
		return err
	}
	st, err := openStore(ctx, dir)
	if err != nil {
		return err
	}
	defer st.Close()
	reached, err := epcis.Recall(ctx, st, object)
	if err != nil {
		return err
	}
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(reached)
	}
	products := 0
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range reached {
		if r.Why == epcis.MadeFrom {
			products++
		}
		at := "-"
		if r.Why != epcis.Recalled {
			at = time.UnixMilli(r.At).UTC().Format(time.RFC3339)
		}
		note := r.Why
		if r.Of != "" {
			note += " " + r.Of
		}
		if r.Unpacked {
			note += ", unpacked since"
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\n", r.Depth, r.Object, at, note)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d objects, %d of them products; what no event names cannot be found\n", len(reached)-1, products)
	return err
}

// HandoverConfig is what `gateway handover` needs.
type HandoverConfig struct {
	Dir     string
	Objects []string
	To      string
	Place   string
	As      string // id of the custodian who gives; "": the organisation itself
}

// Handover signs that objects are given to somebody, and leaves it for the gateway.
func Handover(ctx context.Context, c HandoverConfig, now func() time.Time, out io.Writer) error {
	return transfer(ctx, c.Dir, c.As, now, out, "handover", func(w work) (*statement.Statement, []statement.Moment, error) {
		h, err := epcis.Handover(ctx, w.st, c.Objects, c.To, c.Place, now())
		if err != nil {
			return nil, nil, err
		}
		s, err := w.Handover(h)
		return s, h.Moments, err
	})
}

// Accept signs that what a handover names was taken over, by a custodian or, where
// as is "", by the organisation itself, and leaves it for the gateway.
func Accept(ctx context.Context, dir, as, handover string, now func() time.Time, out io.Writer) error {
	id, err := epcis.ParseID(handover)
	if err != nil {
		return err
	}
	return transfer(ctx, dir, as, now, out, "acceptance", func(w work) (*statement.Statement, []statement.Moment, error) {
		a, err := epcis.Acceptance(ctx, w.st, id, w.issuer, now())
		if err != nil {
			return nil, nil, err
		}
		s, err := w.Acceptance(a)
		return s, a.Moments, err
	})
}

// party signs changes of custody.
type party interface {
	Handover(*statement.Handover) (*statement.Statement, error)
	Acceptance(*statement.Acceptance) (*statement.Statement, error)
}

// work is what a change of custody is made from.
type work struct {
	party
	issuer string
	st     *store.Store
}

// partyOf is a custodian, or the organisation itself where as is "".
func partyOf(dir, as string, org enrol.Organisation, now func() time.Time) (party, string, error) {
	if as != "" {
		c, err := enrol.LoadCustodian(dir, as, org)
		if err != nil {
			return nil, "", err
		}
		return c, c.Issuer, nil
	}
	keys, err := enrol.LoadKeys(dir, org, now)
	return keys, org.Issuer(), err
}

func transfer(ctx context.Context, dir, as string, now func() time.Time, out io.Writer, what string, sign func(work) (*statement.Statement, []statement.Moment, error)) error {
	org, err := loadOrganisation(dir)
	if err != nil {
		return err
	}
	p, issuer, err := partyOf(dir, as, org, now)
	if err != nil {
		return err
	}
	st, err := openStore(ctx, dir)
	if err != nil {
		return err
	}
	defer st.Close()
	s, moments, err := sign(work{p, issuer, st})
	if err != nil {
		return err
	}
	if err := toInbox(dir, fmt.Sprintf("%s-%015d-%s", what, now().UnixMilli(), s.ID().String()[:16]), s); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s signed by %s, statement %s\n", what, issuer, s.ID())
	for _, m := range moments {
		d := m.Head.Digest
		fmt.Fprintf(out, "  channel %s of device %.16s…: %d blocks until %s, min %s, max %s\n", m.Channel, m.Device, m.Head.Size,
			time.UnixMilli(d.T1).UTC().Format(time.RFC3339), milli(d.Min), milli(d.Max))
	}
	if len(moments) == 0 {
		fmt.Fprintln(out, "  no device saw the objects in a zone with channels: no temperature is signed with it")
	}
	_, err = fmt.Fprintln(out, "a running gateway takes it in within seconds, one that is stopped when it starts")
	return err
}

// CustodianConfig is what `gateway custodian` needs.
type CustodianConfig struct{ Dir, ID, Name string }

// Custodian makes a key for somebody who has the goods for a while, and has the
// authority vouch for it.
func Custodian(c CustodianConfig, now func() time.Time, out io.Writer) error {
	org, err := loadOrganisation(c.Dir)
	if err != nil {
		return err
	}
	keys, err := enrol.LoadKeys(c.Dir, org, now)
	if err != nil {
		return err
	}
	custodian, s, err := keys.Custodian(c.Dir, c.ID, c.Name)
	if err != nil {
		return err
	}
	if err := toInbox(c.Dir, "custodian-"+c.ID, s); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "custodian %s speaks as\n%s\n", c.ID, custodian.Issuer)
	return err
}

func milli(v int64) string { return strconv.FormatFloat(float64(v)/1000, 'f', 3, 64) }
