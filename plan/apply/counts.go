package apply

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// folderCount is one folder of the target, and what the source's folders that go there hold.
type folderCount struct {
	target         string
	source, copied int
}

// countFolders holds the counts that both servers tell by STATUS against each other, folder by
// folder, and believes no manifest. It returns what it found, in words, and a complaint
// when more is missing than may be.
func (e *Engine) countFolders(ctx context.Context, m plan.Mailbox, c providers.Comparison) (words, complaint string, err error) {
	if len(c.Folders) == 0 {
		return "", "", nil
	}
	source, err := e.Systems.Source(m.From)
	if err != nil {
		return "", "", err
	}
	target, err := e.Systems.Target(m.On)
	if err != nil {
		return "", "", err
	}
	here, err := source.Folders(ctx, providers.Account{Address: m.Source, Credentials: m.Credentials})
	if err != nil {
		return "", "", err
	}
	there, err := target.Folders(ctx, providers.Account{Address: m.Target, Credentials: m.Credentials})
	if err != nil {
		return "", "", err
	}
	words, complaint = compareCounts(pairCounts(c.Folders, here, there), c.Quarantined, e.Migration.Validation.MaxDifference)
	return words, complaint, nil
}

// pairCounts adds up what goes to each folder of the target.
func pairCounts(pairs []providers.FolderComparison, here, there []providers.Folder) []folderCount {
	count := func(list []providers.Folder) map[string]int {
		n := map[string]int{}
		for _, f := range list {
			n[inbox(f.Name)] += int(f.Messages)
		}
		return n
	}
	source, target := count(here), count(there)
	by := map[string]*folderCount{}
	for _, p := range pairs {
		name := inbox(p.Target)
		if by[name] == nil {
			by[name] = &folderCount{target: p.Target, copied: target[name]}
		}
		if _, there := target[name]; !there {
			by[name].copied += p.Copied // made under another name: what the manifest found there
		}
		by[name].source += source[inbox(p.Source)]
	}
	var list []folderCount
	for _, name := range slices.Sorted(maps.Keys(by)) {
		list = append(list, *by[name])
	}
	return list
}

// inbox spells that one name in one way (RFC 9051 §5.1).
func inbox(name string) string {
	if strings.EqualFold(name, "inbox") {
		return "INBOX"
	}
	return name
}

// compareCounts judges the mailbox as a whole: after the flip people move their mail between
// folders. A folder that holds less is named all the same. More than at the source is as it should be: new mail comes in.
func compareCounts(list []folderCount, quarantined int, limit float64) (words, complaint string) {
	source, copied := -quarantined, 0
	var short []string
	for _, f := range list {
		source += f.source
		copied += f.copied
		if f.copied < f.source {
			short = append(short, fmt.Sprintf("%s %d of %d", f.target, f.copied, f.source))
		}
	}
	source = max(source, 0)
	words = fmt.Sprintf("counted by folder: %d at the source, %d at the target", source, copied)
	if len(short) > 0 {
		words += ", fewer in " + strings.Join(head(short, 5), ", ")
	}
	if float64(source-copied) > limit*float64(source) {
		return words, fmt.Sprintf("the servers count %d messages at the source and %d at the target, %.3g %% may be missing: %s", source, copied, 100*limit, strings.Join(head(short, 5), ", "))
	}
	return words, ""
}
