// Package render shows plans, the status of a migration and its sign-off report
// as terminal text, Markdown, HTML and JSON.
//
// Every function is pure: it writes what it is given and asks neither clock
// nor environment nor terminal. Whatever came from outside (names, addresses,
// records, a server's words) goes through Escape before it is written.
package render
