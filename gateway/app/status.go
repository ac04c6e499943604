package app

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"trailmark/gateway/internal/api"
	"trailmark/gateway/internal/store"
	"trailmark/internal/epc"
	"trailmark/statement"
)

// statusItems bounds the items that the status page lists.
const statusItems = 50

// status gathers what the status page shows.
func (g *gateway) status(ctx context.Context) (st api.Status, err error) {
	st.Now = time.Now().UnixMilli()
	st.Ingest = g.ingest.Counters.Snapshot()
	st.Broker = api.Broker{Clients: g.broker.Clients(), Address: g.conf.BrokerURL}

	heads, err := g.store.Heads(ctx)
	if err != nil {
		return st, err
	}
	published, err := g.published(ctx, &st)
	if err != nil {
		return st, err
	}
	traces := map[statement.Hash][]store.Trace{}
	for _, h := range heads {
		if traces[h.KeyID], err = g.store.Traces(ctx, h.KeyID); err != nil {
			return st, err
		}
		d, err := g.device(ctx, h, published)
		if err != nil {
			return st, err
		}
		st.Devices = append(st.Devices, d)
	}
	plan, err := g.office.Plan(ctx)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return st, err
	}
	if plan != nil {
		for _, z := range plan.Zones {
			st.Zones = append(st.Zones, zone(plan, z, traces))
		}
	}
	forks, err := g.store.Forks(ctx)
	if err != nil {
		return st, err
	}
	for _, f := range forks {
		st.Forks = append(st.Forks, api.Fork{KeyID: f.KeyID, Epoch: f.Epoch, Seq: f.Seq})
	}
	if err := g.items(ctx, plan, &st); err != nil {
		return st, err
	}
	r := g.runner.Status()
	st.Anchors = []api.Anchor{{Chain: r.Chain.ChainID, Validators: uint64(r.Chain.Validators), Height: uint64(g.node.Height()),
		Size: r.Last.Size, At: millis(r.Last.Time), Lag: st.Ledger.Entries - min(r.Last.Size, st.Ledger.Entries), Trouble: r.Error}}
	return st, nil
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// published fills in the ledger and gives the size of its newest checkpoint.
func (g *gateway) published(ctx context.Context, st *api.Status) (uint64, error) {
	var err error
	st.Ledger.Origin = g.org.Origin
	if st.Ledger.Entries, err = g.ledger.Size(ctx); err != nil {
		return 0, err
	}
	note, err := g.ledger.Checkpoint(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	c, err := statement.OpenCheckpoint(note, g.org.Origin, g.logKey)
	if err != nil {
		return 0, err
	}
	st.Ledger.Size = c.Size
	if info, err := os.Stat(filepath.Join(g.conf.Dir, ownDir, "ledger", "checkpoint")); err == nil {
		st.Ledger.CheckpointAt = info.ModTime().UnixMilli()
	}
	return c.Size, nil
}

func (g *gateway) device(ctx context.Context, h store.Head, published uint64) (api.Device, error) {
	d := api.Device{KeyID: h.KeyID, Epoch: h.Epoch, Seq: h.Seq, Received: h.Received}
	if id, ok := g.ingest.Identity(h.KeyID); ok {
		d.Name, d.Issuer, d.Simulated = id.Name, id.Subject, id.Simulated
	}
	row, err := g.store.Statement(ctx, h.Index)
	if err != nil {
		return d, err
	}
	s, err := statement.Parse(row.Data)
	if err != nil {
		return d, err
	}
	f, err := s.Frame()
	if err != nil {
		return d, err
	}
	d.Clock, d.MaxError = f.Clock.Quality, f.Clock.MaxError
	if h.Index >= published {
		d.Unreceipted, err = g.store.FramesFrom(ctx, h.KeyID, published)
	}
	return d, err
}

func zone(plan *statement.Plan, z statement.Zone, traces map[statement.Hash][]store.Trace) api.Zone {
	out := api.Zone{ID: z.ID, Name: z.Name, Site: plan.Site}
	for _, c := range z.Channels {
		ch := api.Channel{Device: c.Device, Name: c.Name, Unit: c.Unit, Closeness: c.Closeness, Nominal: c.Nominal, Limits: c.Limits}
		for _, t := range traces[c.Device] {
			if t.Channel != c.Name {
				continue
			}
			if !t.Erased {
				ch.At, ch.Value = t.Last, t.Value
			}
			if head, err := t.Frontier.Head(); err == nil {
				ch.Min, ch.Max = &head.Digest.Min, &head.Digest.Max
			}
		}
		out.Channels = append(out.Channels, ch)
	}
	return out
}

// items lists the tags that name one trade item.
func (g *gateway) items(ctx context.Context, plan *statement.Plan, st *api.Status) error {
	tags, err := g.store.Tags(ctx, statusItems)
	if err != nil {
		return err
	}
	for _, t := range tags {
		id, err := epc.Decode(t.EPC)
		if err != nil || id.GTIN() == "" {
			g.log.Debug("tag that names no item", "epc", hex.EncodeToString(t.EPC))
			continue
		}
		item := api.Item{Link: id.Link(), Last: t.Last}
		if plan != nil {
			if zone, _, ok := plan.Antenna(t.KeyID, t.Antenna); ok {
				z, _ := plan.Zone(zone)
				item.Zone = z.Name
			}
		}
		st.Items = append(st.Items, item)
	}
	return nil
}
