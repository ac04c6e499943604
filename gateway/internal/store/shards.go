package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"modernc.org/sqlite"

	"trailmark/statement"
)

// sha256(x) is PostgreSQL's function of that name: the index of ledger entries is
// made with it, so that no column repeats what data says.
func init() {
	sqlite.MustRegisterDeterministicScalarFunction("sha256", 1, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		switch v := args[0].(type) {
		case []byte:
			h := sha256.Sum256(v)
			return h[:], nil
		case string: // SQLite keeps any type in any column
			h := sha256.Sum256([]byte(v))
			return h[:], nil
		}
		return nil, nil
	})
}

// ErrHeadMoved reports that a ledger's head is not the one that was to be moved.
var ErrHeadMoved = errors.New("the ledger's head was moved by somebody else")

// A Shard is one ledger: the rows from First to the next shard's are its entries
// from 0 on.
type Shard struct {
	N      int
	Origin string
	First  uint64
	Size   uint64 // of the newest head that was signed; 0: none
	Root   statement.Hash
}

func scanShard(rows *sql.Rows, s *Shard) error {
	var root []byte
	if err := rows.Scan(&s.N, &s.Origin, &s.First, &s.Size, &root); err != nil {
		return err
	}
	return copyHash(&s.Root, root)
}

const allShards = "SELECT n, origin, first, size, root FROM shard ORDER BY n"

// Shards are all ledgers, the oldest first.
func (s *Store) Shards(ctx context.Context) ([]Shard, error) {
	return collect(ctx, s.db, scanShard, allShards)
}

// ReadShards are all ledgers of a database that OpenReadOnly opened; none where it is
// from before there were several.
func ReadShards(ctx context.Context, db *sql.DB) ([]Shard, error) {
	var n int
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'shard'").Scan(&n); err != nil || n == 0 {
		return nil, err
	}
	return collect(ctx, db, scanShard, allShards)
}

// AddShard begins a ledger: the next statement is its entry 0. Statements that
// other transactions add from now on are the new ledger's.
func (t *Tx) AddShard(origin string) (Shard, error) {
	next, err := t.Next()
	if err != nil {
		return Shard{}, err
	}
	return t.addShard(origin, next)
}

// AddShardAt is AddShard of a ledger whose first row is known from elsewhere.
func (t *Tx) AddShardAt(origin string, first uint64) (Shard, error) { return t.addShard(origin, first) }

func (t *Tx) addShard(origin string, first uint64) (Shard, error) {
	all, err := collect(t.ctx, t.tx, scanShard, allShards)
	if err != nil {
		return Shard{}, err
	}
	s := Shard{N: len(all), Origin: origin, First: first}
	if n := len(all); n == 0 && first != 0 || n > 0 && first < all[n-1].First {
		return s, fmt.Errorf("ledger %s cannot begin at row %d, before the one it follows", origin, first)
	}
	return s, t.exec("INSERT INTO shard (n, origin, first, size, root) VALUES ($1,$2,$3,0,$4)", s.N, s.Origin, s.First, s.Root[:])
}

// SwapHead moves the head of a ledger from one that the caller knows to the next.
// When it returns nil that is durable. Of any number of callers that know the same
// head one succeeds, the others get ErrHeadMoved.
func (s *Store) SwapHead(ctx context.Context, origin string, oldSize uint64, oldRoot statement.Hash, size uint64, root statement.Hash) error {
	return s.Update(ctx, func(tx *Tx) error {
		res, err := tx.tx.ExecContext(ctx, "UPDATE shard SET size = $1, root = $2 WHERE origin = $3 AND size = $4 AND root = $5",
			size, root[:], origin, oldSize, oldRoot[:])
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 1 {
			return err
		}
		var now uint64
		err = tx.tx.QueryRowContext(ctx, "SELECT size FROM shard WHERE origin = $1", origin).Scan(&now)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("ledger %s: %w", origin, ErrNotFound)
		} else if err != nil {
			return err
		}
		return fmt.Errorf("%w: %s was at size %d, is at %d", ErrHeadMoved, origin, oldSize, now)
	})
}

// IndexOf is the row of the statement with this ledger entry.
func (s *Store) IndexOf(ctx context.Context, entry statement.Hash) (row uint64, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT idx FROM statement WHERE sha256(data) = $1 ORDER BY idx LIMIT 1", entry[:]).Scan(&row)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	return row, err
}
