//! The function of the cookbook that writes to PostgreSQL, with a real server. Skipped visibly if PostgreSQL is not
//! installed. The function below is the text that the cookbook shows; a test compares them.
#![allow(
    clippy::cast_possible_wrap,
    reason = "a database stores the bits of a digest as a signed number"
)]

use std::error::Error;

use futures::TryStreamExt;
use serde_json::json;
use tokio_postgres::NoTls;
use wecom_enroll::{Checkpoint, Page, simulator::Simulator};

use crate::{
    http::{builder, start},
    support::{Script, page, postgres::PostgresServer, query},
};

// The function starts here.
const UPSERT: &str = "
    INSERT INTO enrolls (enroll_id, nick_name, row, digest) VALUES ($1, $2, $3, $4)
    ON CONFLICT (enroll_id) DO UPDATE
        SET nick_name = excluded.nick_name, row = excluded.row, digest = excluded.digest
        WHERE enrolls.digest <> excluded.digest";

const SAVE: &str = "
    INSERT INTO position (id, checkpoint) VALUES (1, $1)
    ON CONFLICT (id) DO UPDATE SET checkpoint = excluded.checkpoint";

async fn commit(
    database: &mut tokio_postgres::Client,
    page: &Page,
    after: &Checkpoint,
) -> Result<u64, Box<dyn Error>> {
    let transaction = database.transaction().await?;
    let upsert = transaction.prepare(UPSERT).await?;
    let mut written = 0;
    for row in page {
        match row {
            Ok(row) => {
                // In JSON, U+0000 is escaped, so that a column of the type TEXT or JSON can store it.
                let name = row.nick_name().replace('\0', "\u{fffd}");
                let (json, digest) = (serde_json::to_string(&row)?, row.digest() as i64);
                let id = row.enroll_id();
                written += transaction.execute(&upsert, &[&id, &name, &json, &digest]).await?;
            }
            Err(error) => eprintln!("{error}"), // a malformed row, which is skipped
        }
    }
    transaction.execute(SAVE, &[&serde_json::to_string(after)?]).await?;
    transaction.commit().await?;
    Ok(written)
}
// The function ends here.

#[test]
fn cookbook_shows_the_postgres_function_of_this_test() {
    let own = include_str!("cookbook_postgres.rs");
    let own = own.split("// The function starts here.\n").nth(1).unwrap();
    let own = own.split("// The function ends here.\n").next().unwrap();
    assert!(include_str!("../../src/cookbook/databases.md").contains(own));
}

#[tokio::test]
async fn cookbook_function_writes_only_changed_rows_to_postgres() {
    let Some(server) = PostgresServer::start().await else { return };
    let schema = "CREATE TABLE enrolls (
            enroll_id TEXT PRIMARY KEY, nick_name TEXT NOT NULL, row TEXT NOT NULL, digest BIGINT NOT NULL);
        CREATE TABLE position (id INTEGER PRIMARY KEY, checkpoint TEXT NOT NULL)";
    server.query(schema).await;
    let (mut database, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let sim = start(Simulator::builder().enrollees(120)).await;
    let client = builder(&sim).build().unwrap();
    let mut written = Vec::new();
    for _ in 0..2 {
        let mut pages = client.pages(query());
        while let Some(page) = pages.try_next().await.unwrap() {
            written.push(commit(&mut database, &page, &pages.checkpoint()).await.unwrap());
        }
        sim.set_status(query().meeting_id(), &Simulator::enroll_id(60), 2_u32);
    }
    assert_eq!(written, [50, 50, 20, 0, 1, 0]);
    let saved = server.query("SELECT checkpoint FROM position").await.remove(0).remove(0).unwrap();
    assert!(serde_json::from_str::<Checkpoint>(&saved).unwrap().is_end());

    // PostgreSQL cannot store U+0000.
    let person = json!({"enroll_id": "1", "nick_name": "A\0B"});
    let script = Script::new(move |_| page(vec![person.clone()], None).into());
    let mut pages = script.client().pages(query());
    let page = pages.try_next().await.unwrap().unwrap();
    assert_eq!(commit(&mut database, &page, &pages.checkpoint()).await.unwrap(), 1);
    let name = server.query("SELECT nick_name FROM enrolls WHERE enroll_id = '1'").await;
    assert_eq!(name, [[Some("A\u{fffd}B".to_owned())]]);
}
