// Package rfid is what the station knows of an RFID reader: it gives reads
// until it is told to stop. How a reader is wired is its driver's business.
package rfid

import (
	"context"
	"time"
)

// A Read says that one tag answered one antenna, once or several times in a
// row. It proves that the reader said so, not that the tag is genuine.
type Read struct {
	EPC     []byte    // as the tag keeps it, without PC word and CRC; never empty
	TID     []byte    // the chip's own number; nil if the reader was not asked
	Antenna uint16    // from 1; 0 if the reader did not say
	RSSI    int       // dBm, peak; 0 if the reader did not say
	First   time.Time // never later than Last
	Last    time.Time // the station's own clock when the read arrived
	Count   int       // how often the tag answered between First and Last, at least 1
}

// A Reader is one RFID reader, whatever its make.
type Reader interface {
	// Run gives every read to each, in order and from one goroutine, and mends
	// the connection by itself. It returns nil once ctx ends. While each does
	// not return no further read is taken. Nothing is durable here: a read is
	// as good as what each does with it.
	Run(ctx context.Context, each func(Read)) error

	// Name tells this reader from the station's others.
	Name() string
}
