//! The time of an enrollment as a calendar date and time.

use jiff::{Timestamp, civil::DateTime, tz};
use wecom_enroll::Enroll;

/// Returns the time of enrollment in UTC+8, which is how WeCom sends it.
pub(crate) fn enroll_time(row: &Enroll) -> Option<DateTime> {
    let time = Timestamp::try_from(row.enrolled_at()?).ok()?;
    Some(tz::offset(8).to_datetime(time))
}
