BEGIN TRANSACTION;
CREATE TABLE membership (
    "group" BLOB NOT NULL,      -- packed
    source BLOB NOT NULL,       -- packed; zeros: any source
    interface TEXT NOT NULL,
    comment TEXT NOT NULL,
    persistent INTEGER NOT NULL,
    PRIMARY KEY ("group", source, interface)
) WITHOUT ROWID;
INSERT INTO "membership" VALUES(X'EF010101',X'00000000','eth0','ein Kommentar',1);
INSERT INTO "membership" VALUES(X'EF010101',X'0A000001','eth0','',1);
CREATE TABLE rest (
    kind TEXT NOT NULL,         -- of the statement
    row TEXT NOT NULL           -- its parameters, as a literal of Python
);
INSERT INTO "rest" VALUES('Route','(b''\n\x00\x00\x01 '', b''\xef\x01\x01\x01 '', '''', 0, ''eth0'', ''eth1/1 eth2/16'', ''ein Kommentar'', False, 0)');
INSERT INTO "rest" VALUES('RouteKey','(b''\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00'', b''\xff\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x80'', ''eth0'', 0)');
INSERT INTO "rest" VALUES('MembershipKey','(b''\xff\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01'', b''\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00'', ''eth0'')');
INSERT INTO "rest" VALUES('Membership','(b''\xef\t\t\t'', b''\x00\x00\x00\x00'', ''eth0'', '''', False)');
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
INSERT INTO "route" VALUES(X'0000000000',X'EF01010120','eth0',0,'eth0','eth1/1','',1,0);
INSERT INTO "route" VALUES(X'0000000000',X'EF01010120','eth3',100,'eth3','eth1/1','',1,0);
INSERT INTO "route" VALUES(X'0A01000010',X'EF02000010','eth*',0,'eth*','vlan[12]?/1 eth1/1','',1,0);
INSERT INTO "route" VALUES(X'FD00000000000000000000000000000180',X'FF05000000000000000000000000000180','',0,'eth0','eth1/1','',1,0);
CREATE TABLE this (
    identity TEXT NOT NULL,     -- of this store, never of another
    rest TEXT NOT NULL,         -- name of the rest that it has, which begins with whose it is
    done TEXT NOT NULL          -- name of the rest that was done here last
);
INSERT INTO "this" VALUES('760157d9846ec716','38322c677dcc0467-958b2895300cb718','');
COMMIT;
PRAGMA application_id = 1835426660;
PRAGMA user_version = 2;
PRAGMA journal_mode = WAL;
