//! A query taken apart: which parameters it gives, each decoded and each known to the route.
//!
//! Separate because all routes read their queries this way, so that none of them skips a parameter that it does not
//! know, or takes the first of two.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use percent_encoding::percent_decode_str;

use super::super::error::{ApiError, Fault};
use super::parameter::{Offer, Parameter, cut};
use crate::market::{Direction, ExchangeName};

/// The parameters of a query and their values, in its order.
#[derive(Debug)]
pub(super) struct Values<'a> {
    given: Vec<(Parameter, Cow<'a, str>)>,
    offer: &'a Offer,
}

impl<'a> Values<'a> {
    /// Takes a query apart on a route that knows the `accepted` parameters.
    ///
    /// # Errors
    /// [`ApiError::Refused`] for another parameter, and for a value that is no text.
    pub(super) fn read(query: &'a str, accepted: &[Parameter], offer: &'a Offer) -> Result<Self, ApiError> {
        let mut given = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let parameter = known_parameter(name, accepted)?;
            let value = decoded(value).ok_or_else(|| {
                parameter.invalid(format!("the value of `{}` is not UTF-8", parameter.as_str()), offer)
            })?;
            given.push((parameter, value));
        }
        Ok(Self { given, offer })
    }

    /// Every value of any of these parameters, with the name under which it came.
    pub(super) fn all(&self, wanted: &[Parameter]) -> impl Iterator<Item = (Parameter, &str)> {
        let given = self.given.iter().filter(|(parameter, _)| wanted.contains(parameter));
        given.map(|(parameter, value)| (*parameter, value.as_ref()))
    }

    /// Whether the query names the parameter.
    pub(super) fn has(&self, parameter: Parameter) -> bool {
        self.all(&[parameter]).next().is_some()
    }

    /// The value of a parameter that may be there once, as `read` understands it.
    ///
    /// # Errors
    /// [`ApiError::Refused`] with what `read` says, and where the parameter is there twice.
    pub(super) fn once<T>(
        &self,
        parameter: Parameter,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.only(parameter)? else { return Ok(None) };
        read(value).map(Some).map_err(|detail| self.invalid(parameter, detail))
    }

    /// The enabled exchange that `exchanger` names.
    pub(super) fn exchanger(&self) -> Result<Option<ExchangeName>, ApiError> {
        let parameter = Parameter::Exchanger;
        let Some(value) = self.only(parameter)? else { return Ok(None) };
        if value.is_empty() {
            return Err(self.invalid(parameter, "`exchanger` is empty"));
        }
        let found = self.offer.exchanges.iter().find(|name| name.as_str().eq_ignore_ascii_case(value));
        found.copied().map(Some).ok_or_else(|| {
            let detail = format!("exchange `{}` is not enabled", cut(value));
            parameter.refused(Fault::UnknownExchanger, detail, self.offer)
        })
    }

    /// A refusal of this parameter's value.
    pub(super) fn invalid(&self, parameter: Parameter, detail: impl std::fmt::Display) -> ApiError {
        parameter.invalid(detail, self.offer)
    }

    fn only(&self, parameter: Parameter) -> Result<Option<&str>, ApiError> {
        let wanted = [parameter];
        let mut values = self.all(&wanted).map(|(_, value)| value);
        let first = values.next();
        if values.next().is_some() {
            return Err(self.invalid(parameter, format!("`{}` is given more than once", parameter.as_str())));
        }
        Ok(first)
    }
}

/// A text as a direction that exchanges may quote.
///
/// # Errors
/// For people: what is wrong with it.
pub(super) fn stored_direction(text: &str) -> Result<Direction, String> {
    let asked: Direction = text.parse().map_err(|error| format!("{error}"))?;
    let stored = asked.priced_as();
    if stored.base == stored.counter {
        return Err(format!("`{asked}` prices a currency in itself"));
    }
    Ok(asked)
}

/// A text in digits alone as a number of this range.
///
/// # Errors
/// For people: what is wrong with it.
pub(super) fn whole_number<T>(text: &str, range: RangeInclusive<T>) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    // `parse` alone would accept a sign.
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if is_digits { text.parse().ok() } else { None };
    number.filter(|number| range.contains(number)).ok_or_else(|| {
        format!("`{}` is no whole number from {} to {}", cut(text), range.start(), range.end())
    })
}

fn known_parameter(name: &str, accepted: &[Parameter]) -> Result<Parameter, ApiError> {
    let plain = decoded(name);
    let known = accepted.iter().find(|parameter| plain.as_deref() == Some(parameter.as_str()));
    known.copied().ok_or_else(|| {
        let shown = cut(plain.as_deref().unwrap_or(name));
        ApiError::Refused {
            fault: Fault::InvalidParameter,
            detail: format!("unknown parameter `{shown}`"),
            parameter: shown,
            allowed: accepted.iter().map(|parameter| parameter.as_str().to_owned()).collect(),
        }
    })
}

/// A text without its percent-encoding; `None` if its bytes are not UTF-8. A `%` without two hexadecimal digits stays
/// as it is, and so does a `+`, which stands in offsets from UTC: where no value may hold them, they are refused.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(text).decode_utf8().ok()
}
