-- +goose Up
-- Devices show certificates; none has a password any more.
DROP TABLE login;

-- +goose Down
CREATE TABLE login (
  kid  BLOB PRIMARY KEY,
  hash BLOB NOT NULL
) WITHOUT ROWID;
