package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
)

const (
	tileWidth   = layout.TileWidth // hashes in a full tile
	entrySize   = 2 + sha256.Size  // an entry in a bundle: its length, big endian, and the hash
	maxTile     = tileWidth * sha256.Size
	maxBundle   = tileWidth * entrySize
	maxState    = 4 << 10
	tailBundles = 4096 // full bundles that Open reads back: 1,048,576 entries, half a second
)

// tree reads the stored bytes of one log: C2SP tlog-tiles files below a
// directory, as Tessera's POSIX driver writes them. It trusts none of them.
// It has no state; safe for concurrent use.
type tree struct{ dir string }

// readBounded reads a whole file that may hold at most limit bytes.
func (t tree) readBounded(path string, limit int) ([]byte, error) {
	f, err := os.Open(filepath.Join(t.dir, path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > limit {
		return nil, fmt.Errorf("%s: over %d bytes", path, limit)
	}
	return raw, nil
}

// state returns the size and root that the driver last integrated.
func (t tree) state() (size uint64, root [sha256.Size]byte, err error) {
	raw, err := t.readBounded(filepath.Join(".state", "treeState"), maxState)
	if err != nil {
		return 0, root, err
	}
	return parseState(raw)
}

func parseState(raw []byte) (size uint64, root [sha256.Size]byte, err error) {
	var s struct {
		Size uint64 `json:"size"`
		Root []byte `json:"root"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return 0, root, fmt.Errorf("tree state: %w", err)
	}
	if len(s.Root) != sha256.Size {
		return 0, root, fmt.Errorf("tree state: root of %d bytes, want %d", len(s.Root), sha256.Size)
	}
	return s.Size, [sha256.Size]byte(s.Root), nil
}

// tile returns the hashes of the tile at (level, index) in a log of size cur.
// cur is the integrated size and not the size of a proof: only tiles at sizes
// where a batch ended exist, and a later tile holds all of an earlier one.
func (t tree) tile(level, index, cur uint64) ([][sha256.Size]byte, error) {
	want := covered(level, index, cur)
	if want == 0 {
		return nil, fmt.Errorf("tile %d/%d: not in a log of size %d", level, index, cur)
	}
	raw, err := t.readWide(want, maxTile, func(p uint8) string { return layout.TilePath(level, index, p) })
	if err != nil {
		return nil, err
	}
	return parseTile(raw, want)
}

// bundle returns the entries of bundle index in a log of size cur.
func (t tree) bundle(index, cur uint64) ([][sha256.Size]byte, error) {
	want := covered(0, index, cur)
	if want == 0 {
		return nil, fmt.Errorf("entry bundle %d: not in a log of size %d", index, cur)
	}
	raw, err := t.readWide(want, maxBundle, func(p uint8) string { return layout.EntriesPath(index, p) })
	if err != nil {
		return nil, err
	}
	return parseBundle(raw, want)
}

// readWide reads the file of the given width or, once the collector has taken
// that away, the full one.
func (t tree) readWide(width uint64, limit int, path func(p uint8) string) ([]byte, error) {
	if width < tileWidth {
		raw, err := t.readBounded(path(uint8(width)), limit)
		if !errors.Is(err, fs.ErrNotExist) {
			return raw, err
		}
	}
	return t.readBounded(path(0), limit)
}

// covered is how many hashes of the tile at (level, index) a log of the given
// size has: 0 to 256.
func covered(level, index, size uint64) uint64 {
	if level > 7 || index > 1<<56 {
		return 0
	}
	n, first := size>>(8*level), index*tileWidth
	if n <= first {
		return 0
	}
	return min(n-first, tileWidth)
}

// parseTile returns the first want hashes of a tile, which may be wider.
func parseTile(raw []byte, want uint64) ([][sha256.Size]byte, error) {
	if len(raw)%sha256.Size != 0 || len(raw) > maxTile || uint64(len(raw)/sha256.Size) < want {
		return nil, fmt.Errorf("tile of %d bytes, want %d", len(raw), want*sha256.Size)
	}
	hashes := make([][sha256.Size]byte, want)
	for i := range hashes {
		hashes[i] = [sha256.Size]byte(raw[i*sha256.Size:])
	}
	return hashes, nil
}

// parseBundle returns the first want entries of a bundle, which may be wider.
// Every entry of ours is 32 bytes long, so a bundle has a fixed grid.
func parseBundle(raw []byte, want uint64) ([][sha256.Size]byte, error) {
	if len(raw)%entrySize != 0 || len(raw) > maxBundle || uint64(len(raw)/entrySize) < want {
		return nil, fmt.Errorf("entry bundle of %d bytes, want %d", len(raw), want*entrySize)
	}
	entries := make([][sha256.Size]byte, want)
	for i := range entries {
		e := raw[i*entrySize : (i+1)*entrySize]
		if n := binary.BigEndian.Uint16(e); n != sha256.Size {
			return nil, fmt.Errorf("entry bundle: entry %d of %d bytes, want %d", i, n, sha256.Size)
		}
		entries[i] = [sha256.Size]byte(e[2:])
	}
	return entries, nil
}

// fetch serves the proof builder with tiles of a log of size cur.
func (t tree) fetch(cur uint64) client.TileFetcherFunc {
	return func(ctx context.Context, level, index uint64, _ uint8) ([]byte, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		hashes, err := t.tile(level, index, cur)
		if err != nil {
			return nil, err
		}
		raw := make([]byte, 0, len(hashes)*sha256.Size)
		for i := range hashes {
			raw = append(raw, hashes[i][:]...)
		}
		return raw, nil
	}
}

// root computes the root of the first size entries of a log of size cur.
func (t tree) root(ctx context.Context, size, cur uint64) ([sha256.Size]byte, error) {
	var root [sha256.Size]byte
	if size == 0 {
		return [sha256.Size]byte(rfc6962.DefaultHasher.EmptyRoot()), nil
	}
	nodes, err := client.FetchRangeNodes(ctx, size, t.fetch(cur))
	if err != nil {
		return root, fmt.Errorf("root of size %d: %w", size, err)
	}
	r, err := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewRange(0, size, nodes)
	if err != nil {
		return root, fmt.Errorf("root of size %d: %w", size, err)
	}
	h, err := r.GetRootHash(nil)
	if err != nil {
		return root, fmt.Errorf("root of size %d: %w", size, err)
	}
	return [sha256.Size]byte(h), nil
}

// check recomputes a log of the given size from its stored bytes: entries to
// leaf hashes, every full tile to its hash in the tile above, and the right
// edge to root. Entries before bundle from are left out; the tiles above them
// are not.
func (t tree) check(ctx context.Context, from, size uint64, root [sha256.Size]byte) error {
	return t.checkFrom(ctx, from, false, size, root)
}

// checkFrom is check that, with grown, leaves out the tiles above entries before
// bundle from, too: only what was written since is read.
func (t tree) checkFrom(ctx context.Context, from uint64, grown bool, size uint64, root [sha256.Size]byte) error {
	for level := uint64(0); size>>(8*level) > 0 && level < 8; level++ {
		index := uint64(0)
		if level == 0 || grown {
			index = from >> (8 * level)
		}
		var above [][sha256.Size]byte // the tile over this one, if it has any hash
		for first := index; covered(level, index, size) > 0; index++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			if index == first || index%tileWidth == 0 {
				above = nil
				if covered(level+1, index/tileWidth, size) > 0 {
					var err error
					if above, err = t.tile(level+1, index/tileWidth, size); err != nil {
						return err
					}
				}
			}
			if err := t.checkTile(level, index, size, above); err != nil {
				return err
			}
		}
	}
	got, err := t.root(ctx, size, size)
	if err != nil {
		return err
	}
	if got != root {
		return fmt.Errorf("stored tiles have root %x at size %d, want %x", got, size, root)
	}
	return nil
}

func (t tree) checkTile(level, index, size uint64, above [][sha256.Size]byte) error {
	hashes, err := t.tile(level, index, size)
	if err != nil {
		return err
	}
	if level == 0 {
		entries, err := t.bundle(index, size)
		if err != nil {
			return err
		}
		for i := range entries {
			if !bytes.Equal(rfc6962.DefaultHasher.HashLeaf(entries[i][:]), hashes[i][:]) {
				return fmt.Errorf("entry %d does not hash to its leaf in tile %s", index*tileWidth+uint64(i), layout.TilePath(0, index, 0))
			}
		}
	}
	if len(hashes) < tileWidth {
		return nil // its hash is not stored above; the root covers it
	}
	if top := tileRoot(hashes); top != above[index%tileWidth] {
		return fmt.Errorf("tile %s has root %x, the tile above says %x", layout.TilePath(level, index, 0), top, above[index%tileWidth])
	}
	return nil
}

// tileRoot is the root of a full tile. It overwrites hashes.
func tileRoot(hashes [][sha256.Size]byte) [sha256.Size]byte {
	for n := len(hashes) / 2; n > 0; n /= 2 {
		for i := range n {
			hashes[i] = [sha256.Size]byte(rfc6962.DefaultHasher.HashChildren(hashes[2*i][:], hashes[2*i+1][:]))
		}
	}
	return hashes[0]
}
