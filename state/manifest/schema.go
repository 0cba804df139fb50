package manifest

// schemaVersion is stored in PRAGMA user_version. A newer file is refused; an
// older one is brought up in migrate.
const schemaVersion = 2

// Numbers of UIDs, counts and mod-sequences are those of RFC 9051 §2.3.1 and
// RFC 7162. "at" columns are nanoseconds since 1970, UTC.
//
// There is no index on the digest during a bulk pass: random keys of 32
// octets cost a factor of ten. Vanished rows, the only ones that moves are
// looked up in, have a partial one; matching after a change of UIDVALIDITY
// makes its own (DigestIndex).
const schema = `
CREATE TABLE mailbox (
	one    INTEGER PRIMARY KEY CHECK (one = 1),
	target TEXT NOT NULL,
	rewrites INTEGER NOT NULL DEFAULT 0 -- the target keeps the content of messages and not their octets
);
CREATE TABLE pass (
	number   INTEGER PRIMARY KEY AUTOINCREMENT,
	mode     TEXT NOT NULL,
	began    INTEGER NOT NULL,
	finished INTEGER,
	result   TEXT
);
CREATE TABLE target (
	id               INTEGER PRIMARY KEY,
	raw              TEXT NOT NULL UNIQUE,
	name             TEXT NOT NULL,
	uidvalidity      INTEGER NOT NULL DEFAULT 0,
	uidnext          INTEGER NOT NULL DEFAULT 0,
	messages         INTEGER NOT NULL DEFAULT 0,
	modseq           INTEGER NOT NULL DEFAULT 0,
	base_uidvalidity INTEGER NOT NULL,
	base_uidnext     INTEGER NOT NULL,
	base_messages    INTEGER NOT NULL,
	audited          INTEGER NOT NULL DEFAULT 0 -- the highest UID of ours that was looked at after it was copied
);
CREATE TABLE staging (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	raw     TEXT NOT NULL UNIQUE,
	made    INTEGER NOT NULL,
	ending  INTEGER NOT NULL DEFAULT 0, -- its DELETE was begun: what is in there counts no more
	retired INTEGER                -- when it was certainly gone, NULL = it may be there
);
CREATE TABLE folder (
	id          INTEGER PRIMARY KEY,
	raw         TEXT NOT NULL UNIQUE,
	name        TEXT NOT NULL,
	target      INTEGER REFERENCES target(id),
	uidvalidity INTEGER NOT NULL DEFAULT 0,
	uidnext     INTEGER NOT NULL DEFAULT 0,
	messages    INTEGER NOT NULL DEFAULT 0,
	modseq      INTEGER NOT NULL DEFAULT 0,
	complete    INTEGER NOT NULL DEFAULT 0,
	subscribed  INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE message (
	id           INTEGER PRIMARY KEY,
	folder       INTEGER NOT NULL REFERENCES folder(id),
	uidvalidity  INTEGER NOT NULL,
	uid          INTEGER NOT NULL,
	size         INTEGER NOT NULL,
	internaldate INTEGER,          -- seconds since 1970
	flags        TEXT NOT NULL,    -- as last brought over: the base of the three-way merge
	message_id   TEXT NOT NULL,
	digest       BLOB NOT NULL,    -- SHA-256 of the octets
	canonical    BLOB,             -- digest of the canonical form, NULL = the same
	state        INTEGER NOT NULL CHECK (state BETWEEN 1 AND 5),
	vanished     INTEGER NOT NULL DEFAULT 0, -- the pass that found it gone at the source
	at           INTEGER NOT NULL, -- when the state was entered
	target       INTEGER REFERENCES target(id),
	window       INTEGER,          -- the target's UIDNEXT when the intent was written; stays with a claim that no answer of the server's confirmed
	target_uidvalidity INTEGER,
	target_uid   INTEGER,
	staging      INTEGER,          -- the staging folder it was sent to, while it is not known to be in its place
	staged_uid   INTEGER,          -- where it is in there
	content      BLOB,             -- digest of the decoded content, where it was needed
	gist         BLOB,             -- digest of what identifies it best when content was changed, where it was needed
	tier         INTEGER NOT NULL DEFAULT 0,  -- how closely a message read back was equal, 0 = not read back
	changed      TEXT NOT NULL DEFAULT '',    -- what the target changed, words separated by blanks
	sender       TEXT NOT NULL DEFAULT '',
	subject      BLOB,             -- the first octets of the subject's digest, NULL = none
	UNIQUE (folder, uidvalidity, uid),
	UNIQUE (target, target_uidvalidity, target_uid)
);
CREATE INDEX message_open ON message(state, target) WHERE state IN (1, 2, 3, 5);
CREATE INDEX message_vanished ON message(digest) WHERE vanished > 0;
CREATE INDEX message_changed ON message(changed) WHERE changed <> '';
CREATE TABLE quarantine (
	message INTEGER PRIMARY KEY REFERENCES message(id),
	reason  TEXT NOT NULL,
	words   TEXT NOT NULL,
	max     INTEGER NOT NULL, -- the size limit that was in force, 0 = none
	file    TEXT NOT NULL
);
`

// formerly is what tells a manifest of format 1 from a file of another program.
const formerly = `
CREATE TABLE mailbox (one, target);
CREATE TABLE pass (number, mode, began, finished, result);
CREATE TABLE target (id, raw, name);
CREATE TABLE folder (id, raw, name, target);
CREATE TABLE message (id, folder, uidvalidity, uid, state, target);
CREATE TABLE quarantine (message, reason, words, max, file);
`

// upgrade brings a file of format 1 to format 2.
const upgrade = `
ALTER TABLE mailbox ADD COLUMN rewrites INTEGER NOT NULL DEFAULT 0;
ALTER TABLE target ADD COLUMN audited INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN staging INTEGER;
ALTER TABLE message ADD COLUMN staged_uid INTEGER;
ALTER TABLE message ADD COLUMN content BLOB;
ALTER TABLE message ADD COLUMN gist BLOB;
ALTER TABLE message ADD COLUMN tier INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN changed TEXT NOT NULL DEFAULT '';
ALTER TABLE message ADD COLUMN sender TEXT NOT NULL DEFAULT '';
ALTER TABLE message ADD COLUMN subject BLOB;
CREATE INDEX message_changed ON message(changed) WHERE changed <> '';
CREATE TABLE staging (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	raw     TEXT NOT NULL UNIQUE,
	made    INTEGER NOT NULL,
	ending  INTEGER NOT NULL DEFAULT 0, -- its DELETE was begun: what is in there counts no more
	retired INTEGER
);
`
