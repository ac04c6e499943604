package report

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/image/font/sfnt"
)

// maxFont bounds a font file in bytes.
const maxFont = 64 << 20

// fontFiles are TrueType fonts with Chinese that Debian packages, and common
// systems, carry; the better one first. Noto CJK is not among them: its outlines
// are CFF, which PDF writers for Go cannot embed.
var fontFiles = []string{"DroidSansFallbackFull.ttf", "DroidSansFallback.ttf", "NotoSansSC-Regular.ttf", "LXGWWenKai-Regular.ttf", "simhei.ttf"}

const install = "hint: sudo apt install fonts-droid-fallback, or name a TrueType font (.ttf) with --font"

// ErrNoFont reports words that the built-in Latin font cannot write.
var ErrNoFont = errors.New("no TrueType font with Chinese found\n" + install)

// FontFolders are the folders where fonts usually are.
func FontFolders() []string {
	folders := []string{"/usr/share/fonts", "/usr/local/share/fonts", "/Library/Fonts", `C:\Windows\Fonts`}
	if home, err := os.UserHomeDir(); err == nil {
		folders = append(folders, filepath.Join(home, ".local/share/fonts"), filepath.Join(home, ".fonts"), filepath.Join(home, "Library/Fonts"))
	}
	return folders
}

// FindFont is the path of a TrueType font with Chinese somewhere below folders,
// "" when there is none.
func FindFont(folders []string) string {
	found := map[string]string{}
	for _, folder := range folders {
		// A folder that is missing or closed to us has no font for us.
		_ = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && found[d.Name()] == "" {
				found[d.Name()] = path
			}
			return nil
		})
	}
	for _, name := range fontFiles {
		if found[name] != "" {
			return found[name]
		}
	}
	return ""
}

// ReadFont reads a font that can be embedded, or says why it cannot.
func ReadFont(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFont {
		return nil, fmt.Errorf("font %s of %d bytes is over the limit of %d", path, info.Size(), maxFont)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(data, []byte("OTTO")):
		err = errors.New("its outlines are CFF, not TrueType")
	case bytes.HasPrefix(data, []byte("ttcf")):
		err = errors.New("it is a collection, not a single font")
	default:
		_, err = sfnt.Parse(data)
	}
	if err != nil {
		return nil, fmt.Errorf("font %s cannot be embedded: %s\n%s", path, strings.TrimPrefix(err.Error(), "sfnt: "), install)
	}
	return data, nil
}
