package copy

import (
	"encoding/hex"
	"testing"
)

func TestHeaderFieldsThatPeopleLookFor(t *testing.T) {
	for name, tt := range map[string]struct {
		message, id, sender, subject string
	}{
		"plain":             {"From: Anna <Anna@Acme.Example>\r\nSubject: Hello  World\r\nMessage-ID: <a@b>\r\n\r\nSubject: not this\r\n", "a@b", "anna@acme.example", "hello world"},
		"encoded":           {"from: =?UTF-8?Q?J=C3=BCrgen?= <j@x>\nsubject: =?iso-8859-1?q?Gr=FC=DFe?=\n =?utf-8?B?IGF1cw==?= Ulm\n\n", "", "j@x", "Grüße aus Ulm"},
		"another charset":   {"Subject: =?windows-1251?B?z/Do4uXy?=\r\nFrom: a@b, c@d\r\n\r\n", "", "a@b", "Привет"},
		"unknown charset":   {"Subject: =?x-none?q?a?=\r\n\r\n", "", "", "=?x-none?q?a?="},
		"no list":           {"From: \"open <x@y> z\r\nSubject: s\r\n\r\n", "", "x@y", "s"},
		"nobody":            {"From: undisclosed recipients\r\n\r\n", "", "", ""},
		"folded Message-ID": {"Message-ID:\r\n <long\r\n\t@id>\r\n\r\n", "long @id", "", ""},
	} {
		h := headerOf([]byte(tt.message))
		want := ""
		if tt.subject != "" {
			want = SubjectHash(tt.subject)
		}
		got := ""
		if h.subject != nil {
			got = hex.EncodeToString(h.subject)
		}
		if h.messageID != tt.id || h.sender != tt.sender || got != want {
			t.Errorf("%s: %q from %q, subject %s, want %q from %q, %s", name, h.messageID, h.sender, got, tt.id, tt.sender, want)
		}
	}
}
