//! TLS: the settings of a connection, and which of its failures are permanent.

use std::{error::Error as StdError, io, iter, sync::Arc};

use rustls::{
    AlertDescription, ClientConfig, Error as TlsError,
    crypto::{CryptoProvider, ring},
};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::error::{ConnectionFailure, Error, Result};

/// Creates a configuration with the system's root certificates, or (not on macOS and Windows) those in
/// `SSL_CERT_FILE` and `SSL_CERT_DIR`.
///
/// Uses the application's default crypto provider, or ring if none is installed. Does not install one.
pub(crate) fn client_config() -> Result<ClientConfig> {
    let default = CryptoProvider::get_default().cloned();
    let provider = default.unwrap_or_else(|| Arc::new(ring::default_provider()));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(|e| Error::invalid_argument(format!("cannot set up TLS: {e}")))?;
    Ok(config.with_no_client_auth())
}

/// Returns `error` and its causes. Unlike `source()`, includes an error that is wrapped in an `io::Error`.
pub(crate) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    iter::successors(Some(error), |&cause| {
        match cause.downcast_ref().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        }
    })
}

/// Returns how TLS failed, and whether that is transient, if TLS is the cause of `error`.
pub(crate) fn tls_failure(error: &(dyn StdError + 'static)) -> Option<(ConnectionFailure, bool)> {
    use AlertDescription as Alert;
    let error = causes(error).find_map(|cause| cause.downcast_ref())?;
    Some(match error {
        TlsError::InvalidCertificate(_)
        | TlsError::InvalidCertRevocationList(_)
        | TlsError::NoCertificatesPresented
        | TlsError::UnsupportedNameType => (ConnectionFailure::Certificate, false),
        // The two sides have no version or cipher in common, or the server wants something that it does not get.
        TlsError::PeerIncompatible(_)
        | TlsError::NoApplicationProtocol
        | TlsError::AlertReceived(
            Alert::HandshakeFailure
            | Alert::ProtocolVersion
            | Alert::InsufficientSecurity
            | Alert::UnrecognisedName
            | Alert::NoApplicationProtocol
            | Alert::CertificateRequired
            | Alert::AccessDenied,
        ) => (ConnectionFailure::Tls, false),
        _ => (ConnectionFailure::Tls, true),
    })
}
