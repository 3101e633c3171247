//! `sync`: the tables, the printed changes, and how both survive failures. This file contains the shared helpers.

#[cfg(unix)]
mod files;
mod kills;
mod listings;
mod output;
#[cfg(target_os = "linux")]
mod postgres;
mod texts;

use std::{collections::BTreeMap, path::PathBuf, process::Output};

use rusqlite::{Connection, types::ValueRef};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use wecom_enroll::simulator::Simulator;

use super::{EXE, code, command, finish, stderr, text};

/// A row of a query, as text.
type Row = Vec<Option<String>>;

/// A database, and what was printed about it.
struct Mirror {
    directory: TempDir,
    url: String,
}

impl Mirror {
    /// A SQLite file that does not exist yet.
    fn sqlite() -> Self {
        let directory = TempDir::new().unwrap();
        let url = format!("sqlite:{}", text(&directory.path().join("enrolls.db")));
        Self { directory, url }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("enrolls.db")
    }

    fn command(&self, url: &str, more: &[&str]) -> Command {
        let args = ["sync", "M", "--base-url", url, "--retry-base", "1ms"];
        let mut command = command(EXE, &[&args[..], more].concat());
        command.env("DATABASE_URL", &self.url);
        command
    }

    /// Runs `sync` with a simulator.
    async fn run(&self, sim: &Simulator, more: &[&str]) -> Output {
        finish(self.command(&sim.base_url(), more)).await
    }

    /// Runs `sync`, which must succeed. Returns the printed changes.
    async fn sync(&self, sim: &Simulator, more: &[&str]) -> Vec<Value> {
        let done = self.run(sim, more).await;
        assert_eq!(code(&done), 0, "{}", stderr(&done));
        lines(&done.stdout)
    }

    async fn query(&self, sql: &str) -> Vec<Row> {
        #[cfg(target_os = "linux")]
        if self.url.starts_with("postgres:") {
            return crate::support::postgres::query(&self.url, sql).await;
        }
        let connection = Connection::open(self.path()).unwrap();
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            let value = |at| match row.get_ref(at)? {
                ValueRef::Null => Ok(None),
                ValueRef::Integer(number) => Ok(Some(number.to_string())),
                value => Ok(Some(String::from_utf8_lossy(value.as_bytes()?).into_owned())),
            };
            (0..columns).map(value).collect::<rusqlite::Result<Row>>()
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// Returns a number.
    async fn count(&self, sql: &str) -> u64 {
        self.query(sql).await[0][0].as_ref().unwrap().parse().unwrap()
    }

    /// Returns the rows that have not left the list, as `export` writes them, by `enroll_id`.
    async fn table(&self) -> BTreeMap<String, Value> {
        let sql = "SELECT enroll_id, enroll_time, enroll_source_type, nick_name, status, userid, tmp_openid,
            enroll_code, answer_list, meetingid FROM enrolls WHERE removed_at IS NULL";
        let rows = self.query(sql).await;
        let names = [
            "enroll_id",
            "enroll_time",
            "enroll_source_type",
            "nick_name",
            "status",
            "userid",
            "tmp_openid",
            "enroll_code",
            "answer_list",
            "meetingid",
        ];
        let numbers = ["enroll_source_type", "status", "answer_list"];
        let value = |(name, value): (&str, Option<String>)| {
            let value = match value {
                Some(text) if numbers.contains(&name) => serde_json::from_str(&text).unwrap(),
                Some(text) => text.into(),
                None => Value::Null,
            };
            (name.to_owned(), value)
        };
        let row = |row: Row| {
            let id = row[0].clone().unwrap();
            (id, Value::Object(names.into_iter().zip(row).map(value).collect()))
        };
        rows.into_iter().map(row).collect()
    }

    /// Returns the `enroll_id` and status of each row that has not left the list.
    async fn roster(&self) -> BTreeMap<String, u32> {
        let status = |(id, row): (String, Value)| (id, row["status"].as_u64().unwrap() as u32);
        self.table().await.into_iter().map(status).collect()
    }

    /// Applies all changes to an empty table.
    async fn replay(&self) -> BTreeMap<String, Value> {
        let mut table = BTreeMap::new();
        for row in self.query(r#"SELECT change, enroll_id, "row" FROM changes ORDER BY seq"#).await
        {
            let [Some(change), Some(id), Some(json)] = &row[..] else { panic!("{row:?}") };
            let json: Value = serde_json::from_str(json).unwrap();
            let before = match &**change {
                "removed" => table.remove(id),
                _ => table.insert(id.clone(), json.clone()),
            };
            match (&**change, before) {
                ("added", None) => {}
                ("changed", Some(before)) => assert_ne!(before, json),
                ("removed", Some(before)) => assert_eq!(before, json),
                (change, before) => panic!("{id} was {change} after {before:?}"),
            }
        }
        table
    }
}

/// Joins the columns of a row.
fn joined(row: Row) -> String {
    row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join(" ")
}

/// Parses printed changes. The last line of a killed process can be incomplete.
fn lines(stdout: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(stdout);
    let complete = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    complete.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns `change` and `enroll_id` of each line.
fn summary(lines: &[Value]) -> Vec<(&str, &str)> {
    lines
        .iter()
        .map(|line| (line["change"].as_str().unwrap(), line["enroll_id"].as_str().unwrap()))
        .collect()
}

fn seqs(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect()
}

fn roster(sim: &Simulator) -> BTreeMap<String, u32> {
    sim.roster("M").into_iter().collect()
}

fn id(index: u64) -> String {
    Simulator::enroll_id(index)
}
