package station

import (
	"cmp"
	"log/slog"
	"slices"
	"strings"
	"unicode/utf8"

	"trailmark/agent/internal/rfid"
	"trailmark/agent/internal/sensor"
	"trailmark/internal/device"
	"trailmark/statement"
)

// Where a frame is sealed before its time. The estimates below are upper bounds,
// so that a frame always fits the wire format's limits.
const (
	maxRecords  = 8000
	maxReadings = 8000 // of one channel
	maxBytes    = 200 << 10

	maxColumn = 64       // raw bytes kept of one reading
	maxRaw    = 64 << 10 // and of all of a block

	bytesChannel   = 1200 // block, head with eight limits, start
	bytesReading   = 14
	bytesSighting  = 64
	bytesHappening = 80
)

// pending is what the next frame will say. Its times are ns since boot: they
// become the frame's only when it is sealed, all by one clock reading, so that a
// clock that steps or is set meanwhile cannot put them in disorder.
type pending struct {
	readings map[string]*series
	present  map[tag]*seen
	left     []*seen
	faults   map[fault]*statement.Happening
	happened []*statement.Happening
	declares bool // it tells of lost frames
	longest  int  // readings of one channel
	widest   int  // raw bytes of one channel
	records  int
	bytes    int
}

// series is the readings of one channel, with equally many raw bytes for each.
type series struct {
	times, values []int64
	raw           []byte
}

type fault struct {
	subject string
	code    uint64
}

func (p *pending) reset() {
	*p = pending{readings: map[string]*series{}, present: map[tag]*seen{}, faults: map[fault]*statement.Happening{}}
}

func (p *pending) empty() bool { return p.records == 0 }

func (p *pending) full() bool {
	return p.records >= maxRecords || p.bytes >= maxBytes || p.longest >= maxReadings || p.widest > maxRaw-maxColumn
}

func (p *pending) grow(records, bytes int) {
	p.records += records
	p.bytes += bytes
}

// happen adds a happening at a time in ns since boot.
func (p *pending) happen(at int64, h statement.Happening) {
	h.At = at
	p.happened = append(p.happened, &h)
	p.grow(1, bytesHappening+len(h.Subject)+len(h.Words)+len(h.Raw))
}

// room reports whether another observation can be taken; while no frame can be
// kept and memory is full, what comes after is counted and told later.
func (s *Station) room() bool {
	if !s.pending.full() {
		return true
	}
	if s.dropped++; s.dropped == 1 {
		s.log.Error("no frame can be kept and memory is full: observations are dropped")
	}
	return false
}

// sampled takes what a probe answered. A fault becomes a happening and nothing
// else.
func (s *Station) sampled(at int64, channel string, x sensor.Sample) {
	s.presence(at, channel, x.Fault != sensor.FaultGone, x.Fault.String())
	if r := s.pending.readings[channel]; x.Fault == sensor.FaultNone &&
		(len(x.Column) > maxColumn || r != nil && len(r.raw) != len(r.times)*len(x.Column)) {
		// Bytes that cannot be told apart by reading would be no evidence.
		x.Fault, x.Raw = sensor.FaultFormat, x.Column
	}
	if x.Fault == sensor.FaultNone {
		s.judge(at, channel, x.Milli)
	}
	if !s.room() {
		return
	}
	if x.Fault != sensor.FaultNone {
		s.faulted(at, channel, uint64(x.Fault), x.Raw)
		return
	}
	r := s.pending.readings[channel]
	if r == nil {
		r = &series{}
		s.pending.readings[channel] = r
		s.pending.grow(2, bytesChannel+2*len(channel))
	}
	// Times have whole milliseconds on the wire and must increase.
	if n := len(r.times); n > 0 && at/1e6 <= r.times[n-1]/1e6 {
		return
	}
	r.times, r.values, r.raw = append(r.times, at), append(r.values, x.Milli), append(r.raw, x.Column...)
	s.pending.longest, s.pending.widest = max(s.pending.longest, len(r.times)), max(s.pending.widest, len(r.raw))
	s.pending.grow(0, bytesReading+len(x.Column))
}

// faulted counts a fault: one happening per subject and code in a frame.
func (s *Station) faulted(at int64, subject string, code uint64, raw []byte) {
	raw = raw[:min(len(raw), 1024)]
	h := s.pending.faults[fault{subject, code}]
	if h == nil {
		h = &statement.Happening{Type: statement.Fault, At: at, Subject: subject, Code: &code}
		s.pending.faults[fault{subject, code}] = h
		s.pending.grow(1, bytesHappening+len(subject)+1024)
		s.log.Warn("no measurement", slog.String("channel", subject), slog.String("fault", sensor.Fault(code).String()))
	}
	until := at
	h.Until, h.Raw = &until, slices.Clone(raw)
	h.Count = min(h.Count+1, 1<<32-1)
}

// presence tells of a probe or reader that stopped answering, or is back.
func (s *Station) presence(at int64, subject string, up bool, why string) {
	if up == !s.gone[subject] || !s.room() {
		return
	}
	h := statement.Happening{Type: statement.Back, Subject: subject}
	if !up {
		h.Type, h.Words = statement.Lost, clip(why)
	}
	s.gone[subject] = !up
	if !up {
		s.raised++
	}
	s.pending.happen(at, h)
	s.log.Warn("presence changed", slog.String("subject", subject), slog.Bool("up", up), slog.String("why", why))
}

// saw takes a read. The reader's own times only count for how long it saw the tag.
func (s *Station) saw(at int64, antenna string, x rfid.Read) {
	if !s.room() {
		return
	}
	if n := len(x.EPC); n < 4 || n > 64 {
		s.faulted(at, antenna, uint64(sensor.FaultFormat), x.EPC)
		return
	}
	if n := len(x.TID); n < 4 || n > 64 {
		x.TID = nil
	}
	o := &seen{tag: tag{antenna, string(x.EPC)}, tid: slices.Clone(x.TID), first: max(0, at-max(0, x.Last.Sub(x.First).Nanoseconds())),
		last: at, reads: min(uint64(max(1, x.Count)), 1<<32-1)}
	if x.RSSI != 0 {
		v := int64(min(max(x.RSSI, -200), 100))
		o.rssi = &v
	}
	sighting := s.hear(o)
	s.pass(o, sighting != nil)
	if sighting != nil {
		s.arrived(at, antenna, x.EPC)
		s.sighted(sighting)
	}
}

// sighted joins a part of a stay to the tag's sighting in this frame, or opens one.
func (s *Station) sighted(x *seen) {
	o := s.pending.present[x.tag]
	if o != nil && x.first-o.last > s.c.Dwell.Nanoseconds() {
		s.pending.left = append(s.pending.left, o)
		o = nil
	}
	if o == nil {
		opened := *x
		s.pending.present[x.tag] = &opened
		s.pending.grow(1, bytesSighting+len(x.antenna)+len(x.epc)+len(x.tid))
		return
	}
	if o.tid == nil {
		s.pending.grow(0, len(x.tid))
	}
	o.join(x)
}

// input is the frame's content; ms gives a time since boot in the frame's base.
func (p *pending) input(ms func(boot int64) int64) device.Input {
	var in device.Input
	for name, r := range p.readings {
		times := make([]int64, len(r.times))
		for i, t := range r.times {
			times[i] = ms(t)
		}
		in.Readings = append(in.Readings, device.ChannelReadings{Channel: name, Times: times, Values: r.values, Raw: r.raw})
	}
	sightings := slices.Clone(p.left)
	for _, o := range p.present {
		sightings = append(sightings, o)
	}
	slices.SortFunc(sightings, func(a, b *seen) int {
		return cmp.Or(cmp.Compare(a.first, b.first), strings.Compare(a.antenna, b.antenna), strings.Compare(a.epc, b.epc))
	})
	for _, o := range sightings {
		in.Sightings = append(in.Sightings, &statement.Sighting{Antenna: o.antenna, EPC: []byte(o.epc), TID: o.tid,
			First: ms(o.first), Last: ms(o.last), Reads: o.reads, RSSI: o.rssi})
	}
	happened := slices.Clone(p.happened)
	for _, h := range p.faults {
		happened = append(happened, h)
	}
	slices.SortStableFunc(happened, func(a, b *statement.Happening) int {
		return cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.Subject, b.Subject))
	})
	for _, h := range happened {
		c := *h
		c.At = ms(h.At)
		if h.Until != nil {
			until := ms(*h.Until)
			c.Until = &until
		}
		in.Happenings = append(in.Happenings, &c)
	}
	return in
}

// clip makes words fit a happening.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > statement.MaxText {
		s = s[:statement.MaxText]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return s
}
