// Package plan is the vocabulary of a migration: what is wanted (Migration),
// what will be done about it (Plan, Step, Gate) and when (Phase, Moment).
//
// Everything here is a plain value: no clock, no network, no state. The
// package imports nothing else of this module, so every other package can
// speak these words without depending on another one.
package plan
