package comet

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"

	abci "github.com/cometbft/cometbft/abci/types"

	"trailmark/internal/dcbor"
)

// A snapshot is the journal up to a height: all members that are at that height
// have the same bytes. It goes over the wire in chunks, compressed, each with its
// hash in the snapshot's metadata. Nothing of it is believed: when all chunks are
// there the journal is read as at any start, and the state must have the app hash
// that the validators signed.
const (
	snapshotFormat = 1
	snapshotEvery  = 100     // blocks
	snapshotsKept  = 3       // for who has begun to fetch one
	chunkSize      = 4 << 20 // bytes of the journal; a chunk must fit a message of 16 MB
	maxChunks      = 4096    // 16 GiB
)

// snapshotMeta is the metadata of a snapshot.
type snapshotMeta struct {
	_      struct{} `cbor:",toarray"`
	Size   int64    // bytes of the journal
	Chunks [][32]byte
}

// snapshot is one that this member offers.
type snapshot struct {
	height int64
	meta   snapshotMeta
}

// restore is a snapshot being received.
type restore struct {
	file    *os.File
	meta    snapshotMeta
	next    int
	height  int64
	appHash []byte
}

func (a *app) ListSnapshots(context.Context, *abci.RequestListSnapshots) (*abci.ResponseListSnapshots, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	out := new(abci.ResponseListSnapshots)
	for _, s := range a.snapshots {
		meta, err := dcbor.Marshal(&s.meta)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(meta)
		out.Snapshots = append(out.Snapshots, &abci.Snapshot{Height: uint64(s.height), Format: snapshotFormat,
			Chunks: uint32(len(s.meta.Chunks)), Hash: sum[:], Metadata: meta})
	}
	return out, nil
}

// keep offers the state that was just committed. The caller holds mu.
func (a *app) keep() {
	if a.state.height%a.snapshotEvery != 0 {
		return
	}
	size, chunks := a.journal.prefix()
	if len(chunks) > maxChunks {
		return
	}
	a.snapshots = append(a.snapshots, snapshot{a.state.height, snapshotMeta{Size: size, Chunks: chunks}})
	if n := len(a.snapshots); n > snapshotsKept {
		a.snapshots = slices.Clone(a.snapshots[n-snapshotsKept:])
	}
}

func (a *app) LoadSnapshotChunk(_ context.Context, req *abci.RequestLoadSnapshotChunk) (*abci.ResponseLoadSnapshotChunk, error) {
	a.mu.RLock()
	i := slices.IndexFunc(a.snapshots, func(s snapshot) bool { return s.height == int64(req.Height) })
	var size int64
	if i >= 0 && int(req.Chunk) < len(a.snapshots[i].meta.Chunks) {
		size = a.snapshots[i].meta.Size
	}
	file := a.journal.f
	a.mu.RUnlock()
	if size == 0 || req.Format != snapshotFormat {
		return &abci.ResponseLoadSnapshotChunk{}, nil // told as missing
	}
	from := int64(req.Chunk) * chunkSize
	raw := make([]byte, min(chunkSize, size-from))
	if _, err := file.ReadAt(raw, from); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(raw); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return &abci.ResponseLoadSnapshotChunk{Chunk: out.Bytes()}, nil
}

func (a *app) OfferSnapshot(_ context.Context, req *abci.RequestOfferSnapshot) (*abci.ResponseOfferSnapshot, error) {
	if req.Snapshot == nil || req.Snapshot.Format != snapshotFormat {
		return &abci.ResponseOfferSnapshot{Result: abci.ResponseOfferSnapshot_REJECT_FORMAT}, nil
	}
	var meta snapshotMeta
	err := dcbor.UnmarshalMax(req.Snapshot.Metadata, &meta, 256<<10)
	if sum := sha256.Sum256(req.Snapshot.Metadata); err != nil || !bytes.Equal(sum[:], req.Snapshot.Hash) ||
		len(meta.Chunks) != int(req.Snapshot.Chunks) || len(meta.Chunks) > maxChunks ||
		meta.Size < 1 || (meta.Size+chunkSize-1)/chunkSize != int64(len(meta.Chunks)) {
		return &abci.ResponseOfferSnapshot{Result: abci.ResponseOfferSnapshot_REJECT}, nil
	}
	a.dropRestore()
	f, err := os.OpenFile(a.path+".sync", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	a.restore = &restore{file: f, meta: meta, height: int64(req.Snapshot.Height), appHash: bytes.Clone(req.AppHash)}
	a.log.LogAttrs(context.Background(), slog.LevelInfo, "fetching the chain's state", slog.Int64("height", a.restore.height),
		slog.Int64("bytes", meta.Size), slog.Int("chunks", len(meta.Chunks)))
	return &abci.ResponseOfferSnapshot{Result: abci.ResponseOfferSnapshot_ACCEPT}, nil
}

func (a *app) dropRestore() {
	if a.restore != nil {
		_ = a.restore.file.Close() // about to be truncated or forgotten
		a.restore = nil
	}
}

func (a *app) ApplySnapshotChunk(_ context.Context, req *abci.RequestApplySnapshotChunk) (*abci.ResponseApplySnapshotChunk, error) {
	r := a.restore
	if r == nil || int(req.Index) != r.next || r.next >= len(r.meta.Chunks) {
		return &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_RETRY_SNAPSHOT}, nil
	}
	want := min(chunkSize, r.meta.Size-int64(r.next)*chunkSize)
	raw, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(req.Chunk)), want+1))
	if err != nil || int64(len(raw)) != want || sha256.Sum256(raw) != r.meta.Chunks[r.next] {
		return &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_RETRY,
			RefetchChunks: []uint32{req.Index}, RejectSenders: []string{req.Sender}}, nil
	}
	if _, err := r.file.Write(raw); err != nil {
		return nil, err
	}
	if r.next++; r.next < len(r.meta.Chunks) {
		return &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_ACCEPT}, nil
	}
	if err := a.restored(); err != nil {
		a.log.LogAttrs(context.Background(), slog.LevelWarn, "a member offered a state that is not the chain's", slog.String("error", err.Error()))
		a.dropRestore()
		return &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_REJECT_SNAPSHOT}, nil
	}
	return &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_ACCEPT}, nil
}

// restored puts a whole snapshot in force if it is what the validators signed.
func (a *app) restored() error {
	r := a.restore
	if err := errors.Join(r.file.Sync(), r.file.Close()); err != nil {
		return err
	}
	a.restore = nil
	s, j, lost, err := readState(a.path+".sync", a.state.genesis)
	if err != nil {
		return err
	}
	switch {
	case lost > 0:
		err = fmt.Errorf("%d bytes of %d are damaged", lost, r.meta.Size)
	case s.height != r.height || !bytes.Equal(s.appHash[:], r.appHash):
		err = fmt.Errorf("state after block %d hashes to %x, want %d and %x", s.height, s.appHash, r.height, r.appHash)
	default:
		err = os.Rename(a.path+".sync", a.path)
	}
	if err != nil {
		return errors.Join(err, j.close())
	}
	if err := syncParent(a.path); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.journal
	a.state, a.journal = s, j
	return old.close()
}
