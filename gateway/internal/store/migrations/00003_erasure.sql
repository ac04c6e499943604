-- +goose Up
ALTER TABLE statement ADD COLUMN kept BLOB;  -- of a frame with erased records: what is left of them; extra is then null
ALTER TABLE trace ADD COLUMN erased INTEGER NOT NULL DEFAULT 0; -- the newest block was erased: value says nothing

-- +goose Down
ALTER TABLE statement DROP COLUMN kept;
ALTER TABLE trace DROP COLUMN erased;
