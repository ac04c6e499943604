package reader

import (
	"bytes"
	"math"
	"slices"
	"time"

	"trailmark/firmware-sim/chip/gen2"
	"trailmark/internal/llrp"
)

// round asks the room for its tags and reports what the ROSpec wants.
func (c *session) round() error {
	if !c.active {
		return nil
	}
	now := c.o.Now()
	at := c.micros(now)
	for _, tag := range c.audible(now) {
		c.see(tag, at)
		if n := int(c.spec.Report.N); n > 0 && len(c.pending) >= n {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// audible returns the tags that this round hears at the antennas wanted: all of
// them, or those that the air lets through.
func (c *session) audible(now time.Time) []Tag {
	ai := c.spec.AISpecs[0]
	loose := c.unplugged()
	there := slices.DeleteFunc(slices.Clone(c.field(now)), func(t Tag) bool {
		return t.Antenna < 1 || t.Antenna > c.o.Antennas || loose[t.Antenna] || !slices.Contains(ai.Antennas, 0) && !slices.Contains(ai.Antennas, t.Antenna)
	})
	if c.o.Air == nil {
		return there
	}
	var heard []Tag
	targets := []bool{false}
	session := uint8(0)
	if i := ai.Inventory; i != nil {
		session = i.Session
		if i.Search == llrp.SearchDual {
			targets = []bool{false, true}
		}
	}
	budget := c.o.Poll / time.Duration(int(c.o.Antennas)*len(targets))
	for a := uint16(1); a <= c.o.Antennas; a++ {
		var here []Tag
		var tags []gen2.Tag
		for _, t := range there {
			if t.Antenna == a {
				here = append(here, t)
				tags = append(tags, gen2.Tag{EPC: t.EPC, TID: t.TID, RSSI: int(t.RSSI)})
			}
		}
		for _, b := range targets {
			for _, i := range c.o.Air.Inventory(now, tags, gen2.Round{Session: session, B: b, Budget: budget}) {
				heard = append(heard, here[i])
			}
		}
	}
	return heard
}

// maxPending bounds a report that waits for more tags than ever come.
const maxPending = 1024

func (c *session) see(tag Tag, at uint64) {
	for i := range c.pending {
		p := &c.pending[i]
		if p.Antenna == tag.Antenna && bytes.Equal(p.EPC, tag.EPC) {
			p.Last, p.RSSI = at, max(p.RSSI, tag.RSSI)
			p.Count = min(p.Count, math.MaxUint16-1) + 1
			return
		}
	}
	if len(c.pending) == maxPending {
		return // a full buffer: the tag is seen again next round
	}
	r := llrp.TagReport{Has: c.spec.Report.Content, EPC: bytes.Clone(tag.EPC), ROSpecID: c.spec.ID,
		Antenna: tag.Antenna, RSSI: tag.RSSI, First: at, Last: at, Uptime: c.o.Uptime, Count: 1}
	if a := c.access; a != nil && c.accessing && (a.ROSpec == 0 || a.ROSpec == c.spec.ID) {
		r.Reads = []llrp.ReadResult{read(tag.TID, *a)}
	}
	if c.spec.Report.SerializedTID && len(tag.TID) >= serializedTID {
		r.TID = bytes.Clone(tag.TID[:serializedTID])
	}
	c.pending = append(c.pending, r)
}

// serializedTID is the bytes of a TID that Impinj's chips give along with the EPC.
const serializedTID = 12

func read(tid []byte, a llrp.AccessSpec) llrp.ReadResult {
	from, to := 2*int(a.First), 2*(int(a.First)+int(a.Words))
	if to > len(tid) {
		return llrp.ReadResult{OpSpec: a.OpSpec, Result: llrp.ReadOverrun}
	}
	return llrp.ReadResult{OpSpec: a.OpSpec, Result: llrp.ReadOK, Data: bytes.Clone(tid[from:to])}
}

func (c *session) flush() error {
	if len(c.pending) == 0 {
		return nil
	}
	b, err := llrp.EncodeReports(c.pending)
	if err != nil {
		return err
	}
	c.pending = nil
	return c.tell(llrp.ROAccessReport, b)
}
