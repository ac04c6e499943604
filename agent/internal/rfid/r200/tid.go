package r200

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"time"

	wire "trailmark/internal/r200"
)

const (
	// tidWords is class, maker, model and the 48-bit serial number of a tag with
	// an extended TID. A shorter TID names a model, not a tag.
	tidWords = 6
	maxFresh = 32 // new tags of one run; what is beyond waits for the next
	maxTIDs  = 4096

	again   = 10 * time.Second // until a tag that would not say its TID is asked again
	forgets = time.Minute      // after the tag was last seen
)

// tid is what is known of the chip behind an EPC.
type tid struct {
	number []byte    // nil: it did not say
	asked  time.Time // on the system's own clock, as seen
	seen   time.Time
}

// known returns what is known of a tag that was just seen, nil if it is to be asked.
func (r *Reader) known(epc []byte) *tid {
	now := time.Now()
	t := r.tids[string(epc)]
	if t == nil || now.Sub(t.seen) > forgets || t.number == nil && now.Sub(t.asked) > again {
		return nil
	}
	t.seen = now
	return t
}

func (r *Reader) learn(epc, number []byte) {
	now := time.Now()
	if len(r.tids) >= maxTIDs {
		for k, t := range r.tids {
			if now.Sub(t.seen) > forgets {
				delete(r.tids, k)
			}
		}
	}
	if len(r.tids) >= maxTIDs {
		clear(r.tids) // more tags than an antenna can see: ask them anew
	}
	r.tids[string(epc)] = &tid{number, now, now}
}

// identify reads the TIDs of the fresh tags and passes their reads on, with or
// without. The module is idle.
func (s *session) identify(ctx context.Context) error {
	fresh := s.fresh
	s.fresh = nil
	for i, read := range fresh {
		number, err := s.readTID(ctx, read.EPC)
		var code wire.ErrorCode
		switch {
		case ctx.Err() != nil, err != nil && !errors.As(err, &code) && !errors.Is(err, errNotATID):
			for _, r := range fresh[i:] {
				s.each(r) // what was read was read, with a TID or without
			}
			return err
		case err != nil:
			s.o.Log.DebugContext(ctx, "tag without a tid", slog.Any("error", err))
		}
		s.learn(read.EPC, number)
		read.TID = bytes.Clone(number)
		s.each(read)
	}
	return nil
}

var errNotATID = errors.New("r200: not the tid of the tag that was asked")

// readTID selects one tag and reads its chip's number.
func (s *session) readTID(ctx context.Context, epc []byte) ([]byte, error) {
	sel, err := wire.EncodeSelect(epc)
	if err != nil {
		return nil, errors.Join(errNotATID, err)
	}
	if err := s.do(ctx, wire.SetSelect, sel); err != nil {
		return nil, err
	}
	// To select switches selection on for inventory as well in some firmware: off again.
	if err := s.do(ctx, wire.SetSelectMode, []byte{byte(wire.SelectForAccess)}); err != nil {
		return nil, err
	}
	at := wire.MemoryRange{Bank: wire.BankTID, First: 0, Words: tidWords}
	var b []byte
	for range attempts { // a tag at the edge of the field may miss one
		if b, err = s.ask(ctx, wire.ReadMemory, at.Encode()); !errors.Is(err, wire.ReadFailed) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	m, err := wire.DecodeMemory(b, tidWords)
	if err != nil {
		return nil, errors.Join(errNotATID, err)
	}
	// ISO/IEC 15963: E0h, E2h and E3h are the classes of chips with a number.
	if !bytes.Equal(m.EPC, epc) || m.Data[0]&0xfc != 0xe0 {
		return nil, errNotATID
	}
	return m.Data, nil
}
