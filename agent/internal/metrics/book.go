// Package metrics counts what an agent does and shows it: as lines of the
// Prometheus text format (version 0.0.4) to whoever asks on this device, and as a
// Snapshot to the status file, so that both say the same.
//
// It is written out by hand: a registry of a library would hold the numbers a
// second time. A probe whose last answer was a fault has no value here.
package metrics

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"trailmark/agent/internal/rfid"
	"trailmark/agent/internal/sensor"
	"trailmark/agent/internal/station"
)

// A Book keeps count from its making on. It is safe for concurrent use.
type Book struct {
	mu          sync.Mutex // guards all below
	probes      map[string]*Probe
	readers     map[string]*Reader
	station     station.Status
	heard       bool      // station has said something
	receiptAt   time.Time // when Receipted last grew; zero: not since the start
	connections uint64
}

// Probe is one probe's account.
type Probe struct {
	Channel  string            `json:"channel"`
	Unit     string            `json:"unit"`  // SenML
	Milli    *int64            `json:"milli"` // last value, thousandths of the unit; absent after a fault
	Fault    string            `json:"fault,omitempty"`
	At       time.Time         `json:"at"` // of the last answer; zero: none yet
	Readings uint64            `json:"readings"`
	Faults   map[string]uint64 `json:"faults,omitempty"` // by fault
}

// Reader is one reader's account.
type Reader struct {
	Name   string    `json:"name"`
	Up     bool      `json:"up"`
	Why    string    `json:"why"`   // what it is, or what went wrong
	Since  time.Time `json:"since"` // zero: has not said yet
	Reads  uint64    `json:"reads"`
	Losses uint64    `json:"losses"`
}

// A Snapshot is a copy of a Book. Probes and readers are in order of name.
type Snapshot struct {
	Probes      []Probe        `json:"probes"`
	Readers     []Reader       `json:"readers"`
	ReceiptAt   time.Time      `json:"receipt_at"` // zero: none since the start
	Connections uint64         `json:"connections"`
	Station     station.Status `json:"-"`
	Heard       bool           `json:"-"` // Station has been told
}

// NewBook opens an empty book.
func NewBook() *Book {
	return &Book{probes: map[string]*Probe{}, readers: map[string]*Reader{}}
}

// Probe returns p, counted.
func (b *Book) Probe(p sensor.Probe) sensor.Probe {
	b.mu.Lock()
	b.probes[p.Channel()] = &Probe{Channel: p.Channel(), Unit: p.Unit(), Faults: map[string]uint64{}}
	b.mu.Unlock()
	counted := countedProbe{p, b}
	if c, ok := p.(sensor.Calibrated); ok {
		return calibratedProbe{counted, c}
	}
	return counted
}

type countedProbe struct {
	sensor.Probe
	book *Book
}

type calibratedProbe struct {
	countedProbe
	sensor.Calibrated
}

func (p countedProbe) Sample(ctx context.Context) sensor.Sample {
	s := p.Probe.Sample(ctx)
	if ctx.Err() == nil { // else it was given up, not answered
		p.book.sampled(p.Channel(), s)
	}
	return s
}

func (b *Book) sampled(channel string, s sensor.Sample) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.probes[channel]
	p.At = s.At
	if s.Fault != sensor.FaultNone {
		p.Milli, p.Fault = nil, s.Fault.String()
		p.Faults[p.Fault]++
		return
	}
	p.Milli, p.Fault = &s.Milli, ""
	p.Readings++
}

// Reader returns r, counted.
func (b *Book) Reader(r station.Reader) station.Reader {
	b.mu.Lock()
	b.readers[r.Name] = &Reader{Name: r.Name}
	b.mu.Unlock()
	open := r.Open
	r.Open = func(status func(bool, string)) (rfid.Reader, error) {
		inner, err := open(func(up bool, why string) {
			b.presence(r.Name, up, why)
			status(up, why)
		})
		if err != nil {
			return nil, err
		}
		return countedReader{inner, b, r.Name}, nil
	}
	return r
}

type countedReader struct {
	rfid.Reader
	book *Book
	name string
}

func (r countedReader) Run(ctx context.Context, each func(rfid.Read)) error {
	return r.Reader.Run(ctx, func(x rfid.Read) {
		r.book.read(r.name, uint64(max(1, x.Count)))
		each(x)
	})
}

func (b *Book) presence(name string, up bool, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.readers[name]
	if r.Up && !up {
		r.Losses++
	}
	r.Up, r.Why, r.Since = up, why, time.Now()
}

func (b *Book) read(name string, n uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readers[name].Reads += n
}

// Station takes what the station last said of itself.
func (b *Book) Station(s station.Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := b.station.Receipted
	if s.Epoch != b.station.Epoch {
		last = 0 // each epoch counts its own frames
	}
	if b.heard && s.Receipted > last {
		b.receiptAt = time.Now()
	}
	if s.Connected && !b.station.Connected {
		b.connections++
	}
	b.station, b.heard = s, true
}

// Snapshot copies the book.
func (b *Book) Snapshot() Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Snapshot{Probes: []Probe{}, Readers: []Reader{}, ReceiptAt: b.receiptAt, Connections: b.connections, Station: b.station, Heard: b.heard}
	for _, p := range b.probes {
		c := *p
		c.Faults = map[string]uint64{}
		for k, n := range p.Faults {
			c.Faults[k] = n
		}
		s.Probes = append(s.Probes, c)
	}
	for _, r := range b.readers {
		s.Readers = append(s.Readers, *r)
	}
	slices.SortFunc(s.Probes, func(a, b Probe) int { return strings.Compare(a.Channel, b.Channel) })
	slices.SortFunc(s.Readers, func(a, b Reader) int { return strings.Compare(a.Name, b.Name) })
	return s
}
