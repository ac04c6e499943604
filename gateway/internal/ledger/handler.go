package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/transparency-dev/tessera/api/layout"
)

// Handler serves the log read-only under the C2SP tlog-tiles paths
// /checkpoint, /tile/<L>/<N>[.p/<W>] and /tile/entries/<N>[.p/<W>].
//
// Only what the published checkpoint covers is served: such bytes never
// change, so caches may keep them for ever. Every partial tile below the
// checkpoint is served, not only those that a batch happened to end on.
func (l *Ledger) Handler() http.Handler {
	return l.handler("public, max-age=31536000, immutable")
}

// Alias is Handler for addresses at which another ledger is served one day: caches
// may keep tiles only if they ask again each time.
func (l *Ledger) Alias() http.Handler { return l.handler("no-cache") }

func (l *Ledger) handler(tiles string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /checkpoint", l.serveCheckpoint)
	mux.HandleFunc("GET /tile/{level}/{index...}", func(w http.ResponseWriter, r *http.Request) {
		body, err := l.tileBody(r.PathValue("level"), r.PathValue("index"))
		if err != nil {
			l.fail(w, r, err)
			return
		}
		serve(w, r, "application/octet-stream", tiles, body)
	})
	return mux
}

func (l *Ledger) serveCheckpoint(w http.ResponseWriter, r *http.Request) {
	raw, cp, err := l.published()
	if err != nil {
		l.fail(w, r, err)
		return
	}
	if l.cosigned != nil {
		lines, err := l.cosigned(r.Context(), cp)
		if err != nil { // the log's own word is served all the same
			l.log.Error("cosignatures", slog.Any("err", err))
		}
		raw = append(slices.Clip(raw), lines...)
	}
	serve(w, r, "text/plain; charset=utf-8", "public, max-age=1", raw)
}

// serve answers with bytes of the public log, or that the client has them.
func serve(w http.ResponseWriter, r *http.Request, contentType, cache string, body []byte) {
	h := sha256.Sum256(body)
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", cache)
	w.Header().Set("ETag", `"`+hex.EncodeToString(h[:16])+`"`)
	allowAll(w)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// tileBody returns the bytes of one tile or entry bundle, or fs.ErrNotExist.
func (l *Ledger) tileBody(level, path string) ([]byte, error) {
	index, width, err := layout.ParseTileIndexPartial(path)
	if err != nil {
		return nil, fs.ErrNotExist
	}
	want := uint64(width)
	if width == 0 {
		want = tileWidth
	}
	var lvl uint64
	canonical := layout.EntriesPath(index, width)
	if level != "entries" {
		if lvl, err = layout.ParseTileLevel(level); err != nil {
			return nil, fs.ErrNotExist
		}
		canonical = layout.TilePath(lvl, index, width)
	}
	_, cp, err := l.published()
	if err != nil {
		return nil, err
	}
	if canonical != "tile/"+level+"/"+path || covered(lvl, index, cp.Size) < want {
		return nil, fs.ErrNotExist
	}
	// Read at the checkpoint's size, where a tile of that width exists, and cut.
	if level == "entries" {
		entries, err := l.tree.bundle(index, cp.Size)
		if err != nil {
			return nil, damaged(err)
		}
		body := make([]byte, 0, want*entrySize)
		for i := range entries[:want] {
			body = binary.BigEndian.AppendUint16(body, sha256.Size)
			body = append(body, entries[i][:]...)
		}
		return body, nil
	}
	hashes, err := l.tree.tile(lvl, index, cp.Size)
	if err != nil {
		return nil, damaged(err)
	}
	body := make([]byte, 0, want*sha256.Size)
	for i := range hashes[:want] {
		body = append(body, hashes[i][:]...)
	}
	return body, nil
}

// damaged keeps a covered file that is missing from looking like a file that
// was never there.
func damaged(err error) error { return errors.New("covered by the checkpoint: " + err.Error()) }

func (l *Ledger) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		http.NotFound(w, r)
		return
	}
	l.log.Error("ledger file", slog.String("path", r.URL.Path), slog.Any("err", err))
	http.Error(w, "the log cannot be read", http.StatusInternalServerError)
}

// allowAll lets a verifier in any browser page read the log: it is public and
// takes no credentials.
func allowAll(w http.ResponseWriter) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
}
