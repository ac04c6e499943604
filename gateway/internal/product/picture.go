package product

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"image"
	_ "image/jpeg" // registered for Decode
	_ "image/png"  //
	"net/http"
	"net/url"
	"slices"

	_ "golang.org/x/image/webp" //

	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// Bounds of a picture.
const (
	MaxPicture = 256 << 10 // bytes
	maxSide    = 2048      // pixels
)

// pictureTypes are what a picture may be.
var pictureTypes = []string{"image/png", "image/jpeg", "image/webp"}

// NewPicture looks at a file's bytes, whatever was said of it: a picture of a type
// and size that every browser shows, and nothing else.
func NewPicture(gtin string, data []byte) (p store.Picture, err error) {
	if len(data) == 0 || len(data) > MaxPicture {
		return p, fmt.Errorf("picture of %d bytes, want 1 to %d", len(data), MaxPicture)
	}
	kind := http.DetectContentType(data)
	if !slices.Contains(pictureTypes, kind) {
		return p, fmt.Errorf("the file is %s, no PNG, JPEG or WebP", kind)
	}
	config, _, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return p, fmt.Errorf("the file begins like %s and is not: %w", kind, err)
	}
	if config.Width < 1 || config.Height < 1 || config.Width > maxSide || config.Height > maxSide {
		return p, fmt.Errorf("picture of %d × %d pixels, want at most %d × %d", config.Width, config.Height, maxSide, maxSide)
	}
	return store.Picture{GTIN: gtin, Hash: sha256.Sum256(data), Type: kind, Data: data}, nil
}

// NewPictureAt is a picture that is kept elsewhere; nobody here looks at it.
func NewPictureAt(gtin, address, kind string, hash statement.Hash) (p store.Picture, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || len(address) > 1024 {
		return p, fmt.Errorf("url %.80q is no https address of at most 1024 bytes", address)
	}
	if !slices.Contains(pictureTypes, kind) {
		return p, fmt.Errorf("type %.40q is no PNG, JPEG or WebP", kind)
	}
	return store.Picture{GTIN: gtin, Hash: hash, Type: kind, URL: address}, nil
}
