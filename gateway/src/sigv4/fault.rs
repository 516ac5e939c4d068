//! Why a signature does not hold, in AWS's words.

use std::borrow::Cow;

/// A request whose signature does not hold. All are answered with 403.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What kind it is.
    pub(crate) kind: FaultKind,
    /// What the client is told: printable ASCII without `"` and `\`.
    pub(crate) message: Cow<'static, str>,
    /// What the operator is told besides. It has no secrets.
    pub(crate) detail: Option<String>,
}

/// The kinds of faults; each has a type of AWS's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FaultKind {
    /// The request is not signed.
    Missing,
    /// Parts of the signature are missing, twice, or cannot be read.
    Incomplete,
    /// The signature is not that of this request.
    Invalid,
    /// It was made too long ago, or is to be made in some minutes.
    Expired,
    /// Nobody has this access key, or not with this session token.
    Unrecognized,
    /// The session token was good for a time that is over.
    ExpiredToken,
}

impl FaultKind {
    /// The value of `x-amzn-ErrorType`.
    pub(crate) fn error_type(self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::Incomplete => "IncompleteSignatureException",
            Self::Invalid | Self::Expired => "InvalidSignatureException",
            Self::Unrecognized => "UnrecognizedClientException",
            Self::ExpiredToken => "ExpiredTokenException",
        }
    }
}

impl Fault {
    /// The request is not signed.
    pub(crate) const MISSING: Self =
        Self { kind: FaultKind::Missing, message: Cow::Borrowed("Missing Authentication Token"), detail: None };

    /// Another signature was expected.
    pub(crate) fn mismatch(detail: impl Into<String>) -> Self {
        let message = "The request signature we calculated does not match the signature you provided. Check your AWS \
                       Secret Access Key and signing method. Consult the service documentation for details.";
        Self { kind: FaultKind::Invalid, message: message.into(), detail: Some(detail.into()) }
    }

    /// The signature is there and cannot be meant for us, for a reason that the client is told.
    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>, detail: Option<String>) -> Self {
        Self { kind: FaultKind::Invalid, message: message.into(), detail }
    }

    /// Something is missing from the signature, or cannot be read.
    pub(crate) fn incomplete(message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: FaultKind::Incomplete, message: message.into(), detail: None }
    }

    /// The signature is good for another time.
    pub(crate) fn expired(message: String) -> Self {
        Self { kind: FaultKind::Expired, message: message.into(), detail: None }
    }

    /// Nobody has this access key, or not with this session token.
    pub(crate) fn unrecognized(detail: impl Into<String>) -> Self {
        let message = "The security token included in the request is invalid.";
        Self { kind: FaultKind::Unrecognized, message: message.into(), detail: Some(detail.into()) }
    }

    /// The session token was good for a time that is over.
    pub(crate) fn expired_token(detail: String) -> Self {
        let message = "The security token included in the request is expired";
        Self { kind: FaultKind::ExpiredToken, message: message.into(), detail: Some(detail) }
    }
}
