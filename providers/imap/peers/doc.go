// Package peers measures mxodus beside other copiers of mail (mbsync,
// interimap, dsync, imapsync) and beside a floor: a raw copier that
// pipelines FETCH into APPEND and checks nothing. All of them work on the same two
// Dovecots in turn, through a proxy that counts and delays.
//
// The package has tests only; "make bench" runs them.
package peers
