// Package load is what the program holds under load: mailboxes of a million messages, messages of 150 MB, a hundred gigabytes, ten thousand
// folders, two thousand mailboxes. It is all tests: they run the real program as a process of its own against servers that
// make their mail when it is read, and look at the memory that it had resident, at its time, and at whether every message arrived
// once.
//
// The tests of `make test` are small forms, which look at memory and mail. `make load` runs the whole table, prints it and fails where
// something doesn't hold; it is told its size by the flags of load_test.go.
package load
