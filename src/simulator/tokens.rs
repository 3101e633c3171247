//! The access tokens that the simulator has issued.

use std::{iter::repeat_with, time::Duration};

use tokio::time::Instant;

use super::errcode;

/// Issues, checks and revokes access tokens. A token is the prefix and a serial number that starts at 1.
pub(super) struct Tokens {
    ttl: Duration,
    /// A random prefix, so that the tokens of another simulator are invalid.
    prefix: String,
    /// The serial number of the last token. Only this token can be valid.
    issued: u64,
    /// The serial number of the last token that was revoked.
    revoked: u64,
    /// When the last token expires. `None` means never.
    expires: Option<Instant>,
}

impl Tokens {
    pub(super) fn new(ttl: Duration) -> Self {
        let prefix = repeat_with(fastrand::alphanumeric).take(64).collect();
        Self { ttl, prefix, issued: 0, revoked: 0, expires: None }
    }

    fn token(&self, serial: u64) -> String {
        format!("{}_{serial}", self.prefix)
    }

    fn last_has_expired(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= Instant::now())
    }

    /// Returns the valid token and its remaining lifetime in seconds. As in WeCom, a new token is issued only if the
    /// last one is no longer valid.
    pub(super) fn current(&mut self) -> (String, u64) {
        let now = Instant::now();
        if self.issued == self.revoked || self.last_has_expired() {
            self.issued += 1;
            self.expires = now.checked_add(self.ttl);
        }
        let left = self.expires.map_or(self.ttl, |at| at.saturating_duration_since(now));
        (self.token(self.issued), left.as_secs().max(u64::from(!left.is_zero())))
    }

    /// Revokes every token issued so far.
    pub(super) fn revoke(&mut self) {
        self.revoked = self.issued;
    }

    /// Returns the errcode for a token that is not valid.
    pub(super) fn check(&self, token: &str) -> Result<(), i32> {
        if token.is_empty() {
            return Err(errcode::MISSING_TOKEN);
        }
        let serial =
            token.rsplit_once('_').and_then(|(_, serial)| serial.parse().ok()).unwrap_or(0);
        if !(self.revoked + 1..=self.issued).contains(&serial) || token != self.token(serial) {
            return Err(errcode::INVALID_TOKEN);
        }
        if serial < self.issued || self.last_has_expired() {
            return Err(errcode::EXPIRED_TOKEN);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn token_expires_or_is_revoked() {
        let mut tokens = Tokens::new(Duration::from_secs(10));
        let (first, _) = tokens.current();
        advance(Duration::from_millis(9_999)).await;
        assert_eq!((tokens.check(&first), tokens.current().0), (Ok(()), first.clone()));
        advance(Duration::from_millis(1)).await;
        assert_eq!(tokens.check(&first), Err(42001));
        let (second, _) = tokens.current();
        assert_eq!((tokens.check(&first), tokens.check(&second)), (Err(42001), Ok(())));
        tokens.revoke();
        assert_eq!((tokens.check(&first), tokens.check(&second)), (Err(40014), Err(40014)));
        let (third, _) = tokens.current();
        assert_eq!((tokens.check(&second), tokens.check(&third)), (Err(40014), Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn expires_in_is_the_remaining_lifetime() {
        let mut tokens = Tokens::new(Duration::from_secs(7200));
        assert_eq!(tokens.current().1, 7200);
        for (advanced, left) in [(7_199_000, 1), (999, 1), (1, 7200)] {
            advance(Duration::from_millis(advanced)).await;
            assert_eq!(tokens.current().1, left);
        }
        for (ttl, left) in
            [(Duration::from_millis(10), 1), (Duration::ZERO, 0), (Duration::MAX, u64::MAX)]
        {
            assert_eq!(Tokens::new(ttl).current().1, left);
        }
    }
}
