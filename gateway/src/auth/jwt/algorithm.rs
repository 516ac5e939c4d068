//! The signature algorithms that are taken (RFC 7518, section 3.1): those with a public key. `none` and the HMAC ones,
//! by which anyone who has the public key could sign, have no name here.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, EcdsaVerificationAlgorithm,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
};

/// A signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
}

/// An elliptic curve, and the one algorithm that is used with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Curve {
    /// Its name in a key (`crv`).
    name: &'static str,
    /// Bytes of a coordinate.
    pub coordinate_bytes: usize,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// How it verifies.
    pub verification: &'static EcdsaVerificationAlgorithm,
}

const CURVES: [Curve; 3] = [
    Curve { name: "P-256", coordinate_bytes: 32, algorithm: Algorithm::Es256, verification: &ECDSA_P256_SHA256_FIXED },
    Curve { name: "P-384", coordinate_bytes: 48, algorithm: Algorithm::Es384, verification: &ECDSA_P384_SHA384_FIXED },
    Curve { name: "P-521", coordinate_bytes: 66, algorithm: Algorithm::Es512, verification: &ECDSA_P521_SHA512_FIXED },
];

/// The algorithms of RSA keys, and how each verifies.
pub(super) const RSA: [(Algorithm, &RsaParameters); 6] = [
    (Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::Rs384, &RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::Rs512, &RSA_PKCS1_2048_8192_SHA512),
    (Algorithm::Ps256, &RSA_PSS_2048_8192_SHA256),
    (Algorithm::Ps384, &RSA_PSS_2048_8192_SHA384),
    (Algorithm::Ps512, &RSA_PSS_2048_8192_SHA512),
];

impl Algorithm {
    /// The algorithm of this name (`alg`); none when it is not taken.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            _ => return None,
        })
    }
}

impl Curve {
    /// The curve of this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        CURVES.into_iter().find(|curve| curve.name == name)
    }
}
