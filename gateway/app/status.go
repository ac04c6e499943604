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
	"trailmark/gateway/internal/shard"
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

	if err := g.alarms.attention(ctx, &st, g.private); err != nil {
		return st, err
	}
	heads, err := g.store.Heads(ctx)
	if err != nil {
		return st, err
	}
	published, err := g.published(ctx, &st)
	if err != nil {
		return st, err
	}
	holes, err := g.store.Holes(ctx)
	if err != nil {
		return st, err
	}
	missing := map[statement.Hash]store.Hole{}
	for _, h := range holes {
		missing[h.KeyID] = h
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
		if m, some := missing[h.KeyID]; some && m.Epoch == h.Epoch {
			d.Waiting, d.Missing = m.Waiting, [2]uint64{m.From, m.To}
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
	r := g.runner.Load().Status()
	lag := r.Lag // of a ledger that is over, and all of the present one
	if r.Origin == st.Ledger.Origin {
		lag = st.Ledger.Entries - min(r.Last.Size, st.Ledger.Entries)
	} else {
		lag += st.Ledger.Entries
	}
	st.Anchors = []api.Anchor{{Chain: r.Chain.ChainID, Validators: uint64(r.Chain.Validators), Height: uint64(g.blocks.Height()),
		Size: r.Last.Size, At: millis(r.Last.Time), Lag: lag, Trouble: r.Error}}
	if len(g.others) > 0 {
		readings, err := g.store.Readings(ctx)
		if err != nil {
			return st, err
		}
		st.Anchors = append(st.Anchors, g.chainStatus(st.Ledger.Origin, st.Ledger.Entries, readings)...)
	}
	return st, nil
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// published fills in the current ledger and gives the row after the last one that
// its newest checkpoint covers.
func (g *gateway) published(ctx context.Context, st *api.Status) (uint64, error) {
	var err error
	b := g.shelf.Current()
	st.Ledger.Origin = b.Origin()
	if st.Ledger.Entries, err = b.Ledger.Size(ctx); err != nil {
		return 0, err
	}
	note, err := b.Checkpoint(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return b.First, nil
	} else if err != nil {
		return 0, err
	}
	c, err := statement.OpenCheckpoint(note, b.Origin(), g.logKey)
	if err != nil {
		return 0, err
	}
	st.Ledger.Size = c.Size
	if info, err := os.Stat(filepath.Join(g.conf.Dir, ownDir, shard.Folder(b.N, b.Origin()), "checkpoint")); err == nil {
		st.Ledger.CheckpointAt = info.ModTime().UnixMilli()
	}
	return b.First + c.Size, nil
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
