package r200

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"time"

	"trailmark/agent/internal/rfid"
	wire "trailmark/internal/r200"
)

const (
	// patience is how long the module may take to answer: it answers within
	// 100 ms, and a frame of garbage takes 12 ms to pass.
	patience = 500 * time.Millisecond
	attempts = 3
	// silence is how long a module that polls may end no round: each ends with a
	// word, and none takes 100 ms.
	silence = 2 * time.Second
	// rounds is those of one command to poll, and renew how long they are left
	// alone: the module takes a quarter of an hour to run out of them.
	rounds = math.MaxUint16
	renew  = time.Minute
)

// A session is one opening of the port. It belongs to the goroutine of Run,
// which is the only one to write to the port.
type session struct {
	*Reader
	port   io.ReadWriteCloser
	each   func(rfid.Read)
	power  int16 // hundredths of a dBm, read back once
	frames chan wire.Frame
	failed chan error
	done   chan struct{} // ends the goroutine that reads
	idle   chan struct{} // it has ended

	fresh []rfid.Read // of tags whose TID is still to be read
}

func newSession(port io.ReadWriteCloser, r *Reader, each func(rfid.Read)) *session {
	s := &session{Reader: r, port: port, each: each, frames: make(chan wire.Frame), failed: make(chan error, 1),
		done: make(chan struct{}), idle: make(chan struct{})}
	go func() {
		defer close(s.idle)
		for in := wire.NewReader(port); ; {
			f, err := in.Next()
			if err != nil {
				s.failed <- err
				return
			}
			select {
			case s.frames <- f:
			case <-s.done:
				return
			}
		}
	}()
	return s
}

func (s *session) close() {
	close(s.done)
	s.port.Close() // ends the read
	<-s.idle
}

// send writes a command. A port that does not take it in time is closed.
func (s *session) send(code wire.Code, params []byte) error {
	stuck := time.AfterFunc(patience, func() { s.port.Close() })
	defer stuck.Stop()
	if err := wire.WriteFrame(s.port, wire.Frame{Kind: wire.Command, Code: code, Params: params}); err != nil {
		return fmt.Errorf("r200: send %v: %w", code, err)
	}
	return nil
}

var errSilent = errors.New("r200: module is silent")

// receive returns the next frame, errSilent after wait, or ctx's error.
func (s *session) receive(ctx context.Context, wait <-chan time.Time) (wire.Frame, error) {
	select {
	case f := <-s.frames:
		return f, nil
	case err := <-s.failed:
		if errors.Is(err, io.EOF) {
			return wire.Frame{}, errors.New("r200: port closed")
		}
		return wire.Frame{}, fmt.Errorf("r200: receive: %w", err)
	case <-wait:
		return wire.Frame{}, errSilent
	case <-ctx.Done():
		return wire.Frame{}, ctx.Err()
	}
}

// ask sends a command until it is answered, at most three times: each may be
// said again without harm, and one frame may always be lost. A failure that the
// module itself tells is a wire.ErrorCode. Notices that arrive meanwhile are
// reads as well.
func (s *session) ask(ctx context.Context, code wire.Code, params []byte) ([]byte, error) {
	for range attempts {
		if err := s.send(code, params); err != nil {
			return nil, err
		}
		for wait := time.After(patience); ; {
			f, err := s.receive(ctx, wait)
			if errors.Is(err, errSilent) {
				break
			}
			if err != nil {
				return nil, err
			}
			switch {
			case f.Kind == wire.Response && f.Code == code:
				return f.Params, nil
			case f.Kind == wire.Notice:
				s.notice(ctx, f)
			case f.Kind == wire.Response && f.Code == wire.Failed:
				e, err := wire.DecodeFailed(f.Params)
				if err == nil && (e != wire.NoTag || code == wire.ReadMemory) { // else a round of before the stop
					return nil, e
				}
			}
		}
	}
	return nil, fmt.Errorf("r200: no answer to %v, asked %d times", code, attempts)
}

// do is ask for commands whose answer only says that it was done.
func (s *session) do(ctx context.Context, code wire.Code, params []byte) error {
	b, err := s.ask(ctx, code, params)
	if err == nil {
		err = wire.DecodeDone(b)
	}
	if err != nil {
		return fmt.Errorf("%v: %w", code, err)
	}
	return nil
}

// setUp brings the module into our settings and returns what it is. It may
// still be polling for somebody who is gone.
func (s *session) setUp(ctx context.Context) (what string, err error) {
	if err := s.do(ctx, wire.StopPoll, nil); err != nil {
		return "", fmt.Errorf("%w\nhint: is this port an r200 module's, and is it alone on it?", err)
	}
	var info [2]string
	for i, which := range []byte{wire.InfoHardware, wire.InfoSoftware} {
		b, err := s.ask(ctx, wire.GetInfo, []byte{which})
		if err == nil {
			info[i], err = wire.DecodeInfo(b, which)
		}
		if err != nil {
			return "", err
		}
	}
	if err := s.do(ctx, wire.SetRegion, []byte{byte(s.o.Region)}); err != nil {
		return "", err
	}
	if p := s.o.centi(); p != 0 {
		if err := s.do(ctx, wire.SetPower, wire.EncodePower(p)); err != nil {
			return "", fmt.Errorf("%w\nhint: the module may not have %g dBm", err, s.o.Power)
		}
		s.power = p
	}
	if err := s.do(ctx, wire.SetSelectMode, []byte{byte(wire.SelectForAccess)}); err != nil {
		return "", err
	}
	if err := s.verify(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("r200 hardware %q software %q in %v at %.2f dBm", info[0], info[1], s.o.Region, float64(s.power)/100), nil
}

// verify reads region and power back.
func (s *session) verify(ctx context.Context) error {
	b, err := s.ask(ctx, wire.GetRegion, nil)
	if err != nil {
		return err
	}
	region, err := wire.DecodeRegion(b)
	if err != nil {
		return err
	}
	if region != s.o.Region {
		return fmt.Errorf("r200: module is set to %v, not %v: it lost its settings", region, s.o.Region)
	}
	if b, err = s.ask(ctx, wire.GetPower, nil); err != nil {
		return err
	}
	power, err := wire.DecodePower(b)
	if err != nil {
		return err
	}
	if s.power == 0 {
		s.power = power
	}
	if power != s.power {
		return fmt.Errorf("r200: module sends at %.2f dBm, not %.2f: it lost its settings", float64(power)/100, float64(s.power)/100)
	}
	return nil
}

// inventory polls until the session is lost. Each run of polling ends with a new
// tag, or after a while to see whether the module still has its settings.
func (s *session) inventory(ctx context.Context) error {
	for {
		if err := s.verify(ctx); err != nil {
			return err
		}
		if err := s.send(wire.PollMany, wire.EncodePollMany(rounds)); err != nil {
			return err
		}
		quiet := time.After(silence)
		for end := time.Now().Add(renew); time.Now().Before(end) && len(s.fresh) == 0; {
			f, err := s.receive(ctx, quiet)
			if errors.Is(err, errSilent) {
				return fmt.Errorf("r200: module polls and ended no round in %v", silence)
			}
			if err != nil {
				return err
			}
			round, err := s.polled(ctx, f)
			if err != nil {
				return err
			}
			if round {
				quiet = time.After(silence)
			}
		}
		if err := s.do(ctx, wire.StopPoll, nil); err != nil {
			return err
		}
		if err := s.identify(ctx); err != nil {
			return err
		}
	}
}

// polled takes a frame of a module that polls, and says whether it tells of a
// round: a module that finds no free channel speaks and hears nothing.
func (s *session) polled(ctx context.Context, f wire.Frame) (round bool, err error) {
	switch {
	case f.Kind == wire.Notice:
		s.notice(ctx, f)
		return true, nil
	case f.Kind == wire.Response && f.Code == wire.Failed:
		e, err := wire.DecodeFailed(f.Params)
		if err == nil && e != wire.NoTag && e != wire.HopFailed {
			err = fmt.Errorf("r200: polling: %w", e)
		}
		return e == wire.NoTag, err
	}
	return false, nil
}

// notice passes a tag on, or keeps it until its TID is known.
func (s *session) notice(ctx context.Context, f wire.Frame) {
	t, err := wire.DecodeTag(f.Params)
	if err != nil || len(t.EPC) == 0 {
		s.o.Log.DebugContext(ctx, "read dropped: no tag sends this", slog.Any("error", err))
		return
	}
	now := s.o.Now()
	read := rfid.Read{EPC: t.EPC, Antenna: 1, RSSI: t.RSSI, First: now, Last: now, Count: 1}
	if known := s.known(t.EPC); known != nil {
		read.TID = bytes.Clone(known.number)
		s.each(read)
		return
	}
	if i := slices.IndexFunc(s.fresh, func(r rfid.Read) bool { return bytes.Equal(r.EPC, read.EPC) }); i >= 0 {
		r := &s.fresh[i]
		r.Last, r.RSSI = now, max(r.RSSI, read.RSSI)
		r.Count++
		return
	}
	if len(s.fresh) == maxFresh {
		s.each(read) // it is seen again, and then asked for its TID
		return
	}
	s.fresh = append(s.fresh, read)
}

// goodbye switches the antenna off. It is a courtesy: whatever fails, the next
// session begins with the same.
func (s *session) goodbye() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.each = func(rfid.Read) {} // Run has ended for its caller
	_ = s.do(ctx, wire.StopPoll, nil)
}
