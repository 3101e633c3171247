//! Numbers and flags as they may stand on the wire: plain, in a string, or null.
//!
//! WeCom's sibling pages contradict each other about which is a string and which a number, so
//! either is read. What would not fit is an error, never another number.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

/// An integer as a number or a string; null and "" are 0.
#[derive(Clone, Copy, Default)]
pub(super) struct Integer(pub(super) i64);

/// A small unsigned number, as the API documents all its enums; otherwise like [`Integer`].
pub(super) struct Small(pub(super) u32);

/// A yes or no as a bool, 0 or 1, or either of them in a string; null is no.
pub(super) struct Flag(pub(super) bool);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(IntegerVisitor).map(Self)
    }
}

impl<'de> Deserialize<'de> for Small {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let number = json.deserialize_any(IntegerVisitor)?;
        u32::try_from(number).map(Self).map_err(|_| D::Error::custom("not a small number"))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(FlagVisitor).map(Self)
    }
}

struct IntegerVisitor;

impl Visitor<'_> for IntegerVisitor {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<i64, E> {
        Ok(n)
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<i64, E> {
        i64::try_from(n).map_err(|_| E::custom("number out of range"))
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<i64, E> {
        // 3.0 is 3; the bound is where f64 stops being exact.
        #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53 here")]
        if n.fract() == 0.0 && n.abs() < 9e15 { Ok(n as i64) } else { Err(E::custom("not whole")) }
    }

    fn visit_str<E: Error>(self, s: &str) -> Result<i64, E> {
        match s.trim() {
            "" => Ok(0),
            digits => digits.parse().map_err(|_| E::custom("not a number")),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<i64, E> {
        Ok(0)
    }
}

struct FlagVisitor;

impl Visitor<'_> for FlagVisitor {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_bool<E: Error>(self, yes: bool) -> Result<bool, E> {
        Ok(yes)
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<bool, E> {
        match n {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(E::custom("neither 0 nor 1")),
        }
    }

    fn visit_str<E: Error>(self, s: &str) -> Result<bool, E> {
        match s {
            "1" | "true" => Ok(true),
            "0" | "false" | "" => Ok(false),
            _ => Err(E::custom("neither true nor false")),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }
}
