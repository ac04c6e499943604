// Package mfrc522 reads HF tags of ISO/IEC 14443 type A through an MFRC522 on
// SPI: all that are in the field in one round, whatever the length of their UIDs.
//
// It promises that a read names a card that answered in this round: its UID has
// come through anticollision with the right check byte, and the card itself has
// confirmed it under a CRC. Everything else is refused and told to the log. A
// chip that lost its settings, or does not answer, is told as a reader that is
// down, because an empty field and a dead chip look alike.
//
// A tag's UID is its identity here, as EPC of the read, and there is no TID.
// What a tag keeps in its memory is not read: anybody can write it, and a Digital
// Link in it does not say where the company prefix ends, so it is no EPC.
package mfrc522

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/spi"

	"trailmark/agent/internal/rfid"
)

const (
	// settle is how long a card may be deaf after the field came, and rest how
	// long it may live without one (ISO/IEC 14443-3, 5.2: 5 ms each; 5.1 ms for
	// the reset).
	settle = 5 * time.Millisecond
	rest   = 6 * time.Millisecond

	every   = 250 * time.Millisecond
	mend    = time.Second // between two attempts to set up a chip
	maxDone = 64          // cards of one round; an antenna of this chip feeds a dozen
	// maxRefused bounds what a card that cannot be read costs those that can. It
	// is enough to take every way through the first four collisions.
	maxRefused = 16
)

// Options say which chip, and how. Only Conn is needed.
type Options struct {
	Conn  spi.Conn      // at most 10 MHz, spi.Mode0, 8 bits
	Reset gpio.PinOut   // the pin NRSTPD; nil: reset by command
	Name  string        // tells this reader from others; "": mfrc522:// and what Conn calls itself
	Every time.Duration // from one round to the next; 0: 250 ms
	Gain  int           // of the receiver, dB: 18, 23, 33, 38, 43 or 48; 0: 33

	// Status hears that the chip works (up, why: what it is) or not (why: what
	// went wrong), on every change and from the goroutine of Run. The end of Run
	// is no loss of the reader and is not told.
	Status func(up bool, why string)

	Log *slog.Logger
	Now func() time.Time // stamps reads; pauses run on the system's own clock
}

// A Reader is one chip and its antenna, number 1. It implements rfid.Reader; Run
// is to be called once at a time.
type Reader struct {
	o    Options // never written after New
	chip chip    // belongs to the goroutine of Run
}

var _ rfid.Reader = (*Reader)(nil)

// New checks o and fills what it leaves open; it does not talk to the chip.
func New(o Options) (*Reader, error) {
	if o.Conn == nil {
		return nil, fmt.Errorf("mfrc522: no spi connection")
	}
	if o.Gain == 0 {
		o.Gain = 33
	}
	// RFCfgReg.RxGain; 0 and 1 are 18 and 23 dB once more (data sheet, table 98).
	gain := slices.Index([]int{0, 0, 18, 23, 33, 38, 43, 48}, o.Gain)
	if gain < 0 {
		return nil, fmt.Errorf("mfrc522: gain of %d dB\nhint: it is one of 18, 23, 33, 38, 43, 48", o.Gain)
	}
	if o.Every < 0 {
		return nil, fmt.Errorf("mfrc522: a round every %v", o.Every)
	}
	if o.Every == 0 {
		o.Every = every
	}
	if o.Name == "" {
		o.Name = "mfrc522://" + o.Conn.String()
	}
	if o.Status == nil {
		o.Status = func(bool, string) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Log = o.Log.With(slog.String("reader", o.Name))
	return &Reader{o, chip{conn: o.Conn, reset: o.Reset, config: settings(byte(gain))}}, nil
}

// Name returns Options.Name.
func (r *Reader) Name() string { return r.o.Name }

// Run makes rounds until ctx ends, then switches the antenna off and returns
// nil, within a fraction of a second. A chip that fails is set up anew, once a
// second until that works.
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
	// If the antenna cannot be switched off there is nobody left to tell.
	defer func() { _ = r.chip.write(regTxControl, txRest) }()
	for {
		err := r.session(ctx, each, func(what string) { tell(true, what) })
		if ctx.Err() != nil {
			return nil
		}
		tell(false, err.Error())
		r.o.Log.DebugContext(ctx, "chip lost", slog.Any("error", err), slog.Duration("pause", mend))
		if !sleep(ctx, mend) {
			return nil
		}
	}
}

// session makes rounds from setting the chip up to its loss. It always returns
// an error, if only ctx's.
func (r *Reader) session(ctx context.Context, each func(rfid.Read), up func(what string)) error {
	version, err := r.chip.open()
	if err != nil {
		return err
	}
	up(fmt.Sprintf("mfrc522 version 0x%02x", version))
	time.Sleep(rest) // for cards that were halted under somebody who did not switch off
	for {
		began := time.Now()
		if err := r.round(ctx, each); err != nil {
			return err
		}
		if !sleep(ctx, max(r.o.Every-time.Since(began), rest)) {
			return ctx.Err()
		}
	}
}

// round reads every card in the field once. The field is off before and after:
// that is what wakes those which were read and halted the last time. Waking
// them by WUPA would not do, because a card that then loses the selection goes
// back to HALT and does not hear the next request.
func (r *Reader) round(ctx context.Context, each func(rfid.Read)) error {
	c := &r.chip
	if err := c.write(regTxControl, txOn); err != nil {
		return err
	}
	time.Sleep(settle)
	if err := c.check(txOn); err != nil {
		return err
	}
	var done [][]byte
	for failed := 0; len(done) < maxDone && failed < maxRefused; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		there, err := c.request()
		if err != nil {
			return err
		}
		if !there {
			break
		}
		// Each time a card fails, another way is taken through the collisions.
		uid, sak, err := c.selected(func(i int) bool { return failed>>min(i, 62)&1 == 0 })
		if isRefusal(err) {
			failed++
			r.o.Log.DebugContext(ctx, "card refused", slog.Any("error", err))
			continue
		}
		if err != nil {
			return err
		}
		halted := c.halt()
		if slices.ContainsFunc(done, func(u []byte) bool { return bytes.Equal(u, uid) }) {
			failed++ // it missed our farewell and came again
		} else {
			done = append(done, uid)
			r.pass(ctx, uid, sak, each)
		}
		if halted != nil && !isRefusal(halted) {
			return halted
		}
	}
	return c.write(regTxControl, txRest)
}

// pass gives a card's UID on if it names the card.
func (r *Reader) pass(ctx context.Context, uid []byte, sak byte, each func(rfid.Read)) {
	if err := identity(uid); err != nil {
		r.o.Log.DebugContext(ctx, "card refused", slog.Any("error", err))
		return
	}
	r.o.Log.DebugContext(ctx, "card", slog.String("uid", hex.EncodeToString(uid)), slog.Int("sak", int(sak)))
	now := r.o.Now()
	each(rfid.Read{EPC: bytes.Clone(uid), Antenna: 1, First: now, Last: now, Count: 1})
}

// sleep says whether it slept to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
