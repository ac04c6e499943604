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
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"trailmark/agent/internal/sensor"
	"trailmark/agent/internal/sensor/ds18b20"
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
			probes = append(probes, sensor.Chip{
				Serial:   strings.ToLower(name),
				Channels: []sensor.Channel{{Name: "temp", Unit: "Cel"}},
				Measure:  func() []sensor.Sample { return measure(filepath.Join(root, name, "w1_slave")) },
			}.Probes()...)
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

// measure reads the file once, which makes the kernel run a conversion.
func measure(file string) []sensor.Sample {
	text, err := readFile(file)
	if err != nil { // vanished directory, EIO: the chip did not answer
		return []sensor.Sample{{Fault: sensor.FaultGone}}
	}
	var s sensor.Sample
	s.Milli, s.Raw, s.Fault = parse(text)
	return []sensor.Sample{s}
}

// readFile returns at most maxFile+1 bytes.
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
	milli, fault = ds18b20.Decode(pad)
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
