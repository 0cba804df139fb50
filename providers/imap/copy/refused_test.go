package copy

import (
	"slices"
	"strings"
	"testing"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// meddledBench is an engine with a meddler before the target.
func meddledBench(t *testing.T, src, dst server) (*bench, *imaptest.Meddler) {
	t.Helper()
	m := imaptest.NewMeddler(t, dst.address)
	return newBench(t, src, dst, t.TempDir(), func(_, d *plan.Host) { d.Port = m.Port() }), m
}

// TestARefusedChangeOfFlagsIsMadeLater: whatever the words of a refusal, the next pass makes the change.
func TestARefusedChangeOfFlagsIsMadeLater(t *testing.T) {
	for name, start := range kinds {
		for _, words := range []string{"BAD Command Argument Error. 11", "NO not today", "NO [INUSE] busy"} {
			t.Run(name+"/"+words, func(t *testing.T) {
				src, dst := start(t)
				src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one"), mail("INBOX", "two")})
				b, m := meddledBench(t, src, dst)
				b.pass(providers.BeforeFlip)
				store(t, src, "INBOX", 1, goimap.StoreFlagsAdd, goimap.FlagAnswered, goimap.FlagSeen)
				m.Plan(imaptest.Fault{Kind: imaptest.RefuseCommand, Verb: "UID STORE", At: 1, Text: words})
				_, err := b.try(providers.BeforeFlip)
				if len(m.Struck()) != 1 {
					t.Fatalf("no change of flags was refused: %v", err)
				}
				b.pass(providers.BeforeFlip)
				b.equal()
				b.idle(providers.BeforeFlip)
			})
		}
	}
}

// TestASessionThatEndsInALoginSaysNothingOfAFolder: the target cuts the connection when flags are to be changed, and ends the next one in words that
// nobody knows before it is of use. That is neither the refusal of a folder, after which the rest of the pass would count as done, nor one for good.
func TestASessionThatEndsInALoginSaysNothingOfAFolder(t *testing.T) {
	for name, start := range kinds {
		t.Run(name, func(t *testing.T) {
			src, dst := start(t)
			src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one"), mail("INBOX", "two")})
			b, m := meddledBench(t, src, dst)
			b.engine.o.Clock = hurried{}
			b.pass(providers.BeforeFlip)
			store(t, src, "INBOX", 1, goimap.StoreFlagsAdd, goimap.FlagAnswered, goimap.FlagSeen)
			chain := imaptest.NewChain(
				imaptest.Link{Meddler: m, Fault: imaptest.Fault{Kind: imaptest.CutBeforeCommand, Verb: "UID STORE", At: 1}},
				imaptest.Link{Meddler: m, Fault: imaptest.Fault{Kind: imaptest.ByeForCommand, At: 2, Text: "Autologout; idle for too long"}},
			)
			if _, err := b.try(providers.BeforeFlip); err != nil {
				t.Errorf("a session that ended ends the pass: %v", err)
			}
			if n := len(chain.Struck()); n != 2 {
				t.Fatalf("%d faults have struck: %q", n, chain.Struck())
			}
			b.pass(providers.BeforeFlip)
			b.equal()
			b.idle(providers.BeforeFlip)
		})
	}
}

// TestAFolderThatAListLacksIsNotDeleted: a line of the target's list is lost. Changes of flags in that folder are made all the same; what
// its users have deleted really stays deleted, and holds up no pass.
func TestAFolderThatAListLacksIsNotDeleted(t *testing.T) {
	for name, start := range kinds {
		t.Run(name, func(t *testing.T) {
			src, dst := start(t)
			src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one"), mail("Work", "two"), mail("Gone", "three")})
			b, m := meddledBench(t, src, dst)
			b.pass(providers.BeforeFlip)
			if err := dst.client(t).Delete("Gone").Wait(); err != nil {
				t.Fatal(err)
			}
			lost := 0
			m.Lie(func(_ string, response []byte) []byte {
				if s := string(response); strings.HasPrefix(s, "* LIST ") && (strings.Contains(s, "INBOX") || strings.Contains(s, "Work")) {
					lost++
					return nil
				}
				return response
			})
			for _, folder := range []string{"INBOX", "Work", "Gone"} {
				store(t, src, folder, 1, goimap.StoreFlagsAdd, goimap.FlagAnswered, goimap.FlagSeen)
			}
			b.pass(providers.BeforeFlip)
			m.Lie(nil)
			if lost < 2 {
				t.Fatalf("%d lines were lost", lost)
			}
			got := dst.read(t)
			for _, folder := range []string{"INBOX", "Work"} {
				if mails := got[folder]; len(mails) != 1 || !slices.Contains(mails[0].Flags, `\answered`) {
					t.Errorf("%s: %+v", folder, mails)
				}
			}
			if len(got["Gone"]) != 0 {
				t.Errorf("what its users have deleted is there again: %+v", got["Gone"])
			}
			b.idle(providers.BeforeFlip)
		})
	}
}

// TestARefusedFolderIsNotMistakenForAnother: a server that refuses to open a folder may leave the one before open, as one that throttles does.
// What was meant for the folder must not reach the other one.
func TestARefusedFolderIsNotMistakenForAnother(t *testing.T) {
	for name, start := range kinds {
		t.Run(name, func(t *testing.T) {
			src, dst := start(t)
			var mails []imaptest.GeneratedMail
			folders := []string{"INBOX", "A", "B", "C"}
			for _, f := range folders {
				mails = append(mails, mail(f, "one in "+f), mail(f, "two in "+f))
			}
			src.fill(t, mails)
			b, m := meddledBench(t, src, dst)
			b.pass(providers.BeforeFlip)
			flags := []goimap.Flag{goimap.FlagSeen, goimap.FlagFlagged, goimap.FlagAnswered, goimap.FlagDraft}
			// A folder is opened once to be looked at and once to be changed.
			for at := 1; at <= 2*len(folders); at++ {
				op := goimap.StoreFlagsAdd
				if at > len(folders) {
					op = goimap.StoreFlagsDel
				}
				for i, f := range folders { // each folder another flag, so that a mistaken one shows
					store(t, src, f, 1, op, flags[(i+at)%4])
				}
				m.Plan(imaptest.Fault{Kind: imaptest.RefuseCommand, Verb: "SELECT", At: at, Text: "BAD Request is throttled. Suggested Backoff Time: 5 milliseconds"})
				_, err := b.try(providers.BeforeFlip)
				if len(m.Struck()) != 1 {
					t.Fatalf("folder %d was not refused: %v", at, err)
				}
				m.Plan()
				b.pass(providers.BeforeFlip)
				b.equal()
			}
		})
	}
}

// TestNamespaceThatIsNotToldIsNotGuessed: without the prefix that the server keeps folders under nothing is written.
func TestNamespaceThatIsNotToldIsNotGuessed(t *testing.T) {
	for _, words := range []string{"NO [UNAVAILABLE] try again later", "BAD Command Argument Error. 11", "OK done"} {
		t.Run(words, func(t *testing.T) {
			src, dst := memories(t)
			src.fill(t, []imaptest.GeneratedMail{mail("Work", "one")})
			b, m := meddledBench(t, src, dst)
			var faults []imaptest.Fault
			for at := 1; at <= 40; at++ {
				faults = append(faults, imaptest.Fault{Kind: imaptest.RefuseCommand, Verb: "NAMESPACE", At: at, Text: words})
			}
			m.Plan(faults...)
			b.engine.o.Clock = hurried{}
			if _, err := b.try(providers.BeforeFlip); err == nil {
				t.Error("the pass ended well")
			}
			for folder, mails := range dst.read(t) {
				if len(mails) > 0 || !strings.EqualFold(folder, "INBOX") {
					t.Errorf("%s was made, with %d messages", folder, len(mails))
				}
			}
			m.Plan()
			b.pass(providers.BeforeFlip)
			b.equal()
		})
	}
}
