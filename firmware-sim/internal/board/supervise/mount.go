package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mount puts the plan's files in place and returns what identifies those that
// stand for devices. The process is in a mount namespace of its own by then.
func (p plan) mount() (map[string]fileID, error) {
	g := grafts{stage: p.Stage, made: map[uint64]bool{}}
	hide := func(name string) bool {
		for _, pattern := range p.Hide {
			if ok, err := filepath.Match(pattern, name); ok && err == nil {
				return true
			}
		}
		return false
	}
	if len(p.Devices)+len(p.Hide) > 0 {
		if err := g.graft("/dev", hide); err != nil {
			return nil, err
		}
	}
	for _, m := range p.Mounts {
		if err := g.place(m.Source, m.Target); err != nil {
			return nil, err
		}
	}
	files := map[string]fileID{}
	for _, path := range p.Devices {
		if filepath.Dir(path) != "/dev" {
			return nil, fmt.Errorf("device %s, want a name in /dev", path)
		}
		// Open to a command that gives up root: nobody else sees the file.
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			return nil, err
		}
		if err := os.Chmod(path, 0o666); err != nil {
			return nil, err
		}
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
		}
		files[path] = identify(&st)
	}
	if len(files) > 0 {
		return files, fill("/dev/.full")
	}
	return files, nil
}

// fill takes the last block of the file system that holds the devices: writing to
// one must fail, not succeed without a chip.
func fill(path string) error {
	err := os.WriteFile(path, make([]byte, os.Getpagesize()+1), 0o400)
	if !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("%s: got %v, want the file system full", path, err)
	}
	return nil
}

// grafts are directories of this machine that we can add names to, such as those
// of sysfs: a copy of their entries takes their place.
type grafts struct {
	stage string
	made  map[uint64]bool // by device number
}

// place makes target show source, and makes target if it does not exist.
func (g *grafts) place(source, target string) error {
	if st, err := os.Stat(source); err != nil {
		return err
	} else if err := g.make(target, st.IsDir()); err != nil {
		return err
	}
	return bind(source, target)
}

func (g *grafts) make(target string, dir bool) error {
	if _, err := os.Lstat(target); err == nil {
		return nil
	}
	parent := filepath.Dir(target)
	for {
		if _, err := os.Lstat(parent); err == nil {
			break
		}
		parent = filepath.Dir(parent)
	}
	if err := g.graft(parent, func(string) bool { return false }); err != nil {
		return err
	}
	if dir {
		return os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return os.WriteFile(target, nil, 0o644)
}

// graft replaces dir by a small file system with the same entries, hidden ones left
// out, unless dir is in one already.
func (g *grafts) graft(dir string, hidden func(name string) bool) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	if g.made[uint64(st.Dev)] {
		return nil
	}
	// One page is as small as tmpfs gets. Names and mount points take none of it.
	options := fmt.Sprintf("size=%d,mode=%o", os.Getpagesize(), st.Mode&0o7777)
	if err := unix.Mount("tmpfs", g.stage, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if hidden(e.Name()) {
			continue
		}
		if err := show(filepath.Join(dir, e.Name()), filepath.Join(g.stage, e.Name()), e.Type()); err != nil {
			return err
		}
	}
	if err := unix.Mount(g.stage, dir, "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("mount on %s: %w", dir, err)
	}
	if err := unix.Stat(dir, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	g.made[uint64(st.Dev)] = true
	return nil
}

// show makes one entry of a directory appear in its graft.
func show(source, target string, mode fs.FileMode) error {
	switch {
	case mode&fs.ModeSymlink != 0:
		to, err := os.Readlink(source)
		if err != nil {
			return err
		}
		return os.Symlink(to, target)
	case mode.IsDir():
		if err := os.Mkdir(target, 0o755); err != nil {
			return err
		}
	default:
		if err := os.WriteFile(target, nil, 0o644); err != nil {
			return err
		}
	}
	return bind(source, target)
}

func bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	return nil
}
