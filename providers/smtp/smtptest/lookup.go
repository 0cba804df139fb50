package smtptest

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// serveLookups tells a Postfix which recipients sink knows, by the protocol of
// socketmap_table(5): netstrings, "MAP KEY" in, "OK VALUE" or "NOTFOUND " out.
func serveLookups(sink *Server) (net.Listener, error) {
	return serveLines(func(c net.Conn) {
		in := bufio.NewReader(c)
		for {
			length, err := in.ReadString(':')
			if err != nil {
				return
			}
			n, err := strconv.Atoi(strings.TrimSuffix(length, ":"))
			if err != nil || n < 0 || n > 1<<16 {
				return
			}
			request := make([]byte, n+1) // with the comma behind it
			if _, err := io.ReadFull(in, request); err != nil {
				return
			}
			_, address, _ := strings.Cut(string(request[:n]), " ")
			answer := "NOTFOUND "
			if sink.knows(address) {
				answer = "OK taken"
			}
			if _, err := fmt.Fprintf(c, "%d:%s,", len(answer), answer); err != nil {
				return
			}
		}
	})
}

func (s *Server) knows(address string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addresses[strings.ToLower(address)]
}

// serveLogins is the part of Dovecot's authentication protocol, version 1.0, that a Postfix needs for
// AUTH PLAIN: lines of tab-separated fields
// (https://doc.dovecot.org/developer_manual/design/auth_protocol/).
func serveLogins(username, password string) (net.Listener, error) {
	want := "\x00" + username + "\x00" + password
	return serveLines(func(c net.Conn) {
		fmt.Fprint(c, "VERSION\t1\t0\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t0\nDONE\n")
		for in := bufio.NewScanner(c); in.Scan(); {
			f := strings.Split(in.Text(), "\t")
			if f[0] != "AUTH" || len(f) < 3 {
				continue
			}
			given := ""
			for _, field := range f[3:] {
				if b64, ok := strings.CutPrefix(field, "resp="); ok {
					b, _ := base64.StdEncoding.DecodeString(b64)
					given = string(b)
				}
			}
			answer := "FAIL\t" + f[1] + "\tuser=" + username
			// The authorisation identity in front may be named or left out (RFC 4616, section 2).
			if f[2] == "PLAIN" && strings.TrimPrefix(given, username) == want {
				answer = "OK\t" + f[1] + "\tuser=" + username
			}
			if _, err := fmt.Fprintln(c, answer); err != nil {
				return
			}
		}
	})
}

// serveLines calls handle for each connection to a loopback port until the listener is closed.
func serveLines(handle func(net.Conn)) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
	return l, nil
}
