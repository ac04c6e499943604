-- +goose Up
CREATE TABLE picture (             -- of a product; nobody signs it
  gtin TEXT PRIMARY KEY,
  hash BLOB NOT NULL,            -- SHA-256 of the file
  type TEXT NOT NULL,            -- media type
  url  TEXT NOT NULL,            -- where it is kept elsewhere, '': here
  data BLOB                      -- null: elsewhere
) WITHOUT ROWID;

-- Thousands of products come at once, each asked for by its id.
CREATE INDEX statement_id ON statement (id) WHERE kind <> 'frame';

-- +goose Down
DROP INDEX statement_id;
DROP TABLE picture;
