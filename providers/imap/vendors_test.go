package imap

import (
	"testing"

	"github.com/mxodus/mxodus/plan"
)

// TestVendorsNames: folders that hold no mail, names that a vendor doesn't take, and where they go.
func TestVendorsNames(t *testing.T) {
	exchange := []ListEntry{{Raw: "Inbox", Name: "INBOX"}, {Raw: "Archive", Name: "Archive"}, {Raw: "Sent Items", Name: "Sent Items", SpecialUse: `\Sent`}, {Raw: "Notes", Name: "Notes"}}
	gmail := []ListEntry{{Raw: "INBOX", Name: "INBOX"}, {Raw: "[Gmail]/All Mail", Name: "[Gmail]/All Mail", SpecialUse: `\All`},
		{Raw: "[Gmail]/Sent Mail", Name: "[Gmail]/Sent Mail", SpecialUse: `\Sent`}, {Raw: "[Gmail]/Starred", Name: "[Gmail]/Starred", SpecialUse: `\Flagged`},
		{Raw: "[Gmail]/Important", Name: "[Gmail]/Important", SpecialUse: `\Important`}}
	plain := []ListEntry{{Raw: "INBOX", Name: "INBOX"}}
	for _, test := range []struct {
		name   string
		source string
		use    string
		others []ListEntry // at the source
		target []ListEntry
		rules  plan.FolderRules
		want   string // "" = left out
	}{
		{"reserved at Exchange", "Files", "", plain, exchange, plan.FolderRules{}, "Files (mail)"},
		{"below a reserved one", "calendar/2019", "", plain, exchange, plan.FolderRules{}, "calendar (mail)/2019"},
		{"a name of no mail", "Notes", "", plain, exchange, plan.FolderRules{}, "Notes (mail)"},
		{"below the first level it is a name like others", "x/Files", "", plain, exchange, plan.FolderRules{}, "x/Files"},
		{"a rule has the last word", "Files", "", plain, exchange, plan.FolderRules{Map: map[string]string{"Files": "Calendar"}}, "Calendar"},
		{"blanks around levels", " a / b ", "", plain, exchange, plan.FolderRules{}, "a/b"},
		{"blanks stay where they do no harm", " a  b ", "", plain, plain, plan.FolderRules{}, " a  b "},
		{"nothing but blanks", "a/ ", "", plain, exchange, plan.FolderRules{}, "a/_"},
		{"blanks below a folder that has moved", "Sent/ b ", "", []ListEntry{{Raw: "Sent", Name: "Sent", SpecialUse: `\Sent`}}, exchange, plan.FolderRules{}, "Sent Items/b"},
		{"Gmail's names", "a  b^c", "", plain, gmail, plan.FolderRules{}, "a b_c"},
		{"Exchange as a source", "Calendar", "", exchange, plain, plan.FolderRules{}, ""},
		{"its hidden folder", "Files", "", exchange, exchange, plan.FolderRules{}, ""},
		{"a rule wants it", "Tasks", "", exchange, plain, plan.FolderRules{Include: []string{"Tasks"}}, "Tasks"},
		{"its notes are messages", "Notes", "", exchange, plain, plan.FolderRules{}, "Notes"},
		{"elsewhere it is a name", "Calendar", "", plain, plain, plan.FolderRules{}, "Calendar"},
		{"starred is a view", "[Gmail]/Starred", `\Flagged`, gmail, exchange, plan.FolderRules{}, ""},
		{"important is a view", "[Gmail]/Important", `\Important`, gmail, exchange, plan.FolderRules{}, ""},
		{"what is archived", "[Gmail]/All Mail", `\All`, gmail, exchange, plan.FolderRules{}, "Archive"},
		{"and where there is no archive", "[Gmail]/All Mail", `\All`, gmail, plain, plan.FolderRules{}, "Archive"},
		{"Gmail to Gmail", "[Gmail]/All Mail", `\All`, gmail, gmail, plan.FolderRules{}, "[Gmail]/All Mail"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := ListEntry{Raw: test.source, Name: test.source, SpecialUse: test.use, Selectable: true}
			source := []ListEntry{s}
			for _, e := range test.others {
				if e.Selectable = true; e.Raw != test.source {
					source = append(source, e)
				}
			}
			target := append([]ListEntry(nil), test.target...)
			for i := range target {
				target[i].Selectable = true
			}
			mappings, err := MapFolders(source, target, test.rules)
			if err != nil {
				t.Fatal(err)
			}
			if got := mappings[0]; got.Target != test.want || got.Excluded != (test.want == "") {
				t.Errorf("%+v, want %q", got, test.want)
			}
		})
	}
}
