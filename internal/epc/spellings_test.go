package epc

import "testing"

// TestTags: every spelling leads back to the object, and no two are the same.
func TestTags(t *testing.T) {
	for _, c := range []struct {
		object Object
		want   int
	}{
		{Object{GTIN: "09521234543213", Serial: "1001"}, 7*8*2 + 8},
		{Object{GTIN: "09521234543213", Serial: "A/1"}, 7*8 + 8}, // no number: SGTIN-96 cannot hold it
		{Object{SSCC: "106141412345678908"}, 7*8 + 8},
		{Object{GTIN: "09521234543213", Lot: "4444"}, 0},
		{Object{GTIN: "9521234543213", Serial: "1001"}, 0},
		{Object{SSCC: "106141412345678907"}, 0},
		{Object{}, 0},
	} {
		tags := c.object.Tags()
		if len(tags) != c.want {
			t.Errorf("%+v: %d tags, want %d", c.object, len(tags), c.want)
		}
		seen := map[string]bool{}
		for _, tag := range tags {
			if got, ok := TagObject(tag); !ok || got != c.object {
				t.Errorf("%x of %+v names %+v, %v", tag, c.object, got, ok)
			}
			if seen[string(tag)] {
				t.Errorf("%x twice", tag)
			}
			seen[string(tag)] = true
		}
	}
}
