//! The endpoints that the simulator serves.

use super::enrollee::List;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Endpoint {
    GetToken,
    List(List),
    Approve(List),
    GetConfig(List),
}

/// The endpoints whose requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    List,
    GetToken,
    Approve,
    GetConfig,
}

impl Endpoint {
    pub(super) fn from_path(path: &str) -> Option<Self> {
        Some(match path {
            "/cgi-bin/gettoken" => Self::GetToken,
            "/cgi-bin/meeting/webinar/enroll/list" => Self::List(List::Webinar),
            "/cgi-bin/meeting/enroll/list" => Self::List(List::Meeting),
            "/cgi-bin/meeting/webinar/enroll/approve" => Self::Approve(List::Webinar),
            "/cgi-bin/meeting/enroll/approve" => Self::Approve(List::Meeting),
            "/cgi-bin/meeting/webinar/enroll/get_config" => Self::GetConfig(List::Webinar),
            "/cgi-bin/meeting/enroll/get_config" => Self::GetConfig(List::Meeting),
            _ => return None,
        })
    }

    pub(super) fn api(self) -> Api {
        match self {
            Self::GetToken => Api::GetToken,
            Self::List(_) => Api::List,
            Self::Approve(_) => Api::Approve,
            Self::GetConfig(_) => Api::GetConfig,
        }
    }
}

impl Api {
    pub(super) const ALL: [Self; 4] = [Self::List, Self::GetToken, Self::Approve, Self::GetConfig];

    /// Returns the start of a fault specification that applies to this API.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::List => "",
            Self::GetToken => "gettoken:",
            Self::Approve => "approve:",
            Self::GetConfig => "get_config:",
        }
    }
}
