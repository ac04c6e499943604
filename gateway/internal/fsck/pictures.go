package fsck

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"

	"trailmark/internal/epc"
)

// pictures holds each picture against its own hash; nobody signs them.
func (c *checker) pictures() error {
	rows, err := query(c, "SELECT gtin, hash, type, url, data FROM main.picture ORDER BY gtin")
	if err != nil {
		c.rowf("picture", "", "%v", err)
		return nil
	}
	for _, v := range rows {
		if err := picture(v); err != nil {
			c.rowf("picture", fmt.Sprint(v[0]), "%v", err)
		}
	}
	return nil
}

func picture(v []any) error {
	gtin, _ := v[0].(string)
	hash, _ := v[1].([]byte)
	kind, _ := v[2].(string)
	url, _ := v[3].(string)
	data, here := v[4].([]byte)
	if err := epc.CheckGTIN(gtin); err != nil {
		return err
	}
	switch sum := sha256.Sum256(data); {
	case len(hash) != len(sum):
		return fmt.Errorf("hash of %d bytes, want %d", len(hash), len(sum))
	case here == (url != ""):
		return errors.New("want either a file or the address of one")
	case here && !bytes.Equal(sum[:], hash):
		return fmt.Errorf("the file hashes to %x, stored is %x", sum[:8], hash[:8])
	case here && http.DetectContentType(data) != kind:
		return fmt.Errorf("the file is %s, stored is %s", http.DetectContentType(data), kind)
	}
	return nil
}
