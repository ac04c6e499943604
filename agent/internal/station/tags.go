package station

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"trailmark/internal/epc"
	"trailmark/statement"
)

// An Antenna says from when on a tag counts as present there. The zero value
// takes every read for a sighting.
type Antenna struct {
	MinReads int // in one stay, which has no pause longer than Config.Dwell
	MinRSSI  int // dBm; weaker reads confirm nothing, nor do those whose strength is unknown; 0: any do
}

// A Portal is two antennas that a tag passes one after the other.
type Portal struct {
	Name         string
	Outer, Inner string // antennas
}

const (
	maxStays = 4096             // tags that are watched at once, for stays and for passages each
	maxStray = 10 * time.Minute // a stay that nothing confirms is told at least so often
	absence  = 5 * time.Minute  // unread for so long, a tag is gone, and news when it is back
	maxNear  = 4096             // tags remembered for that
)

type tag struct{ antenna, epc string }

// seen is one tag at one antenna without a pause longer than the dwell.
type seen struct {
	tag
	tid         []byte
	first, last int64 // ns since boot
	reads       uint64
	rssi        *int64 // strongest
}

// join takes in a later part of the same stay.
func (o *seen) join(x *seen) {
	o.first, o.last = min(o.first, x.first), max(o.last, x.last)
	o.reads = min(o.reads+x.reads, 1<<32-1)
	if x.rssi != nil && (o.rssi == nil || *x.rssi > *o.rssi) {
		o.rssi = x.rssi
	}
	if o.tid == nil {
		o.tid = x.tid
	}
}

// stay is a tag at an antenna that asks for more than one read.
type stay struct {
	heard     seen   // what is held back; nothing once confirmed
	strong    uint64 // reads at or above the floor
	until     int64  // of the newest read; once confirmed, of the newest strong one
	confirmed bool
}

// hear gives what of a read is to be signed as a sighting: nil while its stay is
// unconfirmed, then all that was held back. What is never confirmed is told as
// a stray: nothing that was heard is left out, and nothing is claimed of it.
func (s *Station) hear(x *seen) *seen {
	rule := s.c.Antennas[x.antenna]
	if rule.MinReads <= 1 && rule.MinRSSI == 0 {
		return x
	}
	dwell := s.c.Dwell.Nanoseconds()
	strong := rule.MinRSSI == 0 || x.rssi != nil && *x.rssi >= int64(rule.MinRSSI)
	v := s.stays[x.tag]
	if v != nil && (x.first-v.until > dwell || !v.confirmed && x.last-v.heard.first > maxStray.Nanoseconds()) {
		s.endStay(v)
		v = nil
	}
	if v == nil {
		if len(s.stays) >= maxStays {
			s.endStays(func(*stay) bool { return true })
		}
		v = &stay{heard: seen{tag: x.tag, first: x.first}, until: x.last}
		s.stays[x.tag] = v
	}
	if strong || !v.confirmed {
		v.until = max(v.until, x.last)
	}
	if v.confirmed {
		return x
	}
	v.heard.join(x)
	if strong {
		v.strong += x.reads
	}
	if v.strong < uint64(max(rule.MinReads, 1)) {
		return nil
	}
	v.confirmed = true
	return &v.heard
}

// endStay tells of a stay that nothing confirmed.
func (s *Station) endStay(v *stay) {
	delete(s.stays, v.heard.tag)
	if v.confirmed || !s.room() {
		return
	}
	h, words := &v.heard, "strength of the signal not told"
	if h.rssi != nil {
		words = fmt.Sprintf("strongest at %d dBm", *h.rssi)
	}
	s.log.Info("stray tag", slog.String("antenna", h.antenna), slog.String("epc", named([]byte(h.epc))), slog.Uint64("reads", h.reads), slog.String("signal", words))
	s.pending.happen(h.first, statement.Happening{Type: statement.Stray, Subject: h.antenna, Until: &h.last, Count: h.reads, Raw: []byte(h.epc), Words: words})
}

// endStays ends those that are over, as many as the frame has room for.
func (s *Station) endStays(over func(*stay) bool) {
	for _, v := range slices.Collect(maps.Values(s.stays)) {
		if s.pending.full() {
			return
		}
		if over(v) {
			s.endStay(v)
		}
	}
}

type crossing struct{ portal, epc string }

// passage is a tag between a portal's two antennas. Index 0 is the outer one.
type passage struct {
	first, last, peak [2]int64 // ns since boot; 0: not read there
	rssi              [2]int64 // at the peak
	reads             uint64
	sighted           bool // at least one antenna takes it for present
}

// pass takes a read at a portal's antenna; sighted: it was no stray.
func (s *Station) pass(x *seen, sighted bool) {
	for _, p := range s.c.Portals {
		side := slices.Index([]string{p.Outer, p.Inner}, x.antenna)
		if side < 0 {
			continue
		}
		k := crossing{p.Name, x.epc}
		v := s.passages[k]
		if v != nil && x.first-max(v.last[0], v.last[1]) > s.c.Dwell.Nanoseconds() {
			s.endPassage(k, v)
			v = nil
		}
		if v == nil {
			if len(s.passages) >= maxStays {
				s.endPassages(func(*passage) bool { return true })
			}
			v = &passage{}
			s.passages[k] = v
		}
		if v.first[side] == 0 || x.first < v.first[side] {
			v.first[side] = x.first
		}
		v.last[side] = max(v.last[side], x.last)
		if x.rssi != nil && (v.peak[side] == 0 || *x.rssi > v.rssi[side]) {
			v.peak[side], v.rssi[side] = x.last, *x.rssi
		}
		v.reads = min(v.reads+x.reads, 1<<32-1)
		v.sighted = v.sighted || sighted
	}
}

// way is what the order of the first reads, of the last ones and of the strongest
// ones says: first and last against each other, it turned back; else two of the
// three must agree and the third must not contradict them.
func (v *passage) way() uint64 {
	order := func(t [2]int64) int { // 1: outer before inner, -1: after, 0: cannot be told
		switch {
		case t[0] == 0 || t[1] == 0 || t[0] == t[1]:
			return 0
		case t[0] < t[1]:
			return 1
		}
		return -1
	}
	first, last := order(v.first), order(v.last)
	switch sum := first + last + order(v.peak); {
	case first*last < 0:
		return statement.TurnedBack
	case sum >= 2:
		return statement.PassedIn
	case sum <= -2:
		return statement.PassedOut
	}
	return statement.Unclear
}

// endPassage tells which way a tag went. Of one that was nowhere present there is
// nothing to tell but its strays.
func (s *Station) endPassage(k crossing, v *passage) {
	delete(s.passages, k)
	if !v.sighted || !s.room() {
		return
	}
	from, until, code := v.first[0], max(v.last[0], v.last[1]), v.way()
	if from == 0 || v.first[1] != 0 && v.first[1] < from {
		from = v.first[1]
	}
	words := [...]string{statement.PassedIn: "in", statement.PassedOut: "out", statement.TurnedBack: "turned back", statement.Unclear: "unclear"}[code]
	s.log.Info("tag at a portal", slog.String("portal", k.portal), slog.String("epc", named([]byte(k.epc))), slog.String("way", words))
	s.pending.happen(from, statement.Happening{Type: statement.Passage, Subject: k.portal, Until: &until, Count: v.reads, Code: &code, Raw: []byte(k.epc), Words: words})
}

// endPassages ends those that are over, as many as the frame has room for.
func (s *Station) endPassages(over func(*passage) bool) {
	for k, v := range maps.Clone(s.passages) {
		if s.pending.full() {
			return
		}
		if over(v) {
			s.endPassage(k, v)
		}
	}
}

// departed ends what nobody reads any more.
func (s *Station) departed() {
	now := s.p.Clock.Now().Boottime
	dwell := s.c.Dwell.Nanoseconds()
	s.endStays(func(v *stay) bool { return now-v.until > dwell })
	s.endPassages(func(v *passage) bool { return now-max(v.last[0], v.last[1]) > dwell })
	for tag, last := range s.near {
		if now-last >= absence.Nanoseconds() {
			delete(s.near, tag)
			s.log.Info("tag gone", slog.String("epc", named([]byte(tag))), slog.Duration("unread_for", time.Duration(now-last).Round(time.Second)))
		}
	}
}

// arrived tells the log of a tag that was not near for a while, by the name that
// GS1 gives it. What is signed is the tag's own bits, decodable or not.
func (s *Station) arrived(at int64, antenna string, tag []byte) {
	last, near := s.near[string(tag)]
	if len(s.near) >= maxNear && !near {
		clear(s.near)
	}
	s.near[string(tag)] = at
	if near && at-last < absence.Nanoseconds() {
		return
	}
	s.log.Info("tag seen", slog.String("antenna", antenna), slog.String("epc", named(tag)))
}

func named(tag []byte) string {
	if id, err := epc.Decode(tag); err == nil {
		return id.URI()
	}
	return "not an EPC this version knows: " + hex.EncodeToString(tag)
}
