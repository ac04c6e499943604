package board

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"trailmark/firmware-sim/chip/gen2"
	"trailmark/firmware-sim/chip/r200"
	"trailmark/firmware-sim/reader"
)

const modelR200 = "r200"

// A port is a serial port, and what is on its other end.
type port struct {
	name  string
	model func(*os.File)
}

func (b builder) serial(c Serial) error {
	switch {
	case c.Model == "loopback" && len(c.Tags) > 0:
		return fmt.Errorf("serial %s: a loopback hears no tags", c.Name)
	case c.Model == "loopback":
		b.ports = append(b.ports, port{c.Name, loopback})
		return nil
	case c.Model != modelR200:
		return fmt.Errorf("serial %s: no model %q, want loopback or r200", c.Name, c.Model)
	}
	field, err := b.field(c.Tags, 1)
	if err != nil {
		return err
	}
	module := r200.New(r200.Config{Seed: seedOf(b.config.Seed, c.Name), Field: func(time.Time) []gen2.Tag {
		var tags []gen2.Tag
		for _, t := range field.now() {
			tags = append(tags, gen2.Tag{EPC: t.EPC, TID: t.TID, RSSI: int(t.RSSI)})
		}
		return tags
	}})
	b.add(c.Name, c.Model, c.Name, module.Inject)
	b.ports = append(b.ports, port{c.Name, func(f *os.File) { serveR200(module, f) }})
	return nil
}

// replug is how long a module that is plugged in again may take to be heard.
const replug = 100 * time.Millisecond

// serveR200 has a module on a line until the line is closed. An unplugged one
// leaves the line open, as it leaves the adapter that it was plugged into.
func serveR200(m *r200.Module, f *os.File) {
	for {
		if err := f.SetDeadline(time.Time{}); err != nil {
			return
		}
		_ = m.Serve(plug{f}) // ends with the plug pulled, or with the line
		// Nobody hears what is sent meanwhile.
		if err := f.SetDeadline(time.Now().Add(replug)); err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{f}); !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

// A plug is a line whose Close leaves it open for the next.
type plug struct{ *os.File }

func (p plug) Close() error { return p.SetDeadline(time.Unix(1, 0)) }

// A netReader is an LLRP reader. Its part is called from any goroutine.
type netReader struct {
	name, listen string
	antennas     uint16
	server       *reader.Server
}

func (b builder) llrp(c LLRP) error {
	if c.Antennas == 0 {
		c.Antennas = 4
	}
	if c.Antennas > maxAntennas {
		return fmt.Errorf("chip %s: antennas: %d, want 1 to %d", c.Name, c.Antennas, maxAntennas)
	}
	field, err := b.field(c.Tags, c.Antennas)
	if err != nil {
		return err
	}
	o := reader.Options{Antennas: c.Antennas, Air: gen2.New(seedOf(b.config.Seed, c.Name)), Log: b.log.With(slog.String("part", c.Name))}
	at := "tcp " + c.Listen
	if c.Certificate != "" {
		name := c.Certificate
		if !filepath.IsAbs(name) {
			name = filepath.Join(b.folder, name)
		}
		certificate, err := tls.LoadX509KeyPair(name, name)
		if err != nil {
			return fmt.Errorf("chip %s: certificate: %w\nhint: openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=reader -keyout - -out - > %s", c.Name, err, name)
		}
		o.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
		at = fmt.Sprintf("tls %s sha256:%x", c.Listen, sha256.Sum256(certificate.Certificate[0]))
	}
	r := &netReader{name: c.Name, listen: c.Listen, antennas: c.Antennas}
	r.server = reader.New(func(time.Time) []reader.Tag { return field.now() }, o)
	b.readers = append(b.readers, r)
	b.chips = append(b.chips, Chip{c.Name, "llrp", at})
	b.parts[c.Name] = r.part
	return nil
}

const (
	maxAntennas = 32
	maxSkew     = 100 * 365 * 24 * time.Hour
)

// open takes the reader's port.
func (r *netReader) open() (net.Listener, error) {
	ln, err := net.Listen("tcp", r.listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w\nhint: another board may be running; any 127.x.y.z is this machine", err)
	}
	if err != nil {
		return nil, fmt.Errorf("chip %s: %w", r.name, err)
	}
	return ln, nil
}

// part reads none, drop, hang, skew=DURATION or loose=ANTENNA.
func (r *netReader) part(word string) (func() error, error) {
	kind, argument, has := strings.Cut(word, "=")
	switch {
	case kind == "skew" && has:
		ahead, err := time.ParseDuration(argument)
		if err != nil || ahead.Abs() > maxSkew {
			return nil, fmt.Errorf("fault %q: want a duration such as -1h, at most %v either way", word, maxSkew)
		}
		return func() error { r.server.Skew(ahead); return nil }, nil
	case kind == "loose" && has:
		antenna, err := strconv.ParseUint(argument, 10, 16)
		if err != nil || antenna < 1 || antenna > uint64(r.antennas) {
			return nil, fmt.Errorf("fault %q: want an antenna from 1 to %d", word, r.antennas)
		}
		return func() error { r.server.Plug(uint16(antenna), false); return nil }, nil
	}
	switch word {
	case "none":
		return func() error {
			r.server.Hang(false)
			r.server.Skew(0)
			for a := range r.antennas {
				r.server.Plug(a+1, true)
			}
			return nil
		}, nil
	case "drop":
		return func() error { r.server.Drop(); return nil }, nil
	case "hang":
		return func() error { r.server.Hang(true); return nil }, nil
	}
	return nil, fmt.Errorf("a reader has no fault %q, want none, drop, hang, skew=DURATION or loose=ANTENNA", word)
}

// uhfField is the tags before the antennas of one reader.
type uhfField struct {
	tags []reader.Tag // never changed after New

	mu   sync.Mutex
	here []bool // guarded by mu; of tags
}

// now returns the tags that are there.
func (f *uhfField) now() []reader.Tag {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []reader.Tag
	for i, t := range f.tags {
		if f.here[i] {
			out = append(out, t)
		}
	}
	return out
}

func (f *uhfField) set(i int, here bool) func() {
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.here[i] = here
	}
}

// field makes the tags of a reader with so many antennas known by their names.
func (b builder) field(tags []UHFTag, antennas uint16) (*uhfField, error) {
	f := &uhfField{here: make([]bool, len(tags))}
	for i, t := range tags {
		tag, err := t.tag(antennas)
		if err != nil {
			return nil, fmt.Errorf("tag %s: %w", t.Name, err)
		}
		f.tags = append(f.tags, tag)
		b.parts[t.Name] = presence(t.Here, f.set(i, true), f.set(i, false))
	}
	return f, nil
}

// Limits of a UHF tag.
const (
	maxEPC  = 62 // bytes: the length in its PC word has five bits, of words
	maxTID  = 64 // bytes
	weakest = -120
	usual   = -55 // dBm
)

func (t UHFTag) tag(antennas uint16) (reader.Tag, error) {
	if t.RSSI == 0 {
		t.RSSI = usual
	}
	if t.Antenna == 0 {
		t.Antenna = 1
	}
	epc, err := words(t.EPC, maxEPC)
	if err != nil || len(epc) == 0 {
		return reader.Tag{}, fmt.Errorf("epc %q, want hexadecimal digits, four to a word, of at most %d bytes", t.EPC, maxEPC)
	}
	tid, err := words(t.TID, maxTID)
	switch {
	case err != nil:
		return reader.Tag{}, fmt.Errorf("tid %q, want hexadecimal digits, four to a word, of at most %d bytes", t.TID, maxTID)
	case t.RSSI < weakest || t.RSSI > 0:
		return reader.Tag{}, fmt.Errorf("rssi %d dBm, want %d to 0", t.RSSI, weakest)
	case t.Antenna > antennas:
		return reader.Tag{}, fmt.Errorf("antenna %d, the reader has %d", t.Antenna, antennas)
	}
	return reader.Tag{Antenna: t.Antenna, EPC: epc, TID: tid, RSSI: int8(t.RSSI)}, nil
}

// words reads whole words of 16 bits, at most so many bytes.
func words(s string, most int) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil, err
	}
	if len(b)%2 != 0 || len(b) > most {
		return nil, fmt.Errorf("%d bytes", len(b))
	}
	return b, nil
}
