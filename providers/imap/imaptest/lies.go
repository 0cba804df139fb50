package imaptest

import (
	"bytes"
	"io"
	"regexp"
	"strconv"
	"time"
)

// WrongUIDs are the ways in which an APPENDUID can be wrong: of another UIDVALIDITY, the UID of the message
// that comes next, one far beyond, the first of the folder, none.
var WrongUIDs = []string{"validity", "next", "far", "first", "zero"}

var (
	validityOf = regexp.MustCompile(`\bUIDVALIDITY (\d+)`)
	appendedAs = regexp.MustCompile(`\[APPENDUID (\d+) ([0-9:,]+)\]`)
	sizeOf     = regexp.MustCompile(`\bRFC822\.SIZE \d+`)
	digits     = regexp.MustCompile(`\d+`)
)

// lie changes what a response says, where that was planned.
func (x *meddled) lie(line []byte, untagged bool) []byte {
	if m := validityOf.FindSubmatchIndex(line); m != nil {
		if _, hit := x.at("validity", line); hit {
			return replaced(line, m[2], m[3], plus(line[m[2]:m[3]], 1))
		}
	}
	if m := appendedAs.FindSubmatchIndex(line); m != nil && !untagged {
		if f, hit := x.at("appended", line); hit {
			return wrongUID(line, m, f.Text)
		}
	}
	if m := sizeOf.FindIndex(line); m != nil && untagged {
		if f, hit := x.at("size", line); hit {
			return replaced(line, m[0], m[1], "RFC822.SIZE "+f.Text)
		}
	}
	return line
}

func wrongUID(line []byte, m []int, how string) []byte {
	if how == "validity" {
		return replaced(line, m[2], m[3], plus(line[m[2]:m[3]], 1))
	}
	set := digits.ReplaceAllFunc(line[m[4]:m[5]], func(n []byte) []byte {
		switch how {
		case "next":
			return []byte(plus(n, 1))
		case "far":
			return []byte(plus(n, 1000))
		case "first":
			return []byte("1")
		}
		return []byte("0")
	})
	return replaced(line, m[4], m[5], string(set))
}

func plus(number []byte, n uint64) string {
	v, _ := strconv.ParseUint(string(number), 10, 32)
	return strconv.FormatUint((v+n)&(1<<32-1), 10)
}

func replaced(line []byte, from, to int, by string) []byte {
	return bytes.Join([][]byte{line[:from], []byte(by), line[to:]}, nil)
}

// slowly is a line on which each piece comes late and takes its time.
type slowly struct {
	to    io.Writer
	delay time.Duration
	octet time.Duration // for each
}

func (s slowly) Write(b []byte) (int, error) {
	time.Sleep(s.delay + time.Duration(len(b))*s.octet)
	return s.to.Write(b)
}

// drips writes a few octets at a time: a hundred drips for each piece, or as many as it has octets.
type drips struct{ to io.Writer }

func (d drips) Write(b []byte) (n int, err error) {
	size := 1 + len(b)/100
	for n < len(b) && err == nil {
		time.Sleep(time.Millisecond)
		var k int
		k, err = d.to.Write(b[n:min(n+size, len(b))])
		n += k
	}
	return n, err
}
