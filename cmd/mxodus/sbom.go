package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// newSBOM prints what the program is made of. Packagers call it; it is not listed.
func newSBOM(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "sbom",
		Short:  "Print the modules that this program is built of, as CycloneDX JSON",
		Hidden: true,
		Args:   noArgs,
		RunE: func(*cobra.Command, []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok {
				return fmt.Errorf("this program was built without build information")
			}
			e := json.NewEncoder(a.stdout)
			e.SetIndent("", "  ")
			return e.Encode(billOf(info, version))
		},
	}
}

// The part of CycloneDX 1.5 that is needed (https://cyclonedx.org/docs/1.5/json/). There is no
// time in it: the same program has the same bill.
type bill struct {
	Format       string      `json:"bomFormat"`
	Spec         string      `json:"specVersion"`
	Serial       string      `json:"serialNumber"`
	Version      int         `json:"version"`
	Metadata     billAbout   `json:"metadata"`
	Components   []component `json:"components"`
	Dependencies []billNeeds `json:"dependencies"`
}

type billAbout struct {
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	PURL       string     `json:"purl"`
	Properties []property `json:"properties,omitempty"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type billNeeds struct {
	Ref  string   `json:"ref"`
	Uses []string `json:"dependsOn"`
}

func billOf(info *debug.BuildInfo, version string) bill {
	ref := func(path, version string) string { return "pkg:golang/" + path + "@" + version }
	self := component{Type: "application", Ref: ref(info.Main.Path, version), Name: info.Main.Path, Version: version, PURL: ref(info.Main.Path, version)}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" || s.Key == "GOOS" || s.Key == "GOARCH" || s.Key == "CGO_ENABLED" || s.Key == "-tags" {
			self.Properties = append(self.Properties, property{"mxodus:" + strings.TrimLeft(s.Key, "-"), s.Value})
		}
	}
	b := bill{Format: "CycloneDX", Spec: "1.5", Version: 1, Metadata: billAbout{self}}
	needs := billNeeds{Ref: self.Ref, Uses: []string{}}
	goVersion := strings.TrimPrefix(info.GoVersion, "go")
	b.Components = append(b.Components, component{Type: "library", Ref: ref("std", goVersion), Name: "std", Version: goVersion, PURL: ref("std", goVersion)})
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		c := component{Type: "library", Ref: ref(m.Path, m.Version), Name: m.Path, Version: m.Version, PURL: ref(m.Path, m.Version)}
		if m.Sum != "" {
			c.Properties = []property{{"go:sum", m.Sum}}
		}
		b.Components = append(b.Components, c)
	}
	slices.SortFunc(b.Components, func(x, y component) int {
		return cmp.Or(strings.Compare(x.Name, y.Name), strings.Compare(x.Version, y.Version))
	})
	for _, c := range b.Components {
		needs.Uses = append(needs.Uses, c.Ref)
	}
	b.Dependencies = []billNeeds{needs}
	// A name-based UUID (RFC 9562 §5.8) of the content.
	content, err := json.Marshal(b)
	if err != nil {
		panic("a bill of strings can't be written: " + err.Error())
	}
	h := sha256.Sum256(content)
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80
	x := hex.EncodeToString(h[:16])
	b.Serial = fmt.Sprintf("urn:uuid:%s-%s-%s-%s-%s", x[:8], x[8:12], x[12:16], x[16:20], x[20:])
	return b
}
