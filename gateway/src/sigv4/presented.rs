//! What a request presents as its signature, in the header `authorization` or in its query.

use std::borrow::Cow;

use http::{HeaderMap, header};

use super::{
    ALGORITHM, Message, Sha256, X_AMZ_DATE, X_AMZ_SECURITY_TOKEN,
    canonical::{self, Query},
    fault::Fault,
    moment::Moment,
    unhex,
};

/// How far a client's clock may be from ours, seconds; API Gateway allows as much.
const SKEW_SECONDS: i64 = 5 * 60;

/// The longest time for which a query can be signed, seconds: a week.
const MOST_EXPIRES_SECONDS: i64 = 604_800;

/// What a signature in the query has. The first three make it one.
pub(crate) const IN_QUERY: [&str; 6] =
    ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date", "X-Amz-Expires"];

/// The token of a session, in the query.
pub(crate) const TOKEN_IN_QUERY: &str = "X-Amz-Security-Token";

/// A signature and what it says of itself.
#[derive(Debug)]
pub(crate) struct Presented<'a> {
    /// `AKID/20150830/eu-central-1/execute-api/aws4_request`.
    pub(crate) credential: Cow<'a, str>,
    /// The names of the signed headers, with semicolons.
    pub(crate) signed_headers: Cow<'a, str>,
    /// The signature; none when it is no SHA-256, and so cannot be right.
    pub(crate) signature: Option<Sha256>,
    /// When it was made.
    pub(crate) moment: Moment,
    /// The session token.
    pub(crate) token: Option<Cow<'a, str>>,
    /// For how long it is good, when it says so: in a query.
    expires_seconds: Option<i64>,
}

impl<'a> Presented<'a> {
    /// What a request presents.
    ///
    /// # Errors
    /// When it presents nothing, too little, too much, or what cannot be read.
    pub(crate) fn find(message: &Message<'a>, query: &Query) -> Result<Self, Fault> {
        let in_query = IN_QUERY[..3].iter().any(|name| query.only(name) != Ok(None));
        let mut headers = message.headers.get_all(header::AUTHORIZATION).iter();
        match (headers.next(), headers.next(), in_query) {
            (None, _, false) => Err(Fault::MISSING),
            (None, _, true) => Self::in_query(query),
            (Some(value), None, false) => {
                let value = value.to_str().map_err(|_| Fault::incomplete("Authorization header is no text."))?;
                Self::in_header(value, message.headers)
            }
            (Some(_), Some(_), false) => Err(Fault::incomplete("Found more than one Authorization header.")),
            (Some(_), _, true) => {
                let message =
                    "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.";
                Err(Fault::invalid(message, None))
            }
        }
    }

    fn in_header(value: &'a str, headers: &'a HeaderMap) -> Result<Self, Fault> {
        let (scheme, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
        if scheme != ALGORITHM && scheme.starts_with("AWS4-") {
            return Err(unsupported_algorithm());
        }
        let parameters = if scheme == ALGORITHM { Parameters::parse(rest)? } else { Parameters::default() };
        // There may be a date that cannot be read.
        let moment = match one(headers, X_AMZ_DATE)? {
            Some(date) => Some(Moment::parse_basic(date)),
            None => one(headers, "date")?.map(|date| Moment::parse_basic(date).or_else(|| Moment::parse_http(date))),
        };
        let Parameters {
            credential: Some(credential),
            signed_headers: Some(signed_headers),
            signature: Some(signature),
        } = parameters
        else {
            return Err(parameters.lacking(moment.is_some()));
        };
        let Some(moment) = moment else { return Err(parameters.lacking(false)) };
        Ok(Self {
            credential: credential.into(),
            signed_headers: signed_headers.into(),
            signature: lower_hex(signature),
            moment: moment.ok_or_else(no_date)?,
            token: one(headers, X_AMZ_SECURITY_TOKEN)?.map(Cow::Borrowed),
            expires_seconds: None,
        })
    }

    fn in_query(query: &Query) -> Result<Self, Fault> {
        let get = |name: &'static str| match query.only(name) {
            Ok(Some(value)) => {
                let unreadable = || Fault::incomplete(format!("'{name}' in the query string is no text."));
                canonical::unescape(value).ok_or_else(unreadable).map(Some)
            }
            Ok(None) => Ok(None),
            Err(_) => Err(Fault::incomplete(format!("Found more than one '{name}' in the query string."))),
        };
        let [algorithm, credential, signature, signed_headers, date, expires] = IN_QUERY.map(get);
        let values = (algorithm?, credential?, signature?, signed_headers?, date?, expires?);
        let (Some(algorithm), Some(credential), Some(signature), Some(signed_headers), Some(date), Some(expires)) =
            values
        else {
            let mut message = String::new();
            for name in IN_QUERY.into_iter().filter(|name| query.only(name) == Ok(None)) {
                message += &format!("AWS query-string parameters must include '{name}'. ");
            }
            return Err(Fault::incomplete(message + "Re-examine the query-string parameters."));
        };
        if algorithm != ALGORITHM {
            return Err(unsupported_algorithm());
        }
        Ok(Self {
            credential: credential.into(),
            signed_headers: signed_headers.into(),
            signature: lower_hex(&signature),
            moment: Moment::parse_basic(&date).ok_or_else(no_date)?,
            token: get(TOKEN_IN_QUERY)?.map(Cow::Owned),
            expires_seconds: Some(expires_seconds(&expires)?),
        })
    }

    /// Looks whether the signature is good at this moment.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn check_time(&self, now: Moment) -> Result<(), Fault> {
        let made = self.moment;
        let (earliest, latest) = (now.plus(-SKEW_SECONDS), now.plus(SKEW_SECONDS));
        if made > latest {
            let message = format!("Signature not yet current: {made} is still later than {latest} ({now} + 5 min.)");
            return Err(Fault::expired(message));
        }
        match self.expires_seconds.map(|seconds| made.plus(seconds)) {
            Some(end) if end < now => {
                Err(Fault::expired(format!("Signature expired: {end} is now earlier than {now}")))
            }
            None if made < earliest => {
                let message = format!("Signature expired: {made} is now earlier than {earliest} ({now} - 5 min.)");
                Err(Fault::expired(message))
            }
            _ => Ok(()),
        }
    }

    /// Whether the signature stands in the query.
    pub(crate) fn is_in_query(&self) -> bool {
        self.expires_seconds.is_some()
    }
}

/// The parameters of the header `authorization`.
#[derive(Debug, Default)]
struct Parameters<'a> {
    credential: Option<&'a str>,
    signed_headers: Option<&'a str>,
    signature: Option<&'a str>,
}

impl<'a> Parameters<'a> {
    fn parse(text: &'a str) -> Result<Self, Fault> {
        let mut parameters = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| {
                Fault::incomplete("Invalid key=value pair (missing equal-sign) in Authorization header.")
            })?;
            let place = match name.trim() {
                "Credential" => &mut parameters.credential,
                "SignedHeaders" => &mut parameters.signed_headers,
                "Signature" => &mut parameters.signature,
                _ => {
                    return Err(Fault::incomplete(
                        "Authorization header has a parameter of another name than 'Credential', 'SignedHeaders' and 'Signature'.",
                    ));
                }
            };
            if place.replace(value.trim()).is_some() {
                return Err(Fault::incomplete("Authorization header has a parameter more than once."));
            }
        }
        Ok(parameters)
    }

    /// What is not there, in AWS's words.
    fn lacking(&self, has_date: bool) -> Fault {
        let parameters =
            [("Credential", self.credential), ("Signature", self.signature), ("SignedHeaders", self.signed_headers)];
        let mut lacking: Vec<_> = parameters
            .into_iter()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| format!("Authorization header requires '{name}' parameter."))
            .collect();
        if !has_date {
            let date = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.";
            lacking.push(date.to_owned());
        }
        Fault::incomplete(lacking.join(" "))
    }
}

/// The one value of a header.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Fault> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(value) => Ok(Some(value.trim())),
            Err(_) => Err(Fault::incomplete(format!("Header '{name}' is no text."))),
        },
        (Some(_), Some(_)) => Err(Fault::incomplete(format!("Found more than one header '{name}'."))),
    }
}

fn expires_seconds(text: &str) -> Result<i64, Fault> {
    let is_number = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    match text.parse() {
        _ if !is_number => Err(Fault::incomplete("X-Amz-Expires should be a number.")),
        Ok(seconds) if seconds <= MOST_EXPIRES_SECONDS => Ok(seconds),
        _ => Err(Fault::incomplete(format!(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be at most \
             {MOST_EXPIRES_SECONDS} seconds."
        ))),
    }
}

/// Signatures are written in lower case.
fn lower_hex(text: &str) -> Option<Sha256> {
    unhex(text).filter(|_| !text.bytes().any(|digit| digit.is_ascii_uppercase()))
}

fn unsupported_algorithm() -> Fault {
    Fault::incomplete(format!("Unsupported AWS 'algorithm' (only {ALGORITHM} for now)."))
}

fn no_date() -> Fault {
    Fault::incomplete("Date must be in ISO-8601 'basic format'. See http://en.wikipedia.org/wiki/ISO_8601")
}
