//! The `gettoken` call: exchanges the corp id and secret of an app for an access token.

use std::time::Duration;

use futures::{FutureExt, future::BoxFuture};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::{
    call::{
        attempt::{Api, ApiRequest},
        token::{AccessToken, Issued, Issuer},
    },
    error::{Error, Result},
    wire,
};

/// A token is refreshed this long before it expires, or a tenth of its lifetime, whichever is less.
const MARGIN: Duration = Duration::from_secs(300);

/// The maximum time for which a token is cached, even if the server reports a longer lifetime.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The credentials of an app, and the API that exchanges them for a token.
pub(crate) struct App {
    pub(crate) api: Api,
    pub(crate) corp_id: String,
    pub(crate) secret: Zeroizing<String>,
}

impl Issuer for App {
    fn issue(&self, _refused: Option<AccessToken>) -> BoxFuture<'_, Result<Issued>> {
        async {
            let request = ApiRequest {
                path: "/cgi-bin/gettoken",
                parameters: &[("corpid", &self.corp_id), ("corpsecret", &self.secret)],
                body: None,
                secret: &self.secret,
            };
            let requested_at = Instant::now();
            let grant = self.api.call(&request, wire::decode_token, |_| {}).await;
            let grant = grant.map_err(Error::into_token_error)?;
            let lifetime = Duration::from_secs(grant.expires_in).min(MAX_LIFETIME);
            let stale_at = requested_at + lifetime.saturating_sub(MARGIN.min(lifetime / 10));
            Ok(Issued { token: AccessToken::new(grant.token), stale_at })
        }
        .boxed()
    }
}
