package clock

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
)

const bootsName = "boots"

// Boots counts the boots of this device in dir, which it creates if need be:
// the first boot is 1, and calling it again in one boot counts nothing. When it
// returns nil the count survives loss of power. A damaged file is an error,
// never a new start: a count that goes back would be signed.
//
// Format of dir/boots: one line, decimal count, boot id in hex, and the CRC-32
// (IEEE) of both with the blank after them, separated by blanks.
func Boots(dir string, bootID [16]byte) (count uint64, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("clock: %w", err)
	}
	name := filepath.Join(dir, bootsName)
	count, last, err := readBoots(name)
	if err != nil {
		return 0, fmt.Errorf("clock: %s: %w\nhint: ask the gateway for this device's last boot count and write a file with a higher one, or enrol the device again", name, err)
	}
	if count > 0 && last == bootID {
		return count, nil
	}
	count++
	if err := writeBoots(dir, name, count, bootID); err != nil {
		return 0, fmt.Errorf("clock: save boot count %d: %w", count, err)
	}
	return count, nil
}

func marshalBoots(count uint64, id [16]byte) string {
	s := fmt.Sprintf("%d %x ", count, id)
	return fmt.Sprintf("%s%08x\n", s, crc32.ChecksumIEEE([]byte(s)))
}

func parseBoots(s string) (count uint64, id [16]byte, err error) {
	var raw string
	if n, err := fmt.Sscanf(s, "%d %32s", &count, &raw); n != 2 {
		return 0, id, fmt.Errorf("not a boot count: %w", err)
	}
	b, err := hex.DecodeString(raw)
	if err != nil || len(b) != len(id) {
		return 0, id, fmt.Errorf("boot id %q is not 32 hex digits", raw)
	}
	copy(id[:], b)
	// The wire format gives a boot count 32 bits.
	if count == 0 || count >= math.MaxUint32 {
		return 0, id, fmt.Errorf("boot count %d is not in 1..%d", count, uint32(math.MaxUint32-1))
	}
	if want := marshalBoots(count, id); s != want {
		return 0, id, fmt.Errorf("boot count reads %q, want %q", s, want)
	}
	return count, id, nil
}

// readBoots returns count 0 if there is no file.
func readBoots(name string) (count uint64, id [16]byte, err error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return 0, id, nil
	} else if err != nil {
		return 0, id, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 128))
	if err != nil {
		return 0, id, err
	}
	return parseBoots(string(b))
}

// writeBoots replaces the file whole, so that a power cut leaves the old or the new count.
func writeBoots(dir, name string, count uint64, id [16]byte) error {
	tmp := name + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, strings.NewReader(marshalBoots(count, id)))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, name); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
