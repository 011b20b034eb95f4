package recording

import (
	"encoding/binary"
	"io"
)

const (
	oggBegins = 2 // flags of a page (RFC 3533, 6)
	oggEnds   = 4

	maxSegments = 255 // of a page, 255 bytes each
)

// oggTable is that of Ogg's CRC-32: the polynomial 0x04c11db7, not reflected.
var oggTable = func() (t [256]uint32) {
	for i := range t {
		c := uint32(i) << 24
		for range 8 {
			carry := c >> 31
			c = c<<1 ^ carry*0x04c11db7
		}
		t[i] = c
	}
	return t
}()

// oggWriter writes one logical bitstream of Ogg (RFC 3533). No packet goes over
// two pages. The caller ends pages with flush.
type oggWriter struct {
	w      io.Writer
	serial uint32
	page   uint32 // its number

	lacing  []byte
	body    []byte
	granule int64 // of the last packet of the page
}

// fits says whether a packet of n bytes has room on the page.
func (o *oggWriter) fits(n int) bool { return len(o.lacing)+n/255+1 <= maxSegments }

// add puts a packet on the page; granule is the position of its end.
func (o *oggWriter) add(packet []byte, granule int64) {
	for n := len(packet); ; n -= 255 {
		o.lacing = append(o.lacing, byte(min(n, 255)))
		if n < 255 {
			break
		}
	}
	o.body = append(o.body, packet...)
	o.granule = granule
}

// flush writes the page.
func (o *oggWriter) flush(flags byte) error {
	b := make([]byte, 0, 27+len(o.lacing)+len(o.body))
	le := binary.LittleEndian
	b = append(b, 'O', 'g', 'g', 'S', 0, flags)
	b = le.AppendUint64(b, uint64(o.granule))
	b = le.AppendUint32(b, o.serial)
	b = le.AppendUint32(b, o.page)
	b = append(b, 0, 0, 0, 0, byte(len(o.lacing)))
	b = append(b, o.lacing...)
	b = append(b, o.body...)
	var crc uint32
	for _, v := range b {
		crc = crc<<8 ^ oggTable[byte(crc>>24)^v]
	}
	le.PutUint32(b[22:], crc)
	o.page++
	o.lacing, o.body = o.lacing[:0], o.body[:0]
	_, err := o.w.Write(b)
	return err
}
