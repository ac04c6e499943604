//go:build !amd64 && !arm64

package hostclock

const sysTime = 1<<32 - 1

// No other machine's vDSO is known here.
var (
	more, moreFirst []uint32
	shown           map[string]uint32
)

func stub(uint32) []byte { return nil }
