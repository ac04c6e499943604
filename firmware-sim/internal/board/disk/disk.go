// Package disk is a memory card of limited size under the data folder of a command:
// it fills up, and is emptied, while the command runs.
//
// It promises that the command finds on it what the folder had, that nothing but what
// the command itself lets go makes room on a card that is full, and that what is on it
// when the command has ended is in the folder afterwards, whole or not at all: a
// supervisor that is killed leaves the folder as it was at the start.
//
// The card is a tmpfs, so it takes as much memory as it has bytes in use; a full one
// its whole size.
package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of a card's size, in bytes.
const (
	MinSize = 64 << 10
	MaxSize = 1 << 30
)

// A Size is a number of bytes.
type Size int64

// ParseSize reads a number with KiB, MiB or GiB behind it, or without.
func ParseSize(s string) (Size, error) {
	m := regexp.MustCompile(`^([0-9]{1,10})(|KiB|MiB|GiB)$`).FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("size: %q, want a number of bytes such as 8MiB", s)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("size: %w", err)
	}
	n <<= map[string]int{"KiB": 10, "MiB": 20, "GiB": 30}[m[2]]
	if n < MinSize || n > MaxSize {
		return 0, fmt.Errorf("size: %d bytes, want %d to %d", n, MinSize, MaxSize)
	}
	return Size(n), nil
}

// A Config says where a card is.
type Config struct {
	Path string `json:"path"` // absolute
	Size Size   `json:"size"`
}

// Check looks at what needs no machine.
func (c Config) Check() error {
	if !filepath.IsAbs(c.Path) || filepath.Clean(c.Path) != c.Path || c.Path == "/" {
		return fmt.Errorf("path: %q, want a clean path from /, as the command names its data folder", c.Path)
	}
	return nil
}

// Names at the root of a card; the command sees what is in the first.
const (
	dataName   = "data"
	fillerName = "filler"
)

// Mount puts the card in the place of its folder, which it makes if it is missing,
// and returns the card's root. The process must be in a mount namespace of its own;
// stage is an empty folder.
func (c Config) Mount(stage string) (*os.File, error) {
	if err := os.MkdirAll(c.Path, 0o700); err != nil {
		return nil, fmt.Errorf("disk: %w", err)
	}
	options := fmt.Sprintf("size=%d,mode=0755", c.Size)
	if err := unix.Mount("tmpfs", stage, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return nil, fmt.Errorf("disk: mount tmpfs: %w", err)
	}
	root, err := os.Open(stage)
	if err != nil {
		return nil, fmt.Errorf("disk: %w", err)
	}
	data := filepath.Join(stage, dataName)
	err = copyTree(c.Path, data)
	if errors.Is(err, unix.ENOSPC) {
		err = fmt.Errorf("what is in %s does not fit: %w\nhint: the card has %d bytes; raise size in the board file", c.Path, err, c.Size)
	}
	if err == nil {
		err = unix.Mount(data, c.Path, "", unix.MS_BIND, "")
	}
	if err == nil {
		err = unix.Unmount(stage, unix.MNT_DETACH) // root and the bind mount keep it
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("disk: %w", err), root.Close())
	}
	return root, nil
}

// A Disk is a card that a command has. Safe for concurrent use.
type Disk struct {
	config Config

	mu     sync.Mutex
	root   *os.File           // of the card; nil before Attach and after Save
	filler *os.File           // what takes the room of a full card, or nil
	stop   context.CancelFunc // ends what keeps it full
	kept   sync.WaitGroup
}

// New makes a card that no command has yet.
func New(c Config) *Disk { return &Disk{config: c} }

// Config says where the card is.
func (d *Disk) Config() Config { return d.config }

// Attach takes over the root that Mount returned in another process.
func (d *Disk) Attach(root *os.File) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.root = root
}

// Parse reads what can happen to a card: full or free.
func (d *Disk) Parse(word string) (happen func() error, err error) {
	switch word {
	case "full":
		return d.fill, nil
	case "free":
		return d.free, nil
	}
	return nil, fmt.Errorf("a disk has no fault %q, want full or free", word)
}

// refill is how soon room that the command makes on a full card is taken.
const refill = 20 * time.Millisecond

func (d *Disk) fill() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.root == nil {
		return errors.New("no command has the disk")
	}
	if d.filler != nil {
		return nil
	}
	f, err := os.OpenFile(d.path(fillerName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := take(f); err != nil {
		return errors.Join(err, f.Close(), os.Remove(d.path(fillerName)))
	}
	ctx, stop := context.WithCancel(context.Background())
	d.filler, d.stop = f, stop
	d.kept.Go(func() {
		ticker := time.NewTicker(refill)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				_ = take(f) // the next tick tries again
			}
		}
	})
	return nil
}

func (d *Disk) free() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.filler == nil {
		return nil
	}
	d.stop()
	d.kept.Wait()
	err := errors.Join(d.filler.Close(), os.Remove(d.path(fillerName)))
	d.filler = nil
	return err
}

func (d *Disk) path(name string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", d.root.Fd(), name) }

// piece is taken at a time, in bytes: a signal to this process takes back the whole
// of what a call has taken so far.
const piece = 1 << 20

// take gives f what room its file system has left.
func take(f *os.File) error {
	for range 2 * MaxSize / piece {
		var st unix.Statfs_t
		if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
			return err
		}
		if st.Bfree == 0 {
			return nil
		}
		end, err := f.Seek(0, 2)
		if err != nil {
			return err
		}
		size := min(int64(st.Bfree)*int64(st.Bsize), piece)
		for err = unix.EINTR; err == unix.EINTR; {
			err = unix.Fallocate(int(f.Fd()), 0, end, size)
		}
		if err != nil && err != unix.ENOSPC { // it was taken meanwhile
			return err
		}
	}
	return nil
}

// Save puts what is on the card into the folder and lets go of the card. When it
// returns nil the folder's new content survives loss of power. Without a card that
// was attached it does nothing.
func (d *Disk) Save() error {
	if err := d.free(); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.root == nil {
		return nil
	}
	err := errors.Join(replaceTree(d.path(dataName), d.config.Path), d.root.Close())
	if d.root = nil; err != nil {
		return fmt.Errorf("disk: keep what was on it: %w", err)
	}
	return nil
}

// Discard lets go of the card and leaves the folder as it was.
func (d *Disk) Discard() error {
	if err := d.free(); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.root == nil {
		return nil
	}
	root := d.root
	d.root = nil
	return root.Close()
}
