-- +goose Up
CREATE TABLE cosignature (         -- of the newest checkpoints that devices were asked to witness
  origin TEXT NOT NULL,
  size   INTEGER NOT NULL,
  kid    BLOB NOT NULL,
  root   BLOB NOT NULL,
  at     INTEGER NOT NULL,         -- as the device says, s
  line   BLOB NOT NULL,            -- the note's signature line
  PRIMARY KEY (origin, size, kid)
) WITHOUT ROWID;
CREATE INDEX cosignature_kid ON cosignature (kid, size);

-- +goose Down
DROP TABLE cosignature;
