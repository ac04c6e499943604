package store

import (
	"context"
	"database/sql"

	"trailmark/statement"
)

// A Picture is what a product looks like. Nobody signs it.
type Picture struct {
	GTIN string
	Hash statement.Hash // SHA-256 of the file
	Type string         // media type
	URL  string         // where it is kept elsewhere, "": here
	Data []byte         // nil: elsewhere, or not asked for
}

// PutPicture stores the picture of a product; it replaces one that is there.
func (t *Tx) PutPicture(p Picture) error {
	return t.exec("INSERT INTO picture (gtin, hash, type, url, data) VALUES ($1,$2,$3,$4,$5) ON CONFLICT (gtin) DO UPDATE SET "+
		"hash=excluded.hash, type=excluded.type, url=excluded.url, data=excluded.data", p.GTIN, p.Hash[:], p.Type, p.URL, p.Data)
}

// Picture is the picture of a product, with its bytes if they are here.
func (s *Store) Picture(ctx context.Context, gtin string) (Picture, error) {
	return first(s.pictures(ctx, "data", "WHERE gtin = $1", gtin))
}

// Pictures are the pictures of all products, without their bytes.
func (s *Store) Pictures(ctx context.Context) ([]Picture, error) {
	return s.pictures(ctx, "NULL", "ORDER BY gtin")
}

func (s *Store) pictures(ctx context.Context, data, where string, args ...any) ([]Picture, error) {
	return collect(ctx, s.db, func(rows *sql.Rows, p *Picture) error {
		var hash []byte
		if err := rows.Scan(&p.GTIN, &hash, &p.Type, &p.URL, &p.Data); err != nil {
			return err
		}
		return copyHash(&p.Hash, hash)
	}, "SELECT gtin, hash, type, url, "+data+" FROM picture "+where, args...)
}
