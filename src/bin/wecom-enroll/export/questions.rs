//! The questions of meetings, from their settings, for the columns of CSV and XLSX.

use std::{pin::pin, time::Duration};

use futures::{StreamExt, stream};
use tokio::time::timeout;
use wecom_enroll::{Client, Query};

/// How long the export waits for all settings. It works without them.
const LIMIT: Duration = Duration::from_secs(10);

/// Returns the questions in the settings of the meetings. Settings that cannot be read are skipped without a
/// message, because an app that may read a list need not have permission for them.
pub(crate) async fn questions(
    client: &Client,
    queries: Vec<Query>,
    concurrency: usize,
) -> Vec<String> {
    let mut titles = Vec::new();
    let settings = stream::iter(queries).map(|query| client.enroll_settings(query));
    let mut settings = pin!(settings.buffered(concurrency));
    let read = async {
        while let Some(settings) = settings.next().await {
            let settings = settings.ok().filter(|settings| settings.collects_answers);
            let questions = settings.into_iter().flat_map(|settings| settings.questions);
            titles.extend(questions.map(|q| q.title).filter(|title| !title.is_empty()));
        }
    };
    // After the limit, the settings that were read so far are used.
    let _ = timeout(LIMIT, read).await;
    titles
}
