//! How every client except wecom-enroll fetches a page: reqwest, and serde with owned strings.

use anyhow::{Result, ensure};
use reqwest::Response;
use serde::Serialize;
use wecom_enroll::HttpTransport;

use crate::{
    rows::{PAGE, Page},
    server::meeting,
};

#[derive(Clone)]
pub(super) struct Fetch {
    http: reqwest::Client,
    url: String,
    meeting: String,
}

#[derive(Serialize)]
struct ListRequest<'a> {
    meetingid: &'a str,
    status: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
    limit: u32,
}

impl Fetch {
    pub(super) fn new(base_url: &str, rows: u32) -> Result<Self> {
        let http = HttpTransport::client_builder()?.no_proxy().build()?;
        let url = format!("{base_url}/cgi-bin/meeting/webinar/enroll/list?access_token=T");
        Ok(Self { http, url, meeting: meeting(rows) })
    }

    /// Fetches the page at `cursor`, or the first page.
    pub(super) async fn page(&self, cursor: Option<&str>) -> Result<Page> {
        let page: Page = self.response(cursor).await?.json().await?;
        ensure!(page.errcode == 0, "errcode {}: {}", page.errcode, page.errmsg);
        Ok(page)
    }

    /// Fetches the same page without decoding it.
    pub(super) async fn response(&self, cursor: Option<&str>) -> Result<Response> {
        let request = ListRequest { meetingid: &self.meeting, status: 0, cursor, limit: PAGE };
        Ok(self.http.post(&self.url).json(&request).send().await?.error_for_status()?)
    }
}

impl Page {
    /// Takes the cursor of the next page, if there is one.
    pub(super) fn next(&mut self) -> Option<String> {
        self.has_more.then(|| std::mem::take(&mut self.next_cursor))
    }
}
