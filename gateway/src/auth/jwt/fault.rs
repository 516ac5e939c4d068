//! Why a token is not taken, and what its bearer is told: RFC 6750, section 3, in API Gateway's words where they are
//! known (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-troubleshooting-jwt.html>), and in like
//! ones where they are not.

use weir_record::Outcome;

use crate::refusal::Refusal;

/// What is wrong with a token, or with the way it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenFault {
    /// There is none.
    #[error("there is no token")]
    Missing,
    /// There are several, and it would be chance which one counts.
    #[error("the request has several tokens")]
    Several,
    /// It is larger than is looked at.
    #[error("the token is too large")]
    TooLarge,
    /// It is not three segments.
    #[error("token contains an invalid number of segments")]
    Segments,
    /// A segment is not what it should be.
    #[error("the token is malformed")]
    Malformed,
    /// Its header brings a key, or asks for what is not understood.
    #[error("the token's header has a member that is not accepted")]
    Header,
    /// Its algorithm is none that is taken.
    #[error("the token's signing method is not supported")]
    Algorithm,
    /// The issuer has no such key for such an algorithm.
    #[error("the token's key is unknown")]
    UnknownKey,
    /// Its signature does not hold.
    #[error("the token's signature is invalid")]
    Signature,
    /// It is another issuer's.
    #[error("the token does not have a valid issuer")]
    Issuer,
    /// It is meant for others.
    #[error("the token does not have a valid audience")]
    Audience,
    /// It says nowhere when it expires.
    #[error("the token does not have an expiration time")]
    NoExpiry,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYet,
    /// It comes from the future.
    #[error("the token was issued in the future")]
    IssuedLater,
    /// An access token where an ID token is wanted, or the other way round.
    #[error("the token is not of the use that the method asks for")]
    Use,
    /// None of the scopes that are wanted.
    #[error("the token does not have a scope that the route asks for")]
    Scope,
}

impl TokenFault {
    fn outcome(self) -> Outcome {
        match self {
            Self::Missing => Outcome::MissingIdentity,
            Self::Expired => Outcome::ExpiredToken,
            Self::Scope => Outcome::AccessDenied,
            _ => Outcome::Unauthorized,
        }
    }

    /// What a JWT authorizer answers; `scopes` are those that the route asks for.
    pub(super) fn challenge(self, scopes: &[String]) -> Refusal {
        let challenge = match self {
            // RFC 6750, section 3.1: a request without a token is told no error.
            Self::Missing => "Bearer".to_owned(),
            Self::Scope => {
                let scopes = scopes.join(" ");
                format!("Bearer scope=\"{scopes}\" error=\"insufficient_scope\" error_description=\"{self}\"")
            }
            _ => format!("Bearer scope=\"\" error=\"invalid_token\" error_description=\"{self}\""),
        };
        Refusal { challenge: Some(challenge), ..Refusal::with_detail(self.outcome(), self.to_string()) }
    }

    /// What a Cognito authorizer answers: 401, also where a scope is missing, and no challenge.
    pub(crate) fn without_challenge(self) -> Refusal {
        match self {
            Self::Expired => Refusal::with_detail(Outcome::ExpiredToken, "The incoming token has expired"),
            Self::Missing => Refusal::with_detail(Outcome::MissingIdentity, self.to_string()),
            _ => Refusal::with_detail(Outcome::Unauthorized, self.to_string()),
        }
    }
}
