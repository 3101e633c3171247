//! The tables, and the one SQL text of each operation, which both databases run.
//!
//! SQLite accepts any name of a type. It stores times as text in UTC, JSON as text, and booleans as numbers.

use std::time::Duration;

use crate::sync::value::Failure;

/// The version of the tables. A newer one is refused.
pub(crate) const VERSION: i64 = 1;

/// How long to wait for a database that another process has locked.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(5);

/// `lock_timeout` is [`LOCK_WAIT`]. With this `work_mem`, PostgreSQL compares a long list in memory.
pub(crate) const POSTGRES_SETTINGS: &str =
    "SET lock_timeout = '5s'; SET work_mem = '64MB'; SET TIME ZONE 'UTC'";

pub(crate) fn in_use() -> Failure {
    Failure::busy("another sync is using the database; run this one again later")
}

pub(crate) fn too_new(version: i64) -> Failure {
    Failure::permanent(format!(
        "the tables have version {version}, but this program knows only versions up to {VERSION}: use a newer program"
    ))
}

/// The tables and indexes that are the same in both databases.
///
/// `printed` has one row.
///
/// SQLite uses the index of the missed rows only for queries that repeat its condition.
pub(crate) const TABLES: &str = "
CREATE TABLE enrolls (
    list TEXT NOT NULL,
    meetingid TEXT NOT NULL,
    enroll_id TEXT NOT NULL,
    enroll_time TEXT NOT NULL,
    enrolled_at TIMESTAMPTZ,
    enroll_source_type BIGINT NOT NULL,
    nick_name TEXT NOT NULL,
    status BIGINT NOT NULL,
    userid TEXT,
    tmp_openid TEXT,
    enroll_code TEXT,
    answer_list JSONB NOT NULL,
    first_seen TIMESTAMPTZ NOT NULL,
    last_seen TIMESTAMPTZ NOT NULL,
    removed_at TIMESTAMPTZ,
    missed BIGINT NOT NULL DEFAULT 0,
    digest BIGINT NOT NULL,
    PRIMARY KEY (list, meetingid, enroll_id)
);
CREATE INDEX enrolls_missed ON enrolls (list, meetingid, missed) WHERE missed > 0;
CREATE TABLE printed (seq BIGINT NOT NULL, last_seq BIGINT NOT NULL);
INSERT INTO printed (seq, last_seq) VALUES (0, 0);
";

/// `positions` has one row per page of the listing in progress: the checkpoint after the page, and the ids of
/// its rows. Page 0 has the time at which the list was last complete. The ids are not kept in `enrolls`, so
/// that a row that has not changed is not written. Without a rowid, SQLite writes one page of the file instead of two.
pub(crate) const SQLITE: &str = r#"
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY,
    "time" TIMESTAMPTZ NOT NULL,
    change TEXT NOT NULL,
    list TEXT NOT NULL,
    meetingid TEXT NOT NULL,
    enroll_id TEXT NOT NULL,
    "row" JSON NOT NULL
);
CREATE TABLE positions (
    list TEXT NOT NULL,
    meetingid TEXT NOT NULL,
    page BIGINT NOT NULL,
    position TEXT,
    enroll_ids JSON NOT NULL,
    malformed_rows BIGINT NOT NULL,
    completed_at TIMESTAMPTZ,
    PRIMARY KEY (list, meetingid, page)
) WITHOUT ROWID;
CREATE VIEW seen AS
    SELECT p.list, p.meetingid, p.page, i.value AS enroll_id
    FROM positions p, json_each(p.enroll_ids) i;
CREATE VIEW answers AS
    SELECT e.list, e.meetingid, e.enroll_id, e.nick_name,
        a.value ->> 'question_num' AS question_num,
        a.value ->> 'question_title' AS question_title,
        a.value ->> 'question_type' AS question_type,
        a.value ->> 'special_type' AS special_type,
        a.value ->> 'is_required' AS is_required,
        (SELECT group_concat(c.value, '; ') FROM json_each(a.value, '$.answer_content') c) AS answer
    FROM enrolls e, json_each(e.answer_list) a
    WHERE e.removed_at IS NULL;
"#;

pub(crate) const POSTGRES: &str = r#"
CREATE TABLE wecom_enroll (version BIGINT PRIMARY KEY);
CREATE TABLE changes (
    seq BIGINT PRIMARY KEY,
    "time" TIMESTAMPTZ NOT NULL,
    change TEXT NOT NULL,
    list TEXT NOT NULL,
    meetingid TEXT NOT NULL,
    enroll_id TEXT NOT NULL,
    "row" JSON NOT NULL
);
CREATE TABLE positions (
    list TEXT NOT NULL,
    meetingid TEXT NOT NULL,
    page BIGINT NOT NULL,
    position TEXT,
    enroll_ids JSON NOT NULL,
    malformed_rows BIGINT NOT NULL,
    completed_at TIMESTAMPTZ,
    PRIMARY KEY (list, meetingid, page)
);
CREATE VIEW seen AS
    SELECT p.list, p.meetingid, p.page, i.enroll_id
    FROM positions p CROSS JOIN LATERAL json_array_elements_text(p.enroll_ids) AS i (enroll_id);
CREATE VIEW answers AS
    SELECT e.list, e.meetingid, e.enroll_id, e.nick_name,
        (a.value ->> 'question_num')::BIGINT AS question_num,
        a.value ->> 'question_title' AS question_title,
        (a.value ->> 'question_type')::BIGINT AS question_type,
        (a.value ->> 'special_type')::BIGINT AS special_type,
        (a.value ->> 'is_required')::BIGINT AS is_required,
        (SELECT string_agg(c.value, '; ') FROM jsonb_array_elements_text(a.value -> 'answer_content') c)
            AS answer
    FROM enrolls e CROSS JOIN LATERAL jsonb_array_elements(e.answer_list) a
    WHERE e.removed_at IS NULL;
"#;

/// Selects where the listing in progress continues.
pub(crate) const LAST_POSITION: &str = "
SELECT position FROM positions WHERE list = $1 AND meetingid = $2 AND page > 0
ORDER BY page DESC LIMIT 1";

/// Ends the listing in progress.
pub(crate) const DELETE_POSITIONS: &str =
    "DELETE FROM positions WHERE list = $1 AND meetingid = $2 AND page > 0";

/// The rows of a page that are in the table, and when they were removed. With a cross join, SQLite starts with the
/// page.
pub(crate) const KNOWN: &str = "
SELECT e.enroll_id, e.digest, e.removed_at FROM seen s CROSS JOIN enrolls e
WHERE s.list = $1 AND s.meetingid = $2 AND s.page = $3
    AND e.list = $1 AND e.meetingid = $2 AND e.enroll_id = s.enroll_id";

pub(crate) const INSERT_ROW: &str = "
INSERT INTO enrolls (list, meetingid, enroll_id, enroll_time, enrolled_at, enroll_source_type,
    nick_name, status, userid, tmp_openid, enroll_code, answer_list, digest, first_seen, last_seen)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14)";

/// Has the parameters of [`INSERT_ROW`], but with the key last: SQLite numbers them in the order of the text.
/// There is no upsert for both: SQLite would copy every page that it might have to roll back.
pub(crate) const UPDATE_ROW: &str = "
UPDATE enrolls SET enroll_time = $1, enrolled_at = $2, enroll_source_type = $3, nick_name = $4,
    status = $5, userid = $6, tmp_openid = $7, enroll_code = $8, answer_list = $9, digest = $10,
    last_seen = $11, removed_at = NULL, missed = 0
WHERE list = $12 AND meetingid = $13 AND enroll_id = $14";

/// The time of the transaction.
pub(crate) const NOW: &str = "SELECT CURRENT_TIMESTAMP";

pub(crate) const INSERT_CHANGE: &str = r#"
INSERT INTO changes (seq, "time", change, list, meetingid, enroll_id, "row")
VALUES ($1, $2, $3, $4, $5, $6, $7)"#;

/// A page has the same number again if its cursor could not be followed and it is requested again.
pub(crate) const INSERT_POSITION: &str = "
INSERT INTO positions (list, meetingid, page, position, enroll_ids, malformed_rows)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (list, meetingid, page) DO UPDATE SET position = excluded.position,
    enroll_ids = excluded.enroll_ids, malformed_rows = excluded.malformed_rows";

pub(crate) const MALFORMED_PAGES: &str = "
SELECT COUNT(*) FROM positions
WHERE list = $1 AND meetingid = $2 AND page > 0 AND malformed_rows > 0";

/// One row of the listing in progress.
pub(crate) const ANY_SEEN: &str =
    "SELECT enroll_id FROM seen WHERE list = $1 AND meetingid = $2 LIMIT 1";

/// One row of the table.
pub(crate) const ANY_PRESENT: &str = "
SELECT enroll_id FROM enrolls
WHERE list = $1 AND meetingid = $2 AND removed_at IS NULL LIMIT 1";

/// Resets `missed` of the rows that this listing contains. Must run before [`MISS`].
pub(crate) const FOUND: &str = "
UPDATE enrolls SET missed = 0
WHERE list = $1 AND meetingid = $2 AND missed > 0 AND missed = 1
    AND enroll_id IN (SELECT enroll_id FROM seen WHERE list = $1 AND meetingid = $2)";

/// Counts one more complete listing without the row. Sets `last_seen` of a row that is missed for the first time: to
/// the end of the previous complete listing, or to its last write if that is later. With the order, SQLite merges two
/// sorted lists.
pub(crate) const MISS: &str = "
UPDATE enrolls SET missed = missed + 1, last_seen = CASE
    WHEN missed = 0 AND last_seen < (SELECT completed_at FROM positions
        WHERE list = $1 AND meetingid = $2 AND page = 0)
    THEN (SELECT completed_at FROM positions WHERE list = $1 AND meetingid = $2 AND page = 0)
    ELSE last_seen END
WHERE list = $1 AND meetingid = $2 AND removed_at IS NULL AND enroll_id IN (
    SELECT enroll_id FROM enrolls WHERE list = $1 AND meetingid = $2
    EXCEPT SELECT enroll_id FROM seen WHERE list = $1 AND meetingid = $2
    ORDER BY enroll_id)";

/// Some of the rows that were missed twice.
pub(crate) const GONE: &str = "
SELECT enroll_id, enroll_time, enroll_source_type, nick_name, status, userid, tmp_openid, enroll_code,
    answer_list
FROM enrolls
WHERE list = $1 AND meetingid = $2 AND missed > 0 AND missed = 2
ORDER BY enroll_id LIMIT 200";

pub(crate) const REMOVE: &str = "
UPDATE enrolls SET removed_at = CURRENT_TIMESTAMP, missed = 0
WHERE list = $1 AND meetingid = $2 AND enroll_id = $3";

pub(crate) const COMPLETE: &str = "
INSERT INTO positions (list, meetingid, page, enroll_ids, malformed_rows, completed_at)
VALUES ($1, $2, 0, '[]', 0, CURRENT_TIMESTAMP)
ON CONFLICT (list, meetingid, page) DO UPDATE SET completed_at = excluded.completed_at";

/// Changes are printed in order, so that one number is enough. Marking each change would write all of them twice.
pub(crate) const LAST_PRINTED: &str = "SELECT seq, last_seq FROM printed";

/// Records the last `seq` that was used: the change itself may be deleted.
pub(crate) const LAST_SEQ: &str = "UPDATE printed SET last_seq = $1";

pub(crate) const MARK_PRINTED: &str =
    "UPDATE printed SET seq = CASE WHEN seq < $1 THEN $1 ELSE seq END";

pub(crate) const CHANGES_AFTER: &str = r#"
SELECT seq, "time", change, meetingid, enroll_id, "row" FROM changes
WHERE seq > $1 ORDER BY seq LIMIT 50"#;
