package budget

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrNoCard says that this machine lets nobody mount a file system, or us not.
var ErrNoCard = errors.New("budget: no card: mounting a file takes root, loop devices and mkfs.ext4")

// A Card is an ext4 file system of its own in a file, as a stand-in for an SD
// card: whatever reaches its block device was written by its one user or by the
// file system on that user's behalf.
type Card struct {
	dir    string
	device string // name below /sys/block
}

// Mount makes a card of a size in bytes in a file and mounts it at dir, which it
// makes. Its error wraps ErrNoCard where that is not possible.
func Mount(file, dir string, size int64) (*Card, error) {
	if os.Geteuid() != 0 {
		return nil, ErrNoCard
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, fmt.Errorf("budget: %w", err)
	}
	if err := errors.Join(f.Truncate(size), f.Close(), os.MkdirAll(dir, 0o700)); err != nil {
		return nil, fmt.Errorf("budget: %w", err)
	}
	// Nothing is left to be initialised in the background: that would count as ours.
	if err := run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", file); err != nil {
		return nil, err
	}
	if err := run("mount", "-o", "loop", file, dir); err != nil {
		return nil, err
	}
	c := &Card{dir: dir}
	out, err := exec.Command("findmnt", "-no", "SOURCE", dir).Output()
	if err != nil {
		return nil, errors.Join(ErrNoCard, err, c.Unmount())
	}
	c.device = filepath.Base(strings.TrimSpace(string(out)))
	return c, nil
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s: %w: %s", ErrNoCard, name, err, out)
	}
	return nil
}

// Written is how many bytes the block device has received, those of the journal
// and of other metadata included (Documentation/block/stat.rst).
func (c *Card) Written() (int64, error) {
	text, err := os.ReadFile(filepath.Join("/sys/block", c.device, "stat"))
	if err != nil {
		return 0, fmt.Errorf("budget: %w", err)
	}
	words := strings.Fields(string(text))
	if len(words) < 7 {
		return 0, fmt.Errorf("budget: %s: %d fields", c.device, len(words))
	}
	sectors, err := strconv.ParseInt(words[6], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("budget: %s: %w", c.device, err)
	}
	return sectors * 512, nil
}

// Unmount takes the card out. Nobody may have a file open on it.
func (c *Card) Unmount() error {
	if out, err := exec.Command("umount", c.dir).CombinedOutput(); err != nil {
		return fmt.Errorf("budget: umount %s: %w: %s", c.dir, err, out)
	}
	return nil
}
