package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// copyTree makes to, which must not exist, a copy of the folder from with the same
// modes and owners. Sockets and pipes, which nobody listens on any more, are left out.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		switch e.Type() {
		case fs.ModeDir:
			err = os.Mkdir(target, 0o700)
		case fs.ModeSymlink:
			var points string
			if points, err = os.Readlink(path); err == nil {
				err = os.Symlink(points, target)
			}
		case 0:
			err = copyFile(path, target)
		default:
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && err == nil {
			err = os.Lchown(target, int(st.Uid), int(st.Gid))
		}
		if e.Type() != fs.ModeSymlink && err == nil {
			err = os.Chmod(target, info.Mode())
		}
		return err
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// replaceTree puts a copy of the folder from in the place of the folder at to, whole
// or not at all. When it returns nil the copy survives loss of power.
func replaceTree(from, to string) error {
	beside, err := os.MkdirTemp(filepath.Dir(to), filepath.Base(to)+".card-")
	if err != nil {
		return err
	}
	fresh := filepath.Join(beside, "new")
	if err = copyTree(from, fresh); err == nil {
		err = syncFS(fresh)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(beside))
	}
	if err := unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE); err != nil {
		return fmt.Errorf("put %s in the place of %s: %w\nhint: move it there by hand", fresh, to, err)
	}
	return errors.Join(syncFS(to), os.RemoveAll(beside)) // beside holds what was there before
}

func syncFS(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
