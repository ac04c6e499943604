// Package sensor is the contract between the station and the probes it reads:
// a sample is a value or a fault, never both.
//
// Values are integers in thousandths of the SenML unit (RFC 8428; m°C for
// "Cel"), truncated toward zero as the Linux kernel does. What a probe answers
// that is not a measurement is a Fault; no number is ever made from it.
//
// A driver describes what it drives as a Chip, which makes the probes.
package sensor

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Sample is one answer of a probe, or the lack of one.
type Sample struct {
	Channel string    // as Probe.Channel
	Milli   int64     // thousandths of the SenML unit; 0 with a fault
	Raw     []byte    // what the sensor sent, as far as it could be read; evidence also for a fault
	At      time.Time // when the answer was complete, or was given up
	Fault   Fault     // FaultNone: Milli is a measurement
	// Column is what a block keeps beside the value: the raw bytes where the value
	// does not give them back, of one length for every sample of a probe; else nil.
	Column []byte
}

// A Fault says why an answer is not a measurement. The numbers go into signed
// events: they are never changed or used again.
type Fault uint

// The faults, in the order in which they shadow each other where two apply.
const (
	FaultNone    Fault = 0
	FaultGone    Fault = 1 // no answer: unplugged, cut, hung
	FaultAllZero Fault = 2 // every byte 0x00, or no byte at all: a bus held low (the CRC-8 of zeros is right)
	FaultAllOnes Fault = 3 // every byte 0xff (nobody drives the bus)
	FaultCRC     Fault = 4 // checksum wrong: a bad wire
	FaultConfig  Fault = 5 // the configuration is not one the chip has, or not what was set
	FaultPowerOn Fault = 6 // reset values without a completed conversion: a brown-out
	FaultRange   Fault = 7 // outside of what the chip can measure
	FaultFormat  Fault = 8 // the source contradicts itself, tells of its own defect or cannot be understood
)

func (f Fault) String() string {
	names := [...]string{"ok", "gone", "all-zero", "all-ones", "crc", "config", "power-on", "range", "format"}
	if f < Fault(len(names)) {
		return names[f]
	}
	return fmt.Sprintf("fault-%d", uint(f))
}

// A Probe measures one quantity. Its methods but Sample return constants.
type Probe interface {
	Channel() string // unique on this device and stable, as "28-0316a2795fff/temp"
	Unit() string    // SenML, as "Cel"
	Serial() string  // the chip's own number
	// Sample measures once. It returns when ctx ends even if the bus hangs;
	// that is FaultGone. Safe for concurrent use.
	Sample(ctx context.Context) Sample
}

// A Calibrated probe knows the factory trimming that its values were computed
// with: SHA-256 over the trimming registers, constant; zero where the chip
// applies its trimming itself and does not show it.
type Calibrated interface {
	Calibration() [32]byte
}

// An Error is a conversation with a chip that failed for a known reason.
type Error struct {
	Fault Fault
	Text  string
}

func (e *Error) Error() string { return e.Text }

// FaultOf is the fault that err is: that of an Error, else FaultGone, which is
// all that a NACK says.
func FaultOf(err error) Fault {
	if err == nil {
		return FaultNone
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Fault
	}
	return FaultGone
}
