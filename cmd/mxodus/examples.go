package main

import "github.com/spf13/cobra"

// usageExamples are the examples of help and man pages, for commands that don't bring their own.
var usageExamples = map[string]string{
	"mxodus":                 "  mxodus demo                  # a whole migration, in about a minute\n  mxodus init acme             # begin one of your own\n  mxodus -chdir acme doctor    # try everything\n  mxodus -chdir acme status    # where it is",
	"mxodus validate":        "  mxodus validate\n  mxodus validate -json",
	"mxodus fmt":             "  mxodus fmt\n  mxodus fmt -check",
	"mxodus plan":            "  mxodus plan -out plans/0001.plan\n  mxodus plan -offline -detailed-exitcode",
	"mxodus show":            "  mxodus show plans/0001.plan\n  mxodus show -markdown -max-bytes 60000 plans/0002.plan\n  mxodus show -since plans/0001.plan plans/0002.plan",
	"mxodus verify":          "  mxodus verify plans/0001.plan",
	"mxodus simulate":        "  mxodus simulate -cutover 2027-01-22T18:00\n  mxodus simulate -o timeline.svg",
	"mxodus apply":           "  mxodus apply plans/0001.plan\n  mxodus apply -wait plans/0001.plan\n  mxodus apply -mailbox anna@acme.example plans/0001.plan",
	"mxodus approve":         "  mxodus approve flip\n  mxodus approve flip -by kerstin@acme.example",
	"mxodus status":          "  mxodus status\n  mxodus status -watch\n  mxodus status -json | jq -r .next.kind",
	"mxodus done":            "  mxodus done retire/host/ionos",
	"mxodus check":           "  mxodus check\n  mxodus check target_accepts_mail",
	"mxodus check dns":       "  mxodus check dns\n  mxodus check dns acme.example -selector s1-ionos",
	"mxodus rollback":        "  mxodus rollback -to bulk_copy -out plans/0001-back.plan",
	"mxodus copy":            "  mxodus copy -source-password env:OLD -target-password env:NEW \\\n    imaps://anna%40acme.example@imap.old.example imaps://anna%40acme.example@imap.new.example",
	"mxodus report":          "  mxodus report\n  mxodus report -html report.html",
	"mxodus demo":            "  mxodus demo\n  mxodus demo -dir demo-files",
	"mxodus manifest":        "  mxodus manifest find '<20260301.1234@acme.example>'",
	"mxodus manifest export": "  mxodus manifest export -out manifests",
	"mxodus manifest verify": "  mxodus manifest verify",
	"mxodus state":           "  mxodus state list\n  mxodus state backup /backup/acme-state.db",
	"mxodus state list":      "  mxodus state list\n  mxodus state list -json",
	"mxodus state unlock":    "  mxodus state unlock",
	"mxodus state backup":    "  mxodus state backup /backup/acme-state.db",
	"mxodus providers":       "  mxodus providers\n  mxodus providers -schema",
	"mxodus version":         "  mxodus version\n  mxodus version -json",
}

// addExamples gives every command an example.
func addExamples(cmd *cobra.Command) {
	if cmd.Example == "" {
		cmd.Example = usageExamples[cmd.CommandPath()]
	}
	for _, c := range cmd.Commands() {
		addExamples(c)
	}
}
