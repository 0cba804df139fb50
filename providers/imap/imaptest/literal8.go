package imaptest

import (
	"bufio"
	"io"
	"net"
	"regexp"
	"strconv"
)

// plainLiterals hands what a server sends on with each literal8 ("~{42}", RFC 3516) as an ordinary literal: Cyrus sends messages that hold NUL
// so, also in BODY[], and go-imap's client reads that nowhere but in BINARY[].
type plainLiterals struct {
	net.Conn
	r    *bufio.Reader
	line []byte // of it, what was not handed on
	left int64  // of a literal
}

var announcement = regexp.MustCompile(`(~?)\{(\d+)\+?\}\r\n$`)

func (c *plainLiterals) Read(p []byte) (int, error) {
	for {
		switch {
		case len(c.line) > 0:
			n := copy(p, c.line)
			c.line = c.line[n:]
			return n, nil
		case c.left > 0:
			n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
			c.left -= int64(n)
			return n, err
		}
		line, err := c.r.ReadBytes('\n')
		if err != nil && (err != io.EOF || len(line) == 0) {
			return 0, err
		}
		if m := announcement.FindSubmatchIndex(line); m != nil {
			c.left, _ = strconv.ParseInt(string(line[m[4]:m[5]]), 10, 64)
			line = append(line[:m[2]], line[m[3]:]...)
		}
		c.line = line
	}
}
