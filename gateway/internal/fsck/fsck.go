// Package fsck recomputes what a gateway keeps from the bytes that somebody
// signed, and names each row and file that is not what they give.
//
// Nothing derived is trusted: statements are parsed, verified and chained again,
// every trace is grown again from its blocks, and every table that the gateway
// fills besides is filled a second time, in a scratch database, and compared with
// the stored one column by column. The ledger's tiles are computed from its
// entries, the entries from the statements, and each anchor is held against its
// checkpoint, the tree and the chain.
//
// It changes nothing, goes on after damage, and may run beside the gateway. What
// no signature and no second copy covers it cannot judge: when a statement or a
// fork was received and what became of a capture, which is the gateway's own word,
// how many readings an erased block had, and the eventID of an erased document.
package fsck

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"trailmark/gateway/internal/ledger"
	"trailmark/gateway/internal/shard"
	"trailmark/gateway/internal/store"
	"trailmark/passport"
	"trailmark/statement"
)

// Chain is what a chain, as it is now, knows of a ledger's anchors.
type Chain interface {
	// Evidence is the anchor of a transaction in a block, and its proof as a
	// passport shows it.
	Evidence(ctx context.Context, height int64, tx []byte) (block [32]byte, proof []byte, err error)

	// Sizes are the ledger sizes that the chain has anchors of, ascending.
	Sizes(origin string) []uint64

	Close() error
}

// Options say what to check.
type Options struct {
	Dir    string                // of the gateway's own files: the store and the ledger
	Trust  *passport.Trust       // who signs what
	Origin string                // of the first ledger
	Chain  func() (Chain, error) // opens the chain, after the store was opened; nil: anchors are not held against it

	Report   func(Finding)                      // is called for each finding, in no promised order
	Progress func(what string, done, of uint64) // nil: nobody asks
}

// A Finding is one row or file that is damaged.
type Finding struct {
	Table string `json:"table,omitempty"` // of the store
	Row   string `json:"row,omitempty"`   // its rowid, or its key where it has none
	File  string `json:"file,omitempty"`  // below the gateway's folder
	What  string `json:"what"`
}

func (f Finding) String() string {
	if f.File != "" {
		return f.File + ": " + f.What
	}
	if f.Row == "" {
		return "table " + f.Table + ": " + f.What
	}
	return "table " + f.Table + ", row " + f.Row + ": " + f.What
}

// Summary is how much was checked.
type Summary struct {
	Statements   uint64 `json:"statements"`
	Entries      uint64 `json:"ledger_entries"`
	Anchors      uint64 `json:"anchors"`
	Readings     uint64 `json:"readings"`
	Cosignatures uint64 `json:"cosignatures"` // kept beside the anchors
	Findings     uint64 `json:"findings"`
}

// checker is one check. It belongs to one goroutine.
type checker struct {
	Options
	ctx  context.Context
	conn *sql.Conn // reads main in one snapshot, writes want
	sum  Summary
	logs map[string]statement.Key // by origin
	book []store.Shard            // the ledgers, as far as the store's table of them can be read

	chain Chain // while anchors are checked; nil: there is none

	ring       *statement.Keyring
	plans      map[statement.Hash]*statement.Plan
	devices    map[statement.Hash]*stream
	unknown    map[statement.Hash]bool // keys that were told of as without identity
	named      map[int64]bool          // rows of statement that were told of
	erasures   []*statement.Erasure
	gone       []gone
	torn       bool           // a frame could not be read: what it began is not known
	eventsLost bool           // an event's objects are not held: what follows them cannot be judged
	nextTrace  int64          // id of the next trace to begin
	taken      map[int64]bool // ids of traces
	want       *sql.Stmt      // puts a leaf
	wantNode   *sql.Stmt
}

// Check checks everything and reports each finding. The error is about checking
// itself: no store there, ctx ended, no room for the scratch database.
func Check(ctx context.Context, o Options) (Summary, error) {
	c := &checker{Options: o, ctx: ctx, plans: map[statement.Hash]*statement.Plan{}, devices: map[statement.Hash]*stream{},
		unknown: map[statement.Hash]bool{}, named: map[int64]bool{}, nextTrace: 1, taken: map[int64]bool{}}
	if c.Progress == nil {
		c.Progress = func(string, uint64, uint64) {}
	}
	var keys []statement.Key
	for _, a := range o.Trust.Authorities {
		keys = append(keys, a.Key)
	}
	c.ring = statement.NewKeyring(o.Trust.Audience, keys...)
	c.logs = map[string]statement.Key{}
	for _, l := range o.Trust.Logs {
		c.logs[l.Origin] = l.Key.Key
	}
	if _, known := c.logs[o.Origin]; !known {
		return c.sum, fmt.Errorf("the trust file names no ledger %q", o.Origin)
	}
	tmp, err := os.MkdirTemp("", "trailmark-fsck-")
	if err != nil {
		return c.sum, err
	}
	defer os.RemoveAll(tmp)
	db, err := store.OpenReadOnly(ctx, o.Dir)
	if err != nil {
		return c.sum, err
	}
	defer db.Close()
	scratch := filepath.Join(tmp, "want.db")
	if err := store.CreateEmpty(ctx, scratch); err != nil {
		return c.sum, err
	}
	if c.conn, err = db.Conn(ctx); err != nil {
		return c.sum, err
	}
	defer c.conn.Close()
	if err := c.attach(scratch); err != nil {
		return c.sum, err
	}
	// The ledger's size first: the store is ahead of the ledger, never behind.
	return c.sum, c.run()
}

func (c *checker) attach(scratch string) error {
	for _, q := range []string{
		"ATTACH DATABASE 'file:" + scratch + "?mode=rw' AS want",
		"PRAGMA want.journal_mode=OFF", "PRAGMA want.synchronous=OFF",
	} {
		if _, err := c.conn.ExecContext(c.ctx, q); err != nil {
			return fmt.Errorf("scratch database: %w", err)
		}
	}
	return nil
}

func (c *checker) run() (err error) {
	c.integrity()
	if _, err := c.conn.ExecContext(c.ctx, "BEGIN"); err != nil {
		return err
	}
	defer func() {
		_, rollback := c.conn.ExecContext(context.WithoutCancel(c.ctx), "ROLLBACK")
		err = errors.Join(err, rollback)
	}()
	if !c.schema() {
		return nil
	}
	for _, step := range []func() error{c.shards, c.statements, c.parked, c.forks, c.heads, c.erased, c.compare, c.pictures, c.ledgers} {
		if err := step(); err != nil {
			return err
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) report(f Finding) {
	c.sum.Findings++
	c.Report(f)
}

func (c *checker) rowf(table, row, format string, args ...any) {
	c.report(Finding{Table: table, Row: row, What: fmt.Sprintf(format, args...)})
}

// integrity lets SQLite check its own structure first: pages, indexes, order of
// keys. It does not look into row bodies.
func (c *checker) integrity() {
	c.Progress("database structure", 0, 1)
	lines, err := query(c, "PRAGMA main.integrity_check(100)")
	for _, l := range lines {
		if s, _ := l[0].(string); s != "ok" {
			c.report(Finding{File: store.File, What: fmt.Sprint(l[0])})
		}
	}
	if err != nil {
		c.report(Finding{File: store.File, What: err.Error()})
	}
	c.Progress("database structure", 1, 1)
}

// schema compares the tables' definitions with those of this program; it reports
// whether the rows can be read at all.
func (c *checker) schema() bool {
	const columns = "type, name, tbl_name, sql"
	ok := true
	for _, q := range []struct{ query, what string }{
		{"SELECT " + columns + " FROM want.sqlite_master EXCEPT SELECT " + columns + " FROM main.sqlite_master", "missing or altered"},
		{"SELECT " + columns + " FROM main.sqlite_master EXCEPT SELECT " + columns + " FROM want.sqlite_master", "not of this schema"},
	} {
		rows, err := query(c, q.query)
		if err != nil {
			c.rowf("sqlite_master", "", "%v", err)
			return false
		}
		for _, r := range rows {
			c.rowf("sqlite_master", fmt.Sprint(r[1]), "%v %s\nhint: a gateway of this version brings an older schema up to date when it starts", r[0], q.what)
			ok = false
		}
	}
	return ok
}

// query reads all rows of a small result.
func query(c *checker, q string, args ...any) ([][]any, error) {
	rows, err := c.conn.QueryContext(c.ctx, q, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var out [][]any
	for rows.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return out, err
		}
		out = append(out, values)
	}
	return out, rows.Err()
}

// shards reads the table of ledgers, and keeps of it what can be a ledger.
func (c *checker) shards() error {
	rows, err := query(c, "SELECT n, origin, first, size, root FROM main.shard ORDER BY n")
	if err != nil {
		c.rowf("shard", "", "%v", err)
	}
	for i, v := range rows {
		n, _ := v[0].(int64)
		origin, _ := v[1].(string)
		first, ok := v[2].(int64)
		size, ok1 := v[3].(int64)
		root := bytesOf(v[4])
		sh := store.Shard{N: int(n), Origin: origin, First: uint64(first), Size: uint64(size)}
		copy(sh.Root[:], root)
		last := store.Shard{Origin: c.Origin}
		if len(c.book) > 0 {
			last = c.book[len(c.book)-1]
		}
		_, pinned := c.logs[origin]
		switch {
		case n != int64(i) || !ok || !ok1 || first < 0 || size < 0 || len(root) != len(sh.Root) || (size == 0) != sh.Root.IsZero():
			err = fmt.Errorf("(%v, %v, %v, root of %d bytes) is no ledger and no head, want number %d", v[0], v[2], v[3], len(root), i)
		case i == 0 && (origin != c.Origin || first != 0):
			err = fmt.Errorf("first ledger is %s from row %d, want %s from row 0", origin, first, c.Origin)
		case i > 0 && (!statement.Successor(last.Origin, origin) || sh.First < last.First):
			err = fmt.Errorf("ledger %s from row %d cannot follow %s from row %d", origin, first, last.Origin, last.First)
		case !pinned:
			err = fmt.Errorf("the trust file names no ledger %q", origin)
		default:
			c.book = append(c.book, sh)
			continue
		}
		c.rowf("shard", fmt.Sprint(v[0]), "%v", err)
	}
	if len(c.book) == 0 {
		if len(rows) == 0 {
			c.rowf("shard", "", "no ledger is listed\nhint: a gateway lists it again when it starts")
		}
		c.book = []store.Shard{{Origin: c.Origin}}
	}
	return nil
}

// end is the row after the last one of the i'th ledger, and whether it is known.
func (c *checker) end(i int) (uint64, bool) {
	if i+1 < len(c.book) {
		return c.book[i+1].First, true
	}
	return 0, false
}

// ledgers recomputes every tree and holds rows and anchors against them.
func (c *checker) ledgers() error {
	c.elsewhereStrays()
	anchors, sizes := c.anchorRows()
	cosignatures := c.cosignatureRows(sizes)
	c.openChain()
	rows := &entries{c: c}
	for i, sh := range c.book {
		if err := c.ledger(i, sh, rows, anchors[sh.Origin], cosignatures[sh.Origin], sizes[sh.Origin]); err != nil {
			return err
		}
		delete(anchors, sh.Origin)
		delete(cosignatures, sh.Origin)
	}
	for origin, rows := range anchors {
		for _, v := range rows {
			c.rowf("anchor", fmt.Sprint(v[0]), "origin is %q, which is no ledger here", origin)
		}
	}
	for origin, rows := range cosignatures {
		for _, v := range rows {
			c.rowf("cosignature", cosignatureRow(v), "origin is %q, which is no ledger here", origin)
		}
	}
	if c.chain != nil {
		return c.chain.Close()
	}
	return nil
}

// ledger recomputes one tree and holds its rows and its anchors against it.
func (c *checker) ledger(i int, sh store.Shard, rows *entries, anchors, cosignatures [][]any, sizes map[uint64]bool) error {
	v, err := statement.LogVerifier(sh.Origin, c.logs[sh.Origin])
	if err != nil {
		return err
	}
	dir := filepath.ToSlash(shard.Folder(sh.N, sh.Origin)) + "/"
	if sizes == nil {
		sizes = map[uint64]bool{}
	}
	sizes[sh.Size] = true
	others := c.elsewhereRows(sh.Origin, sizes)
	end, ended := c.end(i)
	in := ledger.Inspection{Dir: filepath.Join(c.Dir, filepath.FromSlash(dir)), Key: v, Sizes: sizes,
		Row: func(index uint64) ([32]byte, bool) {
			if ended && sh.First+index >= end {
				return [32]byte{}, false
			}
			return rows.at(sh.First + index)
		},
		Done: func(done, of uint64) { c.Progress("ledger entries", done, of) },
		Report: func(f ledger.Fault) {
			switch {
			case f.File != "" && f.Offset >= 0:
				c.report(Finding{File: dir + f.File, What: fmt.Sprintf("byte %d: %s", f.Offset, f.What)})
			case f.File != "":
				c.report(Finding{File: dir + f.File, What: f.What})
			default:
				c.statementf(int64(sh.First+f.Entry), "%s", f.What)
			}
		}}
	found, err := in.Run(c.ctx)
	if err != nil {
		return err
	}
	c.sum.Entries += found.Size
	switch next := rows.next(); {
	case ended && found.Size > end-sh.First:
		c.report(Finding{File: dir, What: fmt.Sprintf("%d entries, but row %d is the next ledger's first", found.Size, end)})
	case next < sh.First+found.Size:
		c.rowf("statement", "", "rows from %d on are missing, the ledger has %d entries", next, found.Size)
	}
	if root, known := found.Roots[sh.Size]; sh.Size > 0 && !known {
		c.rowf("shard", fmt.Sprint(sh.N), "size %d is signed, %s has %d entries: its files are of an older state, or this row is wrong", sh.Size, dir, found.Size)
	} else if sh.Size > 0 && root != sh.Root {
		c.rowf("shard", fmt.Sprint(sh.N), "root %x at size %d, the ledger's entries give %x", sh.Root[:], sh.Size, root)
	}
	c.cosignatures(cosignatures, found)
	c.anchors(sh.Origin, anchors, found)
	c.elsewhere(sh.Origin, others, found)
	return nil
}
