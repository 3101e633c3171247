//! The proxies of the environment. A variable that would silently be ignored is refused.

use std::{
    env,
    ffi::{OsStr, OsString},
};

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use crate::error::{Error, Result};

/// The variables for https, in the order in which they are read.
const VARIABLES: [[&str; 2]; 2] = [["HTTPS_PROXY", "https_proxy"], ["ALL_PROXY", "all_proxy"]];

/// Returns the proxies of the environment, as reqwest uses them.
///
/// # Errors
///
/// Returns `InvalidArgument` if the proxy for https is invalid, because then reqwest would send the access
/// token without a proxy. `NO_PROXY` may exempt `destination`.
pub(super) fn from_environment(destination: Option<&Url>) -> Result<Matcher> {
    match VARIABLES.into_iter().find_map(first_set) {
        Some((name, value)) if !is_valid(&value) && !destination.is_some_and(is_exempt) => {
            // The value is not repeated, because it may contain a password.
            Err(Error::invalid_argument(format!(
                "invalid proxy in the environment variable {name}: expected [user:password@]host[:port], optionally \
                 after http://, https://, socks4://, socks4a://, socks5:// or socks5h://"
            )))
        }
        _ => Ok(Matcher::from_env()),
    }
}

/// Returns the first of these variables that is set, unless it is blank, which means no proxy.
fn first_set(names: [&'static str; 2]) -> Option<(&'static str, OsString)> {
    let mut values = names.into_iter().filter_map(|name| Some((name, env::var_os(name)?)));
    values.next().filter(|(_, value)| !value.to_string_lossy().trim().is_empty())
}

fn is_valid(value: &OsStr) -> bool {
    let Some(value) = value.to_str() else { return false };
    let matcher = Matcher::builder().https(value.to_owned()).build();
    let proxy = matcher.intercept(&Uri::from_static("https://host"));
    // The matcher accepts a port that is not a number, and then another port is used.
    proxy.is_some_and(|proxy| Url::parse(&proxy.uri().to_string()).is_ok())
}

/// Returns whether `NO_PROXY` excludes the host of this URL from every proxy.
fn is_exempt(url: &Url) -> bool {
    let no_proxy = ["NO_PROXY", "no_proxy"].into_iter().find_map(|name| env::var(name).ok());
    let matcher = Matcher::builder().all("http://proxy").no(no_proxy.unwrap_or_default()).build();
    Uri::try_from(url.as_str()).is_ok_and(|uri| matcher.intercept(&uri).is_none())
}
