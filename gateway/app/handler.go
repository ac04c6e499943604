package app

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"trailmark/gateway/internal/api"
	"trailmark/gateway/internal/diversion"
	"trailmark/gateway/internal/journey"
	"trailmark/gateway/internal/route"
	"trailmark/internal/epc"
)

// maxFindings is how many findings one answer has.
const maxFindings = 500

func (g *gateway) handler() (*api.Site, error) {
	trust, err := g.trust.Encode()
	if err != nil {
		return nil, err
	}
	var audit func(context.Context, epc.Link) ([]byte, error)
	if g.conf.AuditOpen {
		audit = composed(g.journey.Audit)
	}
	var findings func(context.Context) ([]diversion.Finding, error)
	if g.private {
		findings = func(ctx context.Context) ([]diversion.Finding, error) { return g.watch.Findings(ctx, "", maxFindings) }
	}
	desk, err := g.desk()
	if err != nil {
		return nil, err
	}
	return api.New(api.Options{
		Scan: g.watch.Scan, Scans: g.watch.Counts, Findings: findings,
		Compose: composed(g.journey.Item), Audit: audit,
		Trust: g.trust, TrustFile: trust, Status: g.status,
		Alarms: g.alarms, Private: g.private,
		Ledger: g.shelf.Handler(), Base: g.conf.Base, Location: time.Local, Log: g.log,
		Product: g.aboutProduct, Seen: g.journey.Seen, Name: desk.Brand.In("zh-CN"), Links: []api.Link{g.eventsLink()},
		More: slices.Concat(g.routes(), desk.Routes(), eventRoutes()),
	})
}

// routes are what the packages around the pages serve.
func (g *gateway) routes() route.Table {
	return route.Table{
		{Method: "GET", Path: "/api/figures", Tag: route.Words{ZH: "关于本网关", EN: "About this gateway"},
			Says:    route.Words{ZH: "网关的计数，供脚本使用", EN: "The gateway's counts, for scripts"},
			Answers: []route.Answer{{Status: 200, Type: "application/json", Says: route.Words{ZH: "计数", EN: "the counts"}, Schema: route.Schema[figures]()}},
			Serve:   g.figures},
	}
}

// composed tells the pages what they know of a journey's errors.
func composed(compose func(context.Context, epc.Link) ([]byte, error)) func(context.Context, epc.Link) ([]byte, error) {
	return func(ctx context.Context, item epc.Link) ([]byte, error) {
		data, err := compose(ctx, item)
		if errors.Is(err, journey.ErrNotYet) {
			return nil, api.ErrNotYet
		}
		return data, err
	}
}

// figures answers with the gateway's counts, for scripts.
func (g *gateway) figures(w http.ResponseWriter, r *http.Request) error {
	f, err := g.count(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	return json.NewEncoder(w).Encode(f)
}

// figures are what scripts ask for.
type figures struct {
	Readings   uint64            `json:"readings"`
	Statements uint64            `json:"statements"`
	LedgerSize uint64            `json:"ledger_size"`
	Anchored   uint64            `json:"anchored_size"`
	Height     int64             `json:"anchored_height"`
	Origin     string            `json:"origin"` // of the ledger that takes entries; ledger_size is its size
	Forks      int               `json:"forks"`  // second statements for one number, kept as evidence: at most 100 are counted
	Holes      []hole            `json:"holes"`  // what devices have not sent, and others of their frames wait for
	Counters   map[string]uint64 `json:"counters"`
	Chains     []chainFigures    `json:"chains,omitempty"`
}

// hole is frames of a device that are missing.
type hole struct {
	Device  string `json:"device"`
	Epoch   uint64 `json:"epoch"`
	From    uint64 `json:"from_seq"`
	To      uint64 `json:"to_seq"`
	Waiting uint64 `json:"waiting"`
}

func (g *gateway) count(ctx context.Context) (f figures, err error) {
	if f.Readings, err = g.store.Readings(ctx); err != nil {
		return f, err
	}
	if f.Statements, err = g.store.Count(ctx); err != nil {
		return f, err
	}
	b := g.shelf.Current()
	f.Origin = b.Origin()
	if f.LedgerSize, err = b.Ledger.Size(ctx); err != nil {
		return f, err
	}
	last := g.runner.Load().Status().Last
	f.Height = last.Height
	if last.Origin == f.Origin {
		f.Anchored = last.Size
	}
	forks, err := g.store.Forks(ctx)
	if err != nil {
		return f, err
	}
	holes, err := g.store.Holes(ctx)
	if err != nil {
		return f, err
	}
	f.Forks, f.Holes = len(forks), make([]hole, len(holes))
	for i, h := range holes {
		f.Holes[i] = hole{h.KeyID.String(), h.Epoch, h.From, h.To, h.Waiting}
	}
	f.Counters = g.ingest.Counters.Snapshot()
	f.Counters["cosigned"], f.Counters["cosignature_refused"] = g.witnesses.Counts()
	for _, a := range g.chainStatus(f.Origin, f.LedgerSize, f.Readings) {
		open := 0
		for _, alarm := range a.Alarms {
			if alarm.Ended == 0 {
				open++
			}
		}
		f.Chains = append(f.Chains, chainFigures{a.Chain, a.Size, a.Lag, a.State, a.Trouble, a.Gas, a.Fee, a.FeeReadings, len(a.Alarms), open})
	}
	return f, nil
}

// chainFigures are of one chain beside the embedded one.
type chainFigures struct {
	Chain      string `json:"chain"`
	Anchored   uint64 `json:"anchored_size"`
	Lag        uint64 `json:"lag"`
	State      string `json:"state"`
	Trouble    string `json:"trouble"`
	Gas        uint64 `json:"gas_per_anchor"`
	Fee        string `json:"fee_per_anchor"`
	Readings   string `json:"fee_per_1000_readings"`
	Alarms     int    `json:"alarms"`
	AlarmsOpen int    `json:"alarms_open"`
}
