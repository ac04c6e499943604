// Package w1tree plays the part of the Linux 1-Wire bus: a directory that looks
// like /sys/bus/w1/devices with DS18B20 chips on it.
//
// It promises that a reader never sees half a file (every change is a rename),
// that a chip that is unplugged has no directory, and that nothing stays
// behind that could be taken for a live reading once the tree is closed.
// Nothing is fsynced: sysfs does not survive a power cut either.
//
// Format, one directory per chip, named by family code and serial:
//
//	28-0000045a1b2c/w1_slave
//	    44 00 4b 46 7f ff 0c 10 94 : crc=94 YES
//	    44 00 4b 46 7f ff 0c 10 94 t=4250
//
// The chips convert with 12 bits, so a temperature snaps to a sixteenth of a
// degree: a logged 4.3 °C is read as 4.312.
package w1tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"trailmark/firmware-sim/chip/ds18b20"
)

// SlaveID returns the kernel's name of a DS18B20 with the given serial, of
// which 48 bits count.
func SlaveID(serial uint64) string { return fmt.Sprintf("28-%012x", serial&(1<<48-1)) }

// A Tree is one bus. Its methods belong to one goroutine.
type Tree struct {
	root  string
	chips map[string]*chip
}

type chip struct {
	good ds18b20.Scratchpad // last one with a right CRC
	text string             // what w1_slave holds, if plugged
	in   bool               // the directory exists
}

// New makes root and puts the chips named ids on the bus at their power-on
// value. Chips left in root by an earlier run that was killed are removed.
func New(root string, ids ...string) (*Tree, error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	old, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	for _, entry := range old {
		if !strings.HasPrefix(strings.TrimPrefix(entry.Name(), "."), "28-") {
			continue
		}
		if err := unplug(filepath.Join(root, entry.Name())); err != nil {
			return nil, fmt.Errorf("remove a chip of an earlier run: %w", err)
		}
	}
	t := &Tree{root: root, chips: map[string]*chip{}}
	for _, id := range ids {
		if t.chips[id] != nil {
			return nil, fmt.Errorf("two chips with the id %s on one bus", id)
		}
		t.chips[id] = &chip{good: ds18b20.PoweredOn()}
		if err := t.write(id, Text(ds18b20.PoweredOn(), ds18b20.PoweredOn())); err != nil {
			return nil, errors.Join(err, t.Close())
		}
	}
	return t, nil
}

// Set makes the next read of chip id yield milli thousandths of a degree
// Celsius, or what fault makes of it.
func (t *Tree) Set(id string, milli int32, fault Fault) error {
	c := t.chips[id]
	if c == nil {
		return fmt.Errorf("no chip %s on the bus %s", id, t.root)
	}
	s := ds18b20.Convert(milli)
	switch fault {
	case None:
	case CRC:
		s[0] ^= 0x08 // half a degree off: only the checksum shows it
	case Empty:
		return t.write(id, "")
	case AllZero:
		s = ds18b20.Scratchpad{}
	case PowerOn:
		s = ds18b20.PoweredOn()
	case Gone:
		if !c.in {
			return nil
		}
		c.in = false
		return unplug(filepath.Join(t.root, id))
	default:
		return fmt.Errorf("no fault number %d", fault)
	}
	text := Text(s, c.good)
	if ds18b20.CRC8(s[:8]) == s[8] {
		c.good = s
	}
	return t.write(id, text)
}

// Close takes every chip off the bus.
func (t *Tree) Close() error {
	var errs []error
	for id, c := range t.chips {
		if c.in {
			c.in = false
			errs = append(errs, unplug(filepath.Join(t.root, id)))
		}
		errs = append(errs, unplug(filepath.Join(t.root, "."+id)))
	}
	return errors.Join(errs...)
}

func (t *Tree) write(id, text string) error {
	c := t.chips[id]
	if c.in && c.text == text {
		return nil
	}
	// Files and directories are made under a hidden name, so that no listing
	// shows what the kernel would not, and appear whole.
	dir, next := filepath.Join(t.root, id), filepath.Join(t.root, "."+id)
	if err := os.MkdirAll(next, 0o755); err != nil {
		return err
	}
	file := filepath.Join(next, "w1_slave")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	if c.in {
		if err := os.Rename(file, filepath.Join(dir, "w1_slave")); err != nil {
			return err
		}
	} else if err := os.Rename(next, dir); err != nil {
		return err
	}
	c.in, c.text = true, text
	return nil
}

// unplug removes a chip's file and directory and nothing else: a directory that
// holds anything more is not ours.
func unplug(dir string) error {
	for _, name := range []string{filepath.Join(dir, "w1_slave"), dir} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
