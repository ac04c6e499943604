package epc

// Tags are the EPC memories that name an item or a logistic unit: in each coding,
// for each length of the company prefix and each filter value. Of a lot there are
// none.
func (o Object) Tags() (out [][]byte) {
	add := func(t Tag, err error) {
		if err != nil {
			return // this coding cannot hold the name
		}
		if b, err := t.Encode(); err == nil {
			out = append(out, b)
		}
	}
	if o.URI() == "" || o.Lot != "" {
		return nil
	}
	for filter := range uint8(8) {
		for n := 6; n <= 12; n++ {
			switch {
			case o.SSCC != "":
				id := ID{Scheme: SSCC, Filter: filter, CompanyPrefix: o.SSCC[1 : 1+n], Reference: o.SSCC[:1] + o.SSCC[1+n:17]}
				add(id.Tag(CodingSSCC96))
			case o.Serial != "":
				id := ID{Scheme: SGTIN, Filter: filter, CompanyPrefix: o.GTIN[1 : 1+n], Reference: o.GTIN[:1] + o.GTIN[1+n:13], Serial: o.Serial}
				add(id.Tag(CodingSGTIN96))
				add(id.Tag(CodingSGTIN198))
			}
		}
	}
	for filter := range uint8(8) {
		add(Link{GTIN: o.GTIN, Serial: o.Serial, SSCC: o.SSCC}.Tag(filter))
	}
	return out
}
