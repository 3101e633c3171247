//! The arguments of the commands, and [`Action`]: what each command does.

use std::path::PathBuf;

use clap::value_parser;
use wecom_enroll::EnrollStatus;

use crate::connect::{Connection, notes};

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Action {
    Approve,
    Reject,
    Unapprove,
}

impl Action {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Unapprove => "unapprove",
        }
    }

    /// Returns the status that the command sets.
    pub(super) fn status(self) -> EnrollStatus {
        match self {
            Self::Approve => EnrollStatus::Approved,
            Self::Reject => EnrollStatus::Rejected,
            Self::Unapprove => EnrollStatus::Pending,
        }
    }

    /// Returns whether enrollments with this status are selected without `--any`.
    pub(super) fn applies_to(self, status: EnrollStatus) -> bool {
        self == Self::Unapprove || status == EnrollStatus::Pending
    }
}

/// The arguments of `approve` and `reject`.
#[derive(clap::Args)]
#[command(after_help = notes(NOTES))]
pub(crate) struct Decision {
    /// Select only pending enrollments, so that other people's decisions are kept. This is the default
    #[arg(long, conflicts_with = "any")]
    only_pending: bool,
    /// Select enrollments that are already decided, too
    #[arg(long)]
    any: bool,
    // Last, because the heading of its connection options applies to everything after them.
    #[command(flatten)]
    args: Args,
}

impl Decision {
    pub(crate) fn into_args(self) -> (Args, bool) {
        (self.args, self.any)
    }
}

/// The arguments of `unapprove`.
#[derive(clap::Args)]
#[command(after_help = notes(NOTES))]
pub(crate) struct Args {
    /// The id of a webinar or meeting
    #[arg(value_name = "MEETINGID", required_unless_present = "demo")]
    pub(super) meeting: Option<String>,
    /// The ids of enrollments
    #[arg(value_name = "ENROLL_ID")]
    pub(super) ids: Vec<String>,
    #[arg(
        long,
        value_name = "FILE",
        help = "Read more ids from FILE, one per line: an id, or a JSON object with enroll_id, as export writes it; \
                - is standard input"
    )]
    pub(super) from: Option<PathBuf>,
    /// Send the changes; without this option, only print the plan
    #[arg(long)]
    pub(super) yes: bool,
    /// Enrollments per call, 1 to 500
    #[arg(long, value_name = "N", default_value = "50", value_parser = value_parser!(u16).range(1..=500))]
    pub(super) batch: u16,
    /// Record in FILE what was sent. If you run the same command again with the same FILE, a batch that is recorded as
    /// done is never sent again
    #[arg(long, value_name = "FILE")]
    pub(super) journal: Option<PathBuf>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

const NOTES: &str = "\
    The command lists the meeting and prints a plan. With -v, the plan contains names. Nothing is sent without \
    --yes. An id that is not in the list is an error before anything is sent.\n\n\
    Enrollments are sent in batches, one after the other. A batch that WeCom refuses as too big is halved, and an id \
    that it does not know any more is named, while all others are sent. If a batch fails in all its attempts, \
    nothing more is sent.\n\n\
    By default, approve and reject read the enrollments of a batch again before they send it, and skip those \
    that are no longer pending, because somebody else may have decided meanwhile.\n\n\
    At the end, the meeting is listed again, and every selected enrollment that does not have the requested status \
    is named on standard error, except those that were skipped. If there is one, the exit code is 1.\n\n\
    WeCom may notify enrollees of a decision.";
