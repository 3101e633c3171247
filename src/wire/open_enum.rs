//! The enums of the API. They keep numbers that the API does not document.

use std::{fmt, str::FromStr};

use crate::error::Error;

/// Declares an enum that mirrors documented numbers of the API, keeps unknown ones, and has a name for each
/// documented value.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident, $what:literal {
        $($(#[$variant_doc:meta])* $variant:ident = $number:literal, $text:literal;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// A number that the API does not document; 0 if the field is absent.
            Unknown(u32),
        }

        impl From<u32> for $name {
            fn from(number: u32) -> Self {
                match number {
                    $($number => Self::$variant,)*
                    _ => Self::Unknown(number),
                }
            }
        }

        impl From<$name> for u32 {
            fn from(value: $name) -> Self {
                match value {
                    $($name::$variant => $number,)*
                    $name::Unknown(number) => number,
                }
            }
        }

        /// Prints the name of a documented value, else the number.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => f.pad($text),)*
                    Self::Unknown(number) => fmt::Display::fmt(number, f),
                }
            }
        }

        /// Parses what `Display` prints: a name or a number.
        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => text.parse().map(u32::into).map_err(|_| {
                        Error::invalid_argument(concat!(
                            "invalid ", $what, ": expected a number or one of" $(, " ", $text)*
                        ))
                    }),
                }
            }
        }
    };
}

open_enum! {
    /// The approval status of an enrollment (WeCom doc 98876).
    ///
    /// ```
    /// use wecom_enroll::EnrollStatus;
    ///
    /// assert_eq!(EnrollStatus::from(3), EnrollStatus::Approved);
    /// assert_eq!(EnrollStatus::Approved.to_string(), "approved");
    /// assert_eq!("approved".parse::<EnrollStatus>()?, EnrollStatus::Approved);
    /// assert_eq!(u32::from(EnrollStatus::Unknown(9)), 9);
    /// # Ok::<(), wecom_enroll::Error>(())
    /// ```
    EnrollStatus, "status" {
        /// The enrollment is waiting for approval.
        Pending = 1, "pending";
        /// The enrollment was rejected.
        Rejected = 2, "rejected";
        /// The enrollment was approved.
        Approved = 3, "approved";
    }
}

open_enum! {
    /// How enrollments are approved (WeCom doc 98800).
    ApprovalType, "approval type" {
        /// Enrollments are approved automatically.
        Automatic = 1, "automatic";
        /// An organizer approves enrollments.
        Manual = 2, "manual";
    }
}

open_enum! {
    /// How an enrollment was made (WeCom doc 98876).
    EnrollSource, "source" {
        /// The person enrolled.
        Manual = 1, "manual";
        /// An organizer imported a list.
        Import = 2, "import";
    }
}

open_enum! {
    /// How a question is answered (WeCom doc 98876).
    QuestionType, "question type" {
        /// Exactly one choice.
        SingleChoice = 1, "single-choice";
        /// Any number of choices.
        MultipleChoice = 2, "multiple-choice";
        /// A short text.
        ShortAnswer = 3, "short-answer";
    }
}

open_enum! {
    /// What a special question asks for (WeCom doc 98876). Special questions are short answers.
    SpecialType, "special type" {
        /// Not a special question.
        NotSpecial = 1, "not-special";
        /// A phone number.
        Phone = 2, "phone";
        /// An email address.
        Email = 3, "email";
        /// A name.
        Name = 4, "name";
        /// The name of a company.
        Company = 5, "company";
    }
}
