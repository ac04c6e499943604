package llrp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	wire "trailmark/internal/llrp"
)

// agree makes both sides speak LLRP 1.1 if the reader knows it. A reader of 1.0.1
// answers with an error, or with none, or closes.
func (s *session) agree(ctx context.Context) error {
	if s.old {
		return nil
	}
	var refused *wire.StatusError
	b, err := s.ask(ctx, wire.GetSupportedVersion, nil, func(m wire.Message) error {
		if m.Type == wire.ErrorMessage { // some readers put no id into this one
			return refusal(m)
		}
		return s.handle(ctx, m)
	})
	if err != nil {
		s.old = ctx.Err() == nil
		if errors.As(err, &refused) {
			return nil
		}
		return err
	}
	v, err := wire.DecodeVersions(b)
	if err != nil {
		return err
	}
	if v.Supported >= wire.Version11 && v.Current != wire.Version11 {
		if _, err := s.request(ctx, wire.SetProtocolVersion, wire.EncodeVersion(wire.Version11)); err != nil {
			return err
		}
		v.Current = wire.Version11
	}
	s.version = v.Current
	return nil
}

// learn asks what the reader can do, and whether that is enough.
func (s *session) learn(ctx context.Context) error {
	b, err := s.request(ctx, wire.GetReaderCapabilities, wire.AllCapabilities())
	if err != nil {
		return err
	}
	if s.caps, err = wire.DecodeCapabilities(b); err != nil {
		return err
	}
	for _, a := range s.o.Antennas {
		if n := s.caps.Antennas; n > 0 && a > n {
			return fmt.Errorf("llrp: antenna %d of a reader with %d\nhint: name the antennas it has", a, n)
		}
	}
	if s.caps.Manufacturer != wire.VendorImpinj {
		return nil
	}
	_, err = s.request(ctx, wire.CustomMessage, wire.EnableImpinj())
	s.impinj = err == nil
	s.fastID = s.impinj && !s.o.EPCOnly
	return s.refused(ctx, "reader refuses its maker's extensions", err)
}

// refused passes on err unless it is a refusal that we can do without: that is
// told to the log.
func (s *session) refused(ctx context.Context, what string, err error) error {
	var refused *wire.StatusError
	if errors.As(err, &refused) {
		s.o.Log.WarnContext(ctx, what, slog.Any("error", err))
		return nil
	}
	return err
}

// clear takes off what sessions of ours left behind, and what of others keeps
// the antennas or the place that we need.
func (s *session) clear(ctx context.Context) error {
	forAccess := s.caps.MaxAccessSpecs
	if s.o.EPCOnly || s.fastID {
		forAccess = 0 // we need no place there
	}
	for _, kind := range []struct {
		list, delete wire.MessageType
		places       uint32 // 0: does not matter
	}{
		{wire.GetAccessSpecs, wire.DeleteAccessSpec, forAccess},
		{wire.GetROSpecs, wire.DeleteROSpec, s.caps.MaxROSpecs},
	} {
		b, err := s.request(ctx, kind.list, nil)
		if err != nil {
			return err
		}
		specs, err := wire.DecodeSpecs(b)
		if err != nil {
			return err
		}
		kept := uint32(0)
		for _, spec := range specs {
			ours := spec.ID&^(ownIDs-1) == own
			holds := kind.list == wire.GetROSpecs && spec.State == wire.StateActive || kind.places > 0 && kept+1 >= kind.places
			if !ours && !holds {
				kept++
				continue
			}
			if !ours {
				s.o.Log.WarnContext(ctx, "somebody else's spec deleted: it held what we need", slog.String("kind", kind.delete.String()), slog.Any("id", spec.ID))
			}
			if _, err := s.request(ctx, kind.delete, wire.EncodeROSpecID(spec.ID)); err != nil {
				return err
			}
		}
	}
	return nil
}

// configure makes the reader tell us whether it lives and what happens to it.
func (s *session) configure(ctx context.Context) error {
	config := wire.Config{
		Keepalive: new(keepalive),
		Hold:      new(false),
		Events: map[wire.EventType]bool{wire.EventROSpec: true, wire.EventBuffer: true,
			wire.EventException: true, wire.EventAntenna: true},
	}
	_, err := s.request(ctx, wire.SetReaderConfig, config.Encode())
	return err
}

// start adds our specs and starts the inventory.
func (s *session) start(ctx context.Context) error {
	spec, err := s.inventory()
	if err != nil {
		return err
	}
	b, err := spec.Encode()
	if err != nil {
		return err
	}
	if _, err := s.request(ctx, wire.AddROSpec, b); err != nil {
		return err
	}
	if !s.fastID && !s.o.EPCOnly {
		err := s.refused(ctx, "reader refuses to read tids", s.access(ctx))
		if err != nil {
			return err
		}
	}
	if _, err := s.request(ctx, wire.EnableROSpec, wire.EncodeROSpecID(s.id)); err != nil {
		return err
	}
	s.running = time.Now() // the first read may overtake the response
	_, err = s.request(ctx, wire.StartROSpec, wire.EncodeROSpecID(s.id))
	return err
}

// inventory is our ROSpec.
func (s *session) inventory() (wire.ROSpec, error) {
	antennas := s.o.Antennas
	if len(antennas) == 0 {
		antennas = []uint16{0}
	}
	how := &wire.Inventory{Session: s.o.Session, Population: s.o.Population}
	if s.o.Power > 0 {
		t, err := transmit(s.caps, s.o.Power)
		if err != nil {
			return wire.ROSpec{}, err
		}
		how.Transmit = &t
	}
	if s.impinj && s.o.Session < 2 {
		how.Search = wire.SearchDual
	}
	return wire.ROSpec{ID: s.id, AISpecs: []wire.AISpec{{Antennas: antennas, Inventory: how}},
		Report: &wire.ReportSpec{Trigger: wire.ReportEndAISpec, N: 1, SerializedTID: s.fastID,
			Content: wire.HasROSpecID | wire.HasAntenna | wire.HasRSSI | wire.HasFirstSeen | wire.HasLastSeen | wire.HasSeenCount}}, nil
}

// transmit finds the highest level that is not above dBm. A reader that hops
// does so by its first table; another stays on its first channel.
func transmit(c wire.Capabilities, dBm float64) (wire.Transmit, error) {
	var best *wire.PowerLevel
	for i, p := range c.Power {
		if float64(p.Centi) <= 100*dBm && (best == nil || p.Centi > best.Centi) {
			best = &c.Power[i]
		}
	}
	if best == nil {
		return wire.Transmit{}, fmt.Errorf("llrp: none of the reader's %d power levels is at most %g dBm", len(c.Power), dBm)
	}
	if c.Hopping {
		return wire.Transmit{HopTable: uint16(c.HopTable), Power: best.Index}, nil
	}
	return wire.Transmit{Channel: 1, Power: best.Index}, nil
}

// opSpec is the number of the read in our AccessSpec.
func opSpec(id uint32) uint16 { return uint16(id) | 1 }

// access makes the reader read the TID of each tag it inventories for us.
func (s *session) access(ctx context.Context) error {
	spec := wire.AccessSpec{ID: s.id, ROSpec: s.id, OpSpec: opSpec(s.id), Bank: wire.BankTID, Words: tidWords}
	b, err := spec.Encode()
	if err != nil {
		return err
	}
	s.accessing = true
	if _, err := s.request(ctx, wire.AddAccessSpec, b); err != nil {
		return err
	}
	_, err = s.request(ctx, wire.EnableAccessSpec, wire.EncodeROSpecID(s.id))
	return err
}
