// Package config reads a migration as people write it, HCL files that end in
// .mx.hcl, into a plan.Migration with every default filled in.
//
// Loading goes in stages, each over the whole folder, so that one run reports
// as much as it can: parse every file; hold every block against the schema (a
// closed world: an unknown name is an error that offers the nearest known
// one); find out what refers to what and refuse undeclared names and cycles;
// evaluate each block once, when it is first asked for; turn values into the
// vocabulary of package plan; check what only the whole can tell, such as two
// mailboxes with one address. A stage with errors is the last one.
//
// The outcome depends on nothing but the files and the Options: there is no
// function for the time, for randomness or for the environment, and the order
// of files, blocks and CSV rows makes no difference. Secrets are values of
// their own type that hold a reference; no expression can turn one into text.
package config
