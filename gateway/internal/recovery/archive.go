package recovery

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"trailmark/statement"
)

// An Archive keeps statements that are not frames as files beside the store: they
// come once, and no device would send them again. It is a folder; a file is named
// by the statement's ledger entry.
type Archive string

const suffix = ".cose"

// Save keeps statements. When it returns nil they survive loss of power.
func (a Archive) Save(ss ...*statement.Statement) error {
	if err := os.MkdirAll(string(a), 0o700); err != nil {
		return err
	}
	fresh := false
	for _, s := range ss {
		path := filepath.Join(string(a), s.Entry().String()+suffix)
		if _, err := os.Lstat(path); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := write(path+".new", s.Bytes()); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
		fresh = true
	}
	if !fresh {
		return nil
	}
	d, err := os.Open(string(a))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func write(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Load reads every statement that is whole. One that is damaged is none: its hash
// would be no entry.
func (a Archive) Load() (out []*statement.Statement, err error) {
	names, err := filepath.Glob(filepath.Join(string(a), "*"+suffix))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if info.Size() > statement.MaxSize {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if s, err := statement.Parse(data); err == nil {
			out = append(out, s)
		}
	}
	return out, nil
}
