package recovery

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"trailmark/gateway/internal/ingest"
	"trailmark/statement"
)

// An Archive keeps statements that are not frames as files beside the store: they
// come once, and no device would send them again. It is a folder; a file is named
// by the statement's ledger entry.
type Archive string

// Suffixes of a statement's file, and of what only the gateway has of an event:
// all of it, or what is left once its document was erased.
const (
	suffix          = ".cose"
	privateSuffix   = ".event"
	forgottenSuffix = ".leaves"
)

// SaveEvents keeps events with what only the gateway has of them. When it returns
// nil they survive loss of power.
func (a Archive) SaveEvents(events ...ingest.Event) error {
	if err := os.MkdirAll(string(a), 0o700); err != nil {
		return err
	}
	statements := make([]*statement.Statement, len(events))
	for i, e := range events {
		statements[i] = e.Statement
		if err := a.put(a.path(e.Statement, privateSuffix), e.Private); err != nil {
			return err
		}
	}
	if err := a.Save(statements...); err != nil {
		return err
	}
	return a.sync()
}

func (a Archive) put(path string, p ingest.Private) error {
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := write(path+".new", data); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (a Archive) path(s *statement.Statement, suffix string) string {
	return filepath.Join(string(a), s.Entry().String()+suffix)
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// HasPrivate reports whether something of an event is kept beside its statement.
func (a Archive) HasPrivate(s *statement.Statement) bool {
	return there(a.path(s, privateSuffix)) || a.Forgotten(s)
}

// Forgotten reports whether the document of an event was erased.
func (a Archive) Forgotten(s *statement.Statement) bool { return there(a.path(s, forgottenSuffix)) }

// Private is what is kept of an event beside its statement; nothing where that was
// lost or is damaged.
func (a Archive) Private(s *statement.Statement) (p ingest.Private, err error) {
	for _, suffix := range []string{forgottenSuffix, privateSuffix} {
		data, err := os.ReadFile(a.path(s, suffix))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return p, err
		}
		if json.Unmarshal(data, &p) != nil {
			return ingest.Private{}, nil
		}
		return p, nil
	}
	return p, nil
}

// Forget erases an event's document and seed. When it returns nil they are in no
// file of the archive, and it is on record there that they are not to come back.
func (a Archive) Forget(s *statement.Statement) error {
	if !a.Forgotten(s) {
		p, err := a.Private(s)
		if err != nil {
			return err
		}
		p.Doc, p.Seed = nil, nil
		if err := os.MkdirAll(string(a), 0o700); err != nil {
			return err
		}
		if err := a.put(a.path(s, forgottenSuffix), p); err != nil {
			return err
		}
		if err := a.sync(); err != nil {
			return err
		}
	}
	if err := os.Remove(a.path(s, privateSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return a.sync()
}

func (a Archive) sync() error {
	d, err := os.Open(string(a))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

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
	return a.sync()
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
