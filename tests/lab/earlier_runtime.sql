BEGIN TRANSACTION;
CREATE TABLE membership (
    "group" BLOB NOT NULL,      -- packed
    source BLOB NOT NULL,       -- packed; zeros: any source
    interface TEXT NOT NULL,
    comment TEXT NOT NULL,
    persistent INTEGER NOT NULL,
    PRIMARY KEY ("group", source, interface)
) WITHOUT ROWID;
INSERT INTO "membership" VALUES(X'FF050000000000000000000000000001',X'00000000000000000000000000000000','eth0','',0);
CREATE TABLE rest (
    kind TEXT NOT NULL,         -- of the statement
    row TEXT NOT NULL           -- its parameters, as a literal of Python
);
CREATE TABLE route (
    source BLOB NOT NULL,       -- a prefix: the packed address, and its length in one byte more
    "group" BLOB NOT NULL,      -- a prefix
    key_iif TEXT NOT NULL,      -- empty where both are one address, and otherwise the iif
    "table" INTEGER NOT NULL,   -- number; 0: the default table
    iif TEXT NOT NULL,
    oifs TEXT NOT NULL,         -- name/threshold, separated by spaces
    comment TEXT NOT NULL,
    persistent INTEGER NOT NULL,
    expires INTEGER NOT NULL,   -- CLOCK_BOOTTIME, nanoseconds; 0: never
    PRIMARY KEY (source, "group", key_iif, "table")
) WITHOUT ROWID;
INSERT INTO "route" VALUES(X'0000000000000000000000000000000000',X'FF05000000000000000000000000000280','eth0',0,'eth0','eth1/1','',0,0);
INSERT INTO "route" VALUES(X'0000000000000000000000000000000000',X'FF05000000000000000000000000000380','eth0',0,'eth0','eth1/1','',1,4611686018427387904);
CREATE TABLE this (
    identity TEXT NOT NULL,     -- of this store, never of another
    rest TEXT NOT NULL,         -- name of the rest that it has, which begins with whose it is
    done TEXT NOT NULL          -- name of the rest that was done here last
);
INSERT INTO "this" VALUES('38322c677dcc0467','','38322c677dcc0467-b2aaa927a87cf5ef');
COMMIT;
PRAGMA application_id = 1835426660;
PRAGMA user_version = 2;
PRAGMA journal_mode = WAL;
