//! Closed sets of names that a record uses: outcome, throttle scope, cache status.
//!
//! Each has one spelling, used on the wire, in the tables, in SQL and on the screen.

use std::{fmt, str::FromStr};

/// A name that is not in the set it was read as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {name:?}")]
pub struct UnknownName {
    /// Which set: `outcome`, `throttle scope`, `cache status`.
    pub what: &'static str,
    /// The name that was given.
    pub name: String,
}

macro_rules! names {
    ($(#[$meta:meta])* $type:ident, $what:literal { $($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type { $($(#[$doc])* $variant),+ }

        impl $type {
            /// Every name of the set, in its order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The one spelling of this name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(name: &str) -> Result<Self, UnknownName> {
                match name {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(UnknownName { what: $what, name: name.to_owned() }),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names! {
    /// Why the client got the answer it got.
    ///
    /// `ok` says that the integration's answer was passed on, whatever its status; every other name says that the
    /// gateway itself answered, and why. The names are API Gateway's response types (the "Gateway response types" page
    /// of its developer guide) in lower case.
    Outcome, "outcome" {
        /// The integration's answer was passed on.
        #[default]
        Ok = "ok",
        /// A rate or burst limit refused (429).
        Throttled = "throttled",
        /// A usage plan's quota is used up (429).
        QuotaExceeded = "quota_exceeded",
        /// No token, or one that does not hold (401).
        Unauthorized = "unauthorized",
        /// Known, but not allowed (403).
        AccessDenied = "access_denied",
        /// No API key, or one that does not belong here (403).
        InvalidApiKey = "invalid_api_key",
        /// A token past its time (401 or 403).
        ExpiredToken = "expired_token",
        /// A signature that does not match (403).
        InvalidSignature = "invalid_signature",
        /// The body is not what the route asks for (400).
        BadRequestBody = "bad_request_body",
        /// A parameter is missing or malformed (400).
        BadRequestParameters = "bad_request_parameters",
        /// The request is larger than allowed (413).
        RequestTooLarge = "request_too_large",
        /// No API, stage or route matched (404, or 403 where a REST API says so).
        NotFound = "not_found",
        /// The integration did not answer in time (504).
        IntegrationTimeout = "integration_timeout",
        /// The integration could not be reached or broke off (504).
        IntegrationFailure = "integration_failure",
        /// The authorizer itself failed (500).
        AuthorizerFailure = "authorizer_failure",
        /// The gateway's configuration does not allow an answer (500).
        ConfigurationError = "configuration_error",
        /// The client went away before the response had ended.
        ClientClosed = "client_closed",
        /// Neither signature nor token, where one is asked for (403).
        MissingAuthenticationToken = "missing_authentication_token",
        /// A source of the caller's identity is missing: its authorizer was not asked (401).
        MissingIdentity = "missing_identity",
        /// The host is mapped to no API (403).
        UnmappedHost = "unmapped_host",
        /// What came is no request (400).
        BadRequest = "bad_request",
        /// The target is longer than allowed (414).
        UriTooLong = "uri_too_long",
        /// The head is larger than allowed (431).
        HeadersTooLarge = "headers_too_large",
        /// The client took too long to send its request (408).
        RequestTimeout = "request_timeout",
        /// The integration broke its connection off after it had been asked (502).
        IntegrationReset = "integration_reset",
        /// The authorizer cannot be asked, or what it says cannot be understood (500).
        AuthorizerConfigurationError = "authorizer_configuration_error",
        /// There was no TLS handshake: no request came of the connection.
        TlsFailure = "tls_failure",
    }
}

impl Outcome {
    /// Whether this is a failed authentication or authorization.
    #[must_use]
    pub const fn is_auth_failure(self) -> bool {
        matches!(
            self,
            Self::Unauthorized
                | Self::AccessDenied
                | Self::InvalidApiKey
                | Self::ExpiredToken
                | Self::InvalidSignature
                | Self::MissingAuthenticationToken
                | Self::MissingIdentity
        )
    }

    /// Whether a limit refused the request.
    #[must_use]
    pub const fn is_throttle(self) -> bool {
        matches!(self, Self::Throttled | Self::QuotaExceeded)
    }
}

names! {
    /// The limit that refused a request, from the widest to the narrowest.
    ThrottleScope, "throttle scope" {
        /// The whole gateway.
        #[default]
        Account = "account",
        /// The stage.
        Stage = "stage",
        /// The route within the stage.
        Route = "route",
        /// The client's usage plan.
        Plan = "plan",
        /// The client's usage plan, for this route.
        PlanRoute = "plan_route",
    }
}

names! {
    /// Whether the response cache answered.
    CacheStatus, "cache status" {
        /// No cache stands before this route.
        #[default]
        None = "none",
        /// The cache answered.
        Hit = "hit",
        /// The integration was asked.
        Miss = "miss",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_itself() {
        for outcome in Outcome::ALL {
            assert_eq!(outcome.as_str().parse(), Ok(*outcome));
        }
        for scope in ThrottleScope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(*scope));
        }
        for cache in CacheStatus::ALL {
            assert_eq!(cache.as_str().parse(), Ok(*cache));
        }
    }

    #[test]
    fn an_unknown_name_says_what_it_was_read_as() {
        let error = "nope".parse::<Outcome>().unwrap_err();
        assert_eq!(error.to_string(), "unknown outcome \"nope\"");
    }
}
