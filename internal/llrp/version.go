package llrp

// Versions is what GET_SUPPORTED_VERSION_RESPONSE says: the version spoken now
// and the highest the reader knows, as they stand in a header.
type Versions struct{ Current, Supported uint8 }

// Encode returns the payload of a successful response.
func (v Versions) Encode() []byte {
	return append([]byte{v.Current, v.Supported}, Status{}.Encode()...)
}

// DecodeVersions reads the response; a status other than success is an error.
func DecodeVersions(payload []byte) (Versions, error) {
	f := fields{b: payload}
	v := Versions{f.u8(), f.u8()}
	if f.err != nil {
		return Versions{}, f.err
	}
	return v, checkStatus(f.b)
}

// EncodeVersion returns the payload of SET_PROTOCOL_VERSION.
func EncodeVersion(v uint8) []byte { return []byte{v} }

// DecodeVersion reads what EncodeVersion wrote.
func DecodeVersion(payload []byte) (uint8, error) {
	f := fields{b: payload}
	return f.u8(), f.err
}
