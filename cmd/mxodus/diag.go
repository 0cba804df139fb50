package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/mxodus/mxodus/plan/config"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/providers"
)

// configError is a configuration that can't be used.
type configError struct {
	files map[string]*hcl.File
	diags hcl.Diagnostics
}

func (e *configError) Error() string {
	errs := 0
	for _, d := range e.diags {
		if d.Severity == hcl.DiagError {
			errs++
		}
	}
	if errs == 1 {
		return "the configuration has an error"
	}
	return fmt.Sprintf("the configuration has %d errors", errs)
}

// diagnosticJSON is one diagnostic as -json prints it. Lines and columns count
// from 1, columns in characters.
type diagnosticJSON struct {
	Severity string `json:"severity"`
	Summary  string `json:"summary"`
	Detail   string `json:"detail,omitempty"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
	EndLine  int    `json:"end_line,omitempty"`
	EndCol   int    `json:"end_column,omitempty"`
}

func diagnosticsJSON(diags hcl.Diagnostics) []diagnosticJSON {
	out := []diagnosticJSON{}
	for _, d := range diags {
		j := diagnosticJSON{Severity: "error", Summary: d.Summary, Detail: d.Detail}
		if d.Severity == hcl.DiagWarning {
			j.Severity = "warning"
		}
		if s := d.Subject; s != nil {
			j.File, j.Line, j.Column, j.EndLine, j.EndCol = s.Filename, s.Start.Line, s.Start.Column, s.End.Line, s.End.Column
		}
		out = append(out, j)
	}
	return out
}

// errorJSON is what -json prints, as the last object, when a command fails.
type errorJSON struct {
	Type        string           `json:"type"` // "error"
	Code        int              `json:"code"`
	Error       string           `json:"error"`
	Remedy      string           `json:"remedy,omitempty"`
	Diagnostics []diagnosticJSON `json:"diagnostics"`
}

// report prints the error that ended a command: for people on stderr, with
// -json as an object on stdout.
func (a *app) report(err error) {
	if e, ok := err.(*exitError); ok && e.err == nil {
		return
	}
	code := a.exitCode(err)
	conf, isConf := errors.AsType[*configError](err)
	remedy := ""
	if e, ok := errors.AsType[*providers.Error](err); ok && !strings.Contains(err.Error(), e.Remedy) {
		remedy = e.Remedy
	}
	if a.json {
		out := errorJSON{Type: "error", Code: code, Error: err.Error(), Remedy: remedy, Diagnostics: []diagnosticJSON{}}
		if isConf {
			out.Diagnostics = diagnosticsJSON(conf.diags)
		}
		_ = a.writeJSON(out)
		return
	}
	if isConf {
		a.writeDiagnostics(conf.files, conf.diags)
		return
	}
	for i, line := range strings.Split(err.Error(), "\n") {
		prefix := "mxodus: "
		if i > 0 {
			prefix = "  "
		}
		fmt.Fprintln(a.stderr, prefix+render.Escape(line))
	}
	if remedy != "" {
		fmt.Fprintln(a.stderr, "  "+render.Escape(remedy))
	}
	if code == exitUsage {
		fmt.Fprintln(a.stderr, "  mxodus -help, or mxodus COMMAND -help, tells more")
	}
}

// writeDiagnostics prints errors and warnings with excerpts on stderr.
func (a *app) writeDiagnostics(files map[string]*hcl.File, diags hcl.Diagnostics) {
	if len(diags) == 0 {
		return
	}
	s := a.screen()
	if err := config.WriteDiagnostics(a.stderr, files, diags, s.Width, s.Color); err != nil {
		fmt.Fprintf(a.stderr, "mxodus: the diagnostics can't be written: %v\n", err)
	}
}

// writeJSON writes one object on one line: every command's -json output is
// newline-delimited objects, or one object.
func (a *app) writeJSON(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := a.stdout.Write(render.SafeJSON(b.Bytes()))
	return err
}
