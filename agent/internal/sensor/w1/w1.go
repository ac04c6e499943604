// Package w1 reads DS18B20 thermometers through the Linux kernel's 1-Wire tree
// and believes nothing that the nine bytes of the chip do not say themselves.
//
// The source is <root>/28-xxxxxxxxxxxx/w1_slave, two lines of text:
//
//	72 01 4b 46 7f ff 0e 10 57 : crc=57 YES
//	72 01 4b 46 7f ff 0e 10 57 t=23125
//
// The kernel's YES and its t= must agree with what the bytes give here.
package w1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"periph.io/x/conn/v3/onewire"

	"trailmark/agent/internal/sensor"
)

// DefaultRoot is where the kernel shows 1-Wire devices.
const DefaultRoot = "/sys/bus/w1/devices"

// maxFile bounds what is read of a w1_slave file; the kernel writes 75 bytes.
const maxFile = 256

// Find lists the DS18B20 probes (family 28) under root, DefaultRoot if empty,
// by name. No probe is not an error; no 1-Wire bus is.
func Find(root string) ([]sensor.Probe, error) {
	if root == "" {
		root = DefaultRoot
	}
	entries, err := os.ReadDir(root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("w1: no 1-Wire bus: %w\nhint: on a Raspberry Pi add dtoverlay=w1-gpio to config.txt and restart", err)
	} else if err != nil {
		return nil, fmt.Errorf("w1: %w", err)
	}
	var probes []sensor.Probe
	for _, e := range entries {
		if name := e.Name(); isThermometer(name) {
			probes = append(probes, &probe{
				name: strings.ToLower(name),
				file: filepath.Join(root, name, "w1_slave"),
				busy: make(chan struct{}, 1),
			})
		}
	}
	return probes, nil
}

// isThermometer matches 28- and twelve hex digits.
func isThermometer(name string) bool {
	hex, ok := strings.CutPrefix(name, "28-")
	if !ok || len(hex) != 12 {
		return false
	}
	_, err := strconv.ParseUint(hex, 16, 48)
	return err == nil
}

type probe struct {
	name string
	file string
	busy chan struct{} // full while the kernel works on a read, so that a hung bus costs one goroutine
}

func (p *probe) Channel() string { return p.name + "/temp" }
func (p *probe) Unit() string    { return "Cel" }
func (p *probe) Serial() string  { return p.name }

func (p *probe) Sample(ctx context.Context) sensor.Sample {
	s := sensor.Sample{Channel: p.Channel(), Fault: sensor.FaultGone}
	select {
	case p.busy <- struct{}{}:
	case <-ctx.Done():
		s.At = time.Now()
		return s
	}
	text := make(chan []byte, 1)
	go func() { // a read takes the 750 ms of a conversion and cannot be interrupted
		b, err := readFile(p.file)
		if err != nil {
			b = nil // vanished directory, EIO: the chip did not answer
		}
		<-p.busy
		text <- b
	}()
	select {
	case b := <-text:
		if b != nil {
			s.Milli, s.Raw, s.Fault = parse(b)
		}
	case <-ctx.Done():
	}
	s.At = time.Now()
	return s
}

// readFile returns at most maxFile+1 bytes, never nil without an error.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// parse decodes a w1_slave file. raw is the scratchpad if there is one.
func parse(text []byte) (milli int64, raw []byte, fault sensor.Fault) {
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(text) > maxFile || len(lines) != 2 {
		return 0, nil, sensor.FaultFormat
	}
	pad, verdict, ok1 := splitLine(lines[0])
	again, value, ok2 := splitLine(lines[1])
	if !ok1 || !ok2 {
		return 0, nil, sensor.FaultFormat
	}
	milli, fault = decode(pad)
	if fault != sensor.FaultNone {
		return 0, pad[:], fault
	}
	switch crc, yes := strings.CutSuffix(verdict, " YES"); {
	case strings.HasSuffix(verdict, " NO"):
		return 0, pad[:], sensor.FaultCRC // the kernel saw other bytes than it shows
	case !yes || crc != fmt.Sprintf(": crc=%02x", pad[8]):
		return 0, pad[:], sensor.FaultFormat
	case again != pad || value != fmt.Sprintf("t=%d", milli):
		return 0, pad[:], sensor.FaultFormat
	}
	return milli, pad[:], sensor.FaultNone
}

// splitLine takes nine hex bytes off the front of a line.
func splitLine(line string) (pad [9]byte, rest string, ok bool) {
	for i := range pad {
		if len(line) < 3 || line[2] != ' ' {
			return pad, "", false
		}
		v, err := strconv.ParseUint(line[:2], 16, 8)
		if err != nil {
			return pad, "", false
		}
		pad[i], line = byte(v), line[3:]
	}
	return pad, line, true
}

// decode gives thousandths of °C for a scratchpad, or a fault and 0.
func decode(pad [9]byte) (int64, sensor.Fault) {
	switch pad {
	case [9]byte{}: // its CRC is 0 too
		return 0, sensor.FaultAllZero
	case [9]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}:
		return 0, sensor.FaultAllOnes
	}
	if !onewire.CheckCRC(pad[:]) {
		return 0, sensor.FaultCRC
	}
	switch pad[4] {
	case 0x1f, 0x3f, 0x5f, 0x7f: // 9, 10, 11, 12 bits
	default:
		return 0, sensor.FaultConfig
	}
	// Low bits that a lower resolution leaves undefined are kept: the kernel
	// keeps them in t= too, and the chip sends them as zeros.
	steps := int64(int16(uint16(pad[1])<<8 | uint16(pad[0]))) // 1/16 °C
	// After power-on the register says 85 °C (0x0550) with byte 6 = 0x0c. A
	// conversion that ends at exactly 85 °C leaves byte 6 = 0x10 - low nibble =
	// 0x10 in the genuine chip; the kernel's own check looks at that byte too.
	// Everything but 0x10 is refused, which errs toward losing a true 85.000 °C
	// of some clones (85.062 °C passes), never toward reporting a false one of
	// a genuine chip.
	if steps == 0x0550 && pad[6] != 0x10 {
		return 0, sensor.FaultPowerOn
	}
	milli := steps * 1000 / 16 // Go and C both truncate toward zero
	if milli < -55_000 || milli > 125_000 {
		return 0, sensor.FaultRange
	}
	return milli, sensor.FaultNone
}
