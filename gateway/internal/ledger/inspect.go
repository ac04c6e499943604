package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/note"
)

// driverVersion is what the driver writes of the form of its directory, once.
const driverVersion = "1"

// A Fault is something in a log's directory, or in a row it is compared with,
// that is not what the log's entries give.
type Fault struct {
	File   string // below the directory; "": the caller's row
	Offset int64  // in the file of the first wrong byte; −1: all of it
	Entry  uint64 // of a row: its index
	What   string
}

// An Inspection recomputes a log from its stored entries, without signing and
// without a lock: it may run beside the gateway that writes the log. Three
// copies of each entry vote, the caller's row, the entry bundle and the leaf in
// the tile, so that the one that is wrong is named.
type Inspection struct {
	Dir    string
	Key    note.Verifier                       // of checkpoints; its name is the origin
	Row    func(index uint64) ([32]byte, bool) // the caller's entry, asked for in ascending order; false: none
	Sizes  map[uint64]bool                     // to compute roots at
	Report func(Fault)                         // is called for each fault
	Done   func(entries, of uint64)            // progress; nil: nobody asks
	roots  map[uint64][32]byte
	tree   tree
	size   uint64
	leaves [][sha256.Size]byte // of the bundle at hand
}

// Inspected is what an inspection found to stand on.
type Inspected struct {
	Size   uint64              // entries in the tree, published or not
	Signed uint64              // of these, under the published checkpoint
	Roots  map[uint64][32]byte // at the sizes asked for, as far as there are entries
}

func (in *Inspection) fault(file string, offset int64, format string, args ...any) {
	in.Report(Fault{File: file, Offset: offset, What: fmt.Sprintf(format, args...)})
}

// Run inspects. It returns an error only when ctx ends; what cannot be read is a
// fault.
func (in *Inspection) Run(ctx context.Context) (Inspected, error) {
	in.tree, in.roots = tree{in.Dir}, map[uint64][32]byte{}
	// The checkpoint first: the tree only grows, so its state then covers it.
	cp, signed := in.checkpoint()
	size, root, err := in.state()
	switch {
	case errors.Is(err, fs.ErrNotExist) && !signed:
		return Inspected{Roots: in.roots}, nil // a log without entries
	case err == nil && size < cp.Size:
		err = fmt.Errorf("size %d, the checkpoint is over %d entries", size, cp.Size)
	case err == nil && size > cp.Size:
		last := (size - 1) / tileWidth
		if in.read(covered(0, last, size), maxBundle, func(p uint8) string { return layout.EntriesPath(last, p) }) == nil {
			err = fmt.Errorf("size %d, but no entry of that index", size)
		}
	}
	known := err == nil
	if !known {
		in.fault(".state/treeState", -1, "%v", err)
		size = cp.Size
	}
	in.size = size
	out := Inspected{Size: size, Signed: cp.Size, Roots: in.roots}
	wanted := map[uint64]bool{size: true, cp.Size: true}
	for s := range in.Sizes {
		wanted[s] = true
	}
	above, err := in.entries(ctx, wanted)
	if err != nil {
		return out, err
	}
	for level := uint64(1); len(above) > 0 && level < 8; level++ {
		if above, err = in.level(ctx, level, above); err != nil {
			return out, err
		}
	}
	if got := in.roots[size]; known && got != root {
		in.fault(".state/treeState", -1, "root %x at size %d, the entries give %x", root, size, got)
	}
	switch got, ok := in.roots[cp.Size]; {
	case signed && !ok:
		in.fault(layout.CheckpointPath, -1, "size %d, the tree has %d entries", cp.Size, size)
	case signed && got != cp.Root:
		in.fault(layout.CheckpointPath, -1, "root %x at size %d is signed, the entries give %x", cp.Root, cp.Size, got)
	}
	in.versions()
	return out, nil
}

// checkpoint opens the published checkpoint and holds it to its one form: the
// bytes that a lenient reader of signed notes skips count too.
func (in *Inspection) checkpoint() (Checkpoint, bool) {
	raw, err := in.tree.readBounded(layout.CheckpointPath, maxCheckpoint)
	if errors.Is(err, fs.ErrNotExist) {
		if size, _, err := in.tree.state(); err == nil && size > 0 {
			in.fault(layout.CheckpointPath, -1, "missing, the tree has %d entries", size)
		}
		return Checkpoint{}, false
	} else if err != nil {
		in.fault(layout.CheckpointPath, -1, "%v", err)
		return Checkpoint{}, false
	}
	cp, err := CheckNote(raw, in.Key)
	if err != nil {
		in.fault(layout.CheckpointPath, -1, "%v", err)
		return Checkpoint{}, false
	}
	return cp, true
}

// CheckNote is ParseCheckpoint that also wants every signature line in its one
// spelling: base64 has bits, and a decoder of it skips bytes, that no signature
// covers.
func CheckNote(raw []byte, v note.Verifier) (Checkpoint, error) {
	cp, err := ParseCheckpoint(raw, v)
	if err != nil {
		return cp, err
	}
	_, lines, _ := bytes.Cut(raw, []byte("\n\n"))
	for line := range bytes.Lines(lines) {
		text := strings.TrimSuffix(string(line), "\n")
		sig := text[strings.LastIndexByte(text, ' ')+1:]
		b, err := base64.StdEncoding.DecodeString(sig)
		if err != nil || base64.StdEncoding.EncodeToString(b) != sig {
			return cp, fmt.Errorf("checkpoint: signature line %q is not written in its one form", text)
		}
	}
	return cp, nil
}

// state reads the driver's state and holds it to the form that the driver writes.
func (in *Inspection) state() (uint64, [32]byte, error) {
	raw, err := in.tree.readBounded(filepath.Join(".state", "treeState"), maxState)
	if err != nil {
		return 0, [32]byte{}, err
	}
	size, root, err := parseState(raw)
	if err != nil {
		return 0, root, err
	}
	again, err := json.Marshal(struct {
		Size uint64 `json:"size"`
		Root []byte `json:"root"`
	}{size, root[:]})
	if err != nil || !bytes.Equal(again, raw) {
		return 0, root, errors.New("tree state is not as the driver writes it")
	}
	return size, root, nil
}

// entries settles every entry, checks the files of level 0, and gives the hashes
// of level 1.
func (in *Inspection) entries(ctx context.Context, sizes map[uint64]bool) (above [][sha256.Size]byte, err error) {
	grow := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	note := func(size uint64) {
		if !sizes[size] {
			return
		}
		root, err := grow.GetRootHash(nil)
		if size == 0 {
			root, err = rfc6962.DefaultHasher.EmptyRoot(), nil
		}
		if err == nil {
			in.roots[size] = [32]byte(root)
		}
	}
	note(0)
	for index := uint64(0); covered(0, index, in.size) > 0; index++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		in.settle(index)
		for i := range in.leaves {
			if err := grow.Append(in.leaves[i][:], nil); err != nil {
				return nil, err
			}
			note(index*tileWidth + uint64(i) + 1)
		}
		if len(in.leaves) == tileWidth {
			above = append(above, tileRoot(in.leaves))
		}
		if in.Done != nil {
			in.Done(min((index+1)*tileWidth, in.size), in.size)
		}
	}
	return above, nil
}

// settle finds what each entry of a bundle is, reports the copies that differ
// from it, and leaves the leaf hashes in in.leaves.
func (in *Inspection) settle(index uint64) {
	n := covered(0, index, in.size)
	bundle := in.read(n, maxBundle, func(p uint8) string { return layout.EntriesPath(index, p) })
	tile := in.read(n, maxTile, func(p uint8) string { return layout.TilePath(0, index, p) })
	bundles, tiles := make([]byte, 0, n*entrySize), make([]byte, 0, n*sha256.Size)
	in.leaves = in.leaves[:0]
	for i := range n {
		b, inBundle := slot[[sha256.Size]byte](bundle, i, entrySize, 2)
		leaf, inTile := slot[[sha256.Size]byte](tile, i, sha256.Size, 0)
		row, inRow := in.Row(index*tileWidth + i)
		entry := b
		switch {
		case inBundle && inTile && hashLeaf(b) == leaf:
		case inRow && inTile && hashLeaf(row) == leaf, inRow && inBundle && row == b, inRow && !inBundle:
			entry = row
		case !inBundle && inTile:
			in.leaves = append(in.leaves, leaf) // the entry is lost, its leaf is not
			bundles, tiles = append(bundles, make([]byte, entrySize)...), append(tiles, leaf[:]...)
			continue
		}
		if inRow && row != entry {
			in.Report(Fault{Entry: index*tileWidth + i, Offset: -1, What: fmt.Sprintf("hashes to %x, the ledger's entry is %x", row, entry)})
		}
		leaf = hashLeaf(entry)
		in.leaves = append(in.leaves, leaf)
		bundles = append(binary.BigEndian.AppendUint16(bundles, sha256.Size), entry[:]...)
		tiles = append(tiles, leaf[:]...)
	}
	in.files(n, bundles, entrySize, func(p uint8) string { return layout.EntriesPath(index, p) })
	in.files(n, tiles, sha256.Size, func(p uint8) string { return layout.TilePath(0, index, p) })
}

func hashLeaf(entry [sha256.Size]byte) [sha256.Size]byte {
	return [sha256.Size]byte(rfc6962.DefaultHasher.HashLeaf(entry[:]))
}

// slot is the hash at place i of a file with a fixed grid.
func slot[T ~[sha256.Size]byte](raw []byte, i uint64, grid, skip int) (h T, ok bool) {
	at := int(i) * grid
	if at+grid > len(raw) {
		return h, false
	}
	return T(raw[at+skip : at+grid]), true
}

// level checks the tiles that hold the given hashes and gives those of the level
// above.
func (in *Inspection) level(ctx context.Context, level uint64, hashes [][sha256.Size]byte) (above [][sha256.Size]byte, err error) {
	for index := uint64(0); covered(level, index, in.size) > 0; index++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n := covered(level, index, in.size)
		some := hashes[index*tileWidth : index*tileWidth+n]
		var want []byte
		for i := range some {
			want = append(want, some[i][:]...)
		}
		in.files(n, want, sha256.Size, func(p uint8) string { return layout.TilePath(level, index, p) })
		if n == tileWidth {
			above = append(above, tileRoot(some))
		}
	}
	return above, nil
}

// read reads the file of the given width or the full one. What is wrong with it
// files tells.
func (in *Inspection) read(width uint64, limit int, path func(p uint8) string) []byte {
	raw, _ := in.tree.readWide(width, limit, path)
	return raw
}

// files compares every stored width of one tile or bundle with its n hashes: the
// full one, the one of n, and those of earlier batches that are still there.
func (in *Inspection) files(n uint64, want []byte, grid int, path func(p uint8) string) {
	full := path(0)
	names := map[string]uint64{full: tileWidth}
	dir := full + ".p"
	partial, err := os.ReadDir(filepath.Join(in.Dir, dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		in.fault(dir, -1, "%v", err)
	}
	for _, e := range partial {
		width, err := strconv.ParseUint(e.Name(), 10, 8)
		if err != nil || width == 0 {
			continue // the driver's temporary files
		}
		names[filepath.Join(dir, e.Name())] = width
	}
	found := false
	for name, width := range names {
		raw, err := in.tree.readBounded(name, tileWidth*entrySize)
		if errors.Is(err, fs.ErrNotExist) {
			continue // never written, or collected meanwhile
		} else if err != nil {
			in.fault(name, -1, "%v", err)
			continue
		}
		found = found || width >= n
		if len(raw) != int(width)*grid {
			in.fault(name, -1, "%d bytes, want %d", len(raw), int(width)*grid)
			continue
		}
		for at := range min(len(raw), len(want)) {
			if raw[at] != want[at] {
				in.fault(name, int64(at), "hash %d of it is not what the entries give", at/grid)
				break
			}
		}
	}
	if !found {
		in.fault(full, -1, "missing, and so is its part of %d", n)
	}
}

// versions checks the driver's small files: one that it cannot read keeps the
// log from opening.
func (in *Inspection) versions() {
	raw, err := in.tree.readBounded(filepath.Join(".state", "version"), maxState)
	if err != nil {
		in.fault(".state/version", -1, "%v", err)
	} else if string(raw) != driverVersion {
		in.fault(".state/version", -1, "%q, want %q", raw, driverVersion)
	}
}
