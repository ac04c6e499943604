// Package r200 reads UHF tags through a module with an R200 chip, such as a
// YRM100, on a serial line.
//
// It promises that a read names a tag whose PC and EPC came with the CRC-16 that
// the tag itself sent, and that no tag is called under settings that were not
// read back from the module just before: a module that lost its power would go
// on in the wrong band of frequencies. Everything else is refused and told to
// the log. A module that says nothing, or lost its settings, is told as a reader
// that is down, because an empty field and a dead module look alike.
//
// The line is half duplex in what matters: a module that polls hears nothing but
// the command to stop. So a new tag's TID is read between two runs of polling,
// once, and remembered while the tag is seen. A clone that comes with the same
// EPC meanwhile passes under the TID of the first.
package r200

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"

	"go.bug.st/serial"

	"trailmark/agent/internal/rfid"
	wire "trailmark/internal/r200"
)

const (
	minWait = time.Second
	maxWait = 10 * time.Second
)

// Options say which module, and how. Only Port is needed.
type Options struct {
	Port   string      // as "/dev/serial/by-id/usb-...", which stays when the module is plugged in anew
	Region wire.Region // where the antenna may send; 0: China900
	Power  float64     // dBm, 0..30; 0: what the module is set to

	// Status hears that the module is there (up, why: what it is) or not (why:
	// what went wrong), on every change and from the goroutine of Run. The end
	// of Run is no loss of the reader and is not told.
	Status func(up bool, why string)

	Log  *slog.Logger
	Open func() (io.ReadWriteCloser, error) // Close must end a Read; nil: the serial port at 115200 8N1
	Now  func() time.Time                   // stamps reads; time-outs run on the system's own clock
}

// A Reader is one module and its antenna, number 1. It implements rfid.Reader;
// Run is to be called once at a time.
type Reader struct {
	o    Options         // never written after New
	tids map[string]*tid // by EPC; belongs to the goroutine of Run
}

var _ rfid.Reader = (*Reader)(nil)

// New checks o and fills what it leaves open; it does not open the port.
func New(o Options) (*Reader, error) {
	if o.Port == "" {
		return nil, errors.New("r200: no port\nhint: name a serial port, such as /dev/ttyUSB0")
	}
	if o.Region == 0 {
		o.Region = wire.China900
	}
	if !o.Region.Valid() {
		return nil, fmt.Errorf("r200: %v is none of the protocol's", o.Region)
	}
	if !(o.Power >= 0 && o.Power <= 30) {
		return nil, fmt.Errorf("r200: power of %g dBm is not within 0..30", o.Power)
	}
	if o.Status == nil {
		o.Status = func(bool, string) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Open == nil {
		o.Open = func() (io.ReadWriteCloser, error) { return open(o.Port) }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Log = o.Log.With(slog.String("reader", "r200://"+o.Port))
	return &Reader{o: o, tids: map[string]*tid{}}, nil
}

func open(name string) (io.ReadWriteCloser, error) {
	p, err := serial.Open(name, &serial.Mode{BaudRate: wire.Baud, DataBits: 8, Parity: serial.NoParity, StopBits: serial.OneStopBit})
	if err == nil {
		return p, nil
	}
	var failed *serial.PortError
	if errors.As(err, &failed) {
		switch failed.Code() {
		case serial.PermissionDenied:
			return nil, fmt.Errorf("%s: %w\nhint: is the user in the group dialout?", name, err)
		case serial.PortBusy:
			return nil, fmt.Errorf("%s: %w\nhint: another program has it, such as a console: see fuser %s", name, err, name)
		}
	}
	return nil, fmt.Errorf("%s: %w", name, err)
}

// Name returns r200:// and the port.
func (r *Reader) Name() string { return "r200://" + r.o.Port }

// centi returns the power wanted in hundredths of a dBm, 0 for the module's own.
func (o Options) centi() int16 { return int16(math.Round(100 * o.Power)) }

// Run keeps the module polling until ctx ends, then stops it and returns nil.
// After a failure it waits 1 s to 10 s, longer if failures follow each other,
// and opens the port anew.
func (r *Reader) Run(ctx context.Context, each func(rfid.Read)) error {
	var up, told bool
	tell := func(now bool, why string) {
		if told && now == up {
			return
		}
		up, told = now, true
		r.o.Log.InfoContext(ctx, "reader status", slog.Bool("up", now), slog.String("why", why))
		r.o.Status(now, why)
	}
	wait := minWait
	for {
		began := time.Now()
		err := r.session(ctx, each, func(what string) { tell(true, what) })
		if ctx.Err() != nil {
			return nil
		}
		if up && time.Since(began) >= maxWait {
			wait = minWait // it did work: a plug that wobbles keeps its longer pauses
		}
		tell(false, err.Error())
		pause := wait/2 + rand.N(wait/2+1)
		r.o.Log.DebugContext(ctx, "module lost", slog.Any("error", err), slog.Duration("pause", pause))
		wait = min(2*wait, maxWait)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// session runs one opening of the port to its loss. It always returns an error,
// if only ctx's.
func (r *Reader) session(ctx context.Context, each func(rfid.Read), up func(what string)) error {
	port, err := r.o.Open()
	if err != nil {
		return fmt.Errorf("r200: %w", err)
	}
	s := newSession(port, r, each)
	defer s.close()
	what, err := s.setUp(ctx)
	if err != nil {
		return err
	}
	up(what)
	err = s.inventory(ctx)
	for _, read := range s.fresh {
		each(read) // what was read was read, if without a TID
	}
	if ctx.Err() != nil {
		s.goodbye()
		return ctx.Err()
	}
	return err
}
