//! Who can sign requests: a file in the form of AWS's shared credentials file, a section for each identity.
//!
//! ```ini
//! [alice]
//! aws_access_key_id = AKIAIOSFODNN7EXAMPLE
//! aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
//! # Of temporary credentials: the token that each request must bear, and when it ends.
//! aws_session_token = AQoEXAMPLE
//! expiration = 2026-01-01T00:00:00Z
//! # Ours, all optional.
//! account_id = 123456789012
//! user_arn = arn:aws:iam::123456789012:user/alice
//! user_id = AIDAEXAMPLE
//! principal_org_id = o-example
//! policy = {"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"*"}]}
//! ```
//!
//! An identity without `policy` may call everything on this gateway. `account_id` is
//! that of `user_arn`, or else 000000000000; `user_arn` is `arn:aws:iam::ACCOUNT:user/SECTION`; `user_id` is the access
//! key's id. An unknown key is a fault: a `polcy` would allow everything.
//!
//! What always holds: secrets are not kept as they are read; no fault repeats a value.

use std::{collections::HashMap, fmt, io, path::Path, sync::Arc};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use weir_station::{
    config::Secret,
    watched::{FileFault, Watched},
};

use super::{
    ini::{self, Entry, Problem, Section},
    key::SecretKey,
    moment::Moment,
};
use crate::auth::policy::Policy;

const FORM: &str = "sections such as: [alice], aws_access_key_id = AKIA…, aws_secret_access_key = …";

const KEYS: [&str; 9] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "expiration",
    "account_id",
    "user_arn",
    "user_id",
    "principal_org_id",
    "policy",
];

/// The account of whom none is said.
const NO_ACCOUNT: &str = "000000000000";

/// A file of identities, read again when it changes.
#[derive(Debug)]
pub(crate) struct CredentialStore(Watched<Identities>);

impl CredentialStore {
    /// Reads the file. One without sections lets nobody in.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(crate) fn open(file: &Path) -> Result<Self, FileFault> {
        let path = file.to_owned();
        Watched::open(vec![file.to_owned()], move || {
            let bytes = FileFault::read(&path, FORM)?;
            let text = str::from_utf8(&bytes).map_err(|_| FileFault::new(&path, "is not UTF-8", FORM))?;
            Identities::parse(text).map_err(|Problem(problem)| FileFault::new(&path, problem, FORM))
        })
        .map(Self)
    }

    /// The identities as they were last read well.
    pub(crate) fn current(&self) -> Arc<Identities> {
        self.0.current()
    }

    /// Follows the file until `shutdown`: keys come and go without a restart.
    ///
    /// # Errors
    /// When the process cannot listen for SIGHUP.
    pub(crate) async fn follow(&self, shutdown: CancellationToken) -> io::Result<()> {
        self.0.follow(shutdown).await
    }
}

/// All identities.
#[derive(Debug)]
pub(crate) struct Identities {
    by_access_key: HashMap<String, Arc<Identity>>,
    /// Stands in for whoever is unknown, so that no access key takes less time than another.
    nobody: Arc<Identity>,
}

/// Somebody who can sign.
pub(crate) struct Identity {
    section: String,
    access_key: String,
    secret_key: SecretKey,
    token: Option<Secret>,
    expires: Option<Moment>,
    account_id: String,
    user_id: String,
    user_arn: String,
    principal_org_id: Option<String>,
    policy: Option<Policy>,
}

impl Identities {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// When it is not as described above; the problem names the line.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let mut by_access_key: HashMap<String, Arc<Identity>> = HashMap::new();
        for section in ini::parse(text)? {
            let identity = Identity::read(&section)?;
            if let Some(other) = by_access_key.get(&identity.access_key) {
                let what = format!("[{}] has the access key of [{}]", section.name, other.section);
                return Err(Problem::new(section.line, what));
            }
            by_access_key.insert(identity.access_key.clone(), Arc::new(identity));
        }
        let nobody = Section { name: "nobody", line: 0, entries: Vec::new() };
        let nobody = Arc::new(Identity::with(&nobody, String::new(), SecretKey::new("")));
        Ok(Self { by_access_key, nobody })
    }

    /// Whose access key it is.
    pub(crate) fn find(&self, access_key: &str) -> Option<&Arc<Identity>> {
        self.by_access_key.get(access_key)
    }

    /// The identity of a section, to sign with.
    pub(crate) fn named(&self, section: &str) -> Option<&Arc<Identity>> {
        self.by_access_key.values().find(|identity| identity.section == section)
    }

    /// An identity like others, and nobody's.
    pub(crate) fn nobody(&self) -> &Arc<Identity> {
        &self.nobody
    }
}

impl Identity {
    fn read(section: &Section<'_>) -> Result<Self, Problem> {
        if let Some((_, entry)) = section.entries.iter().find(|(key, _)| !KEYS.contains(&key.as_str())) {
            return Err(Problem::new(entry.line, format!("is none of the keys {}", KEYS.join(", "))));
        }
        let required = |key: &str| {
            get(section, key).ok_or_else(|| Problem::new(section.line, format!("[{}] has no {key}", section.name)))
        };
        let access_key =
            checked(required("aws_access_key_id")?, "an access key's id: letters, digits, _ and -", |value| {
                let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
                value.len() <= 128 && value.bytes().all(is_part)
            })?;
        let secret = checked(required("aws_secret_access_key")?, "a secret access key: printable ASCII", is_printable)?;
        let mut identity = Self::with(section, access_key.to_owned(), SecretKey::new(secret));
        let optional = |key, expected, is_right: &dyn Fn(&str) -> bool| {
            get(section, key).map(|entry| checked(entry, expected, is_right)).transpose()
        };
        let token = optional("aws_session_token", "a session token: printable ASCII", &is_printable)?;
        identity.token = token.map(|token| token.to_owned().into());
        let expected = "a time in UTC such as 2026-01-01T00:00:00Z";
        let expires = optional("expiration", expected, &|value| Moment::parse_extended(value).is_some())?;
        identity.expires = expires.and_then(Moment::parse_extended);
        let is_account = |value: &str| value.len() == 12 && value.bytes().all(|digit| digit.is_ascii_digit());
        let account = optional("account_id", "12 digits", &is_account)?;
        let is_arn = |value: &str| value.starts_with("arn:") && value.split(':').count() >= 6 && is_printable(value);
        let arn = optional("user_arn", "an ARN such as arn:aws:iam::123456789012:user/alice", &is_arn)?;
        let of_arn = arn.and_then(|arn| arn.split(':').nth(4)).filter(|account| !account.is_empty());
        identity.account_id = account.or(of_arn).unwrap_or(NO_ACCOUNT).to_owned();
        identity.user_arn = match arn {
            Some(arn) => arn.to_owned(),
            None => format!("arn:aws:iam::{}:user/{}", identity.account_id, section.name),
        };
        if let Some(id) = optional("user_id", "printable ASCII", &is_printable)? {
            id.clone_into(&mut identity.user_id);
        }
        identity.principal_org_id = optional("principal_org_id", "printable ASCII", &is_printable)?.map(str::to_owned);
        identity.policy = get(section, "policy").map(policy).transpose()?;
        Ok(identity)
    }

    /// An identity of which no more is said.
    fn with(section: &Section<'_>, access_key: String, secret_key: SecretKey) -> Self {
        Self {
            section: section.name.to_owned(),
            user_id: access_key.clone(),
            access_key,
            secret_key,
            token: None,
            expires: None,
            account_id: NO_ACCOUNT.to_owned(),
            user_arn: String::new(),
            principal_org_id: None,
            policy: None,
        }
    }

    /// The name of its section.
    pub(crate) fn section(&self) -> &str {
        &self.section
    }

    /// Its access key's id.
    pub(crate) fn access_key(&self) -> &str {
        &self.access_key
    }

    /// Its secret access key.
    pub(crate) fn secret_key(&self) -> &SecretKey {
        &self.secret_key
    }

    /// Its session token, to send.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_ref().map(Secret::expose)
    }

    /// When its session token ends.
    pub(crate) fn expires(&self) -> Option<Moment> {
        self.expires
    }

    /// Whether this is its session token, or it has none and there is none.
    pub(crate) fn has_token(&self, presented: Option<&str>) -> bool {
        match (self.token(), presented) {
            (Some(own), Some(presented)) => verify_slices_are_equal(own.as_bytes(), presented.as_bytes()).is_ok(),
            (None, None) => true,
            _ => false,
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("section", &self.section)
            .field("user_arn", &self.user_arn)
            .finish_non_exhaustive()
    }
}

/// Who has signed a request.
#[derive(Clone, Debug)]
pub(crate) struct Signer(Arc<Identity>);

impl Signer {
    /// The signer that this identity is.
    pub(crate) fn new(identity: Arc<Identity>) -> Self {
        Self(identity)
    }

    /// `$context.identity.accessKey`.
    pub(crate) fn access_key(&self) -> &str {
        &self.0.access_key
    }

    /// `$context.identity.accountId`.
    pub(crate) fn account_id(&self) -> &str {
        &self.0.account_id
    }

    /// `$context.identity.caller` and `$context.identity.user`; `callerId` and `userId` in events.
    pub(crate) fn user_id(&self) -> &str {
        &self.0.user_id
    }

    /// `$context.identity.userArn`.
    pub(crate) fn user_arn(&self) -> &str {
        &self.0.user_arn
    }

    /// `$context.identity.principalOrgId`.
    pub(crate) fn principal_org_id(&self) -> Option<&str> {
        self.0.principal_org_id.as_deref()
    }

    /// Its identity-based policy; none when it may call everything.
    pub(crate) fn policy(&self) -> Option<&Policy> {
        self.0.policy.as_ref()
    }
}

fn get<'a>(section: &Section<'a>, key: &str) -> Option<Entry<'a>> {
    section.entries.iter().find(|(own, _)| own == key).map(|(_, entry)| *entry)
}

fn checked<'a>(entry: Entry<'a>, expected: &str, is_right: impl Fn(&str) -> bool) -> Result<&'a str, Problem> {
    if !entry.value.is_empty() && is_right(entry.value) {
        return Ok(entry.value);
    }
    Err(Problem::new(entry.line, format!("the value is not {expected}")))
}

fn is_printable(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_graphic())
}

fn policy(entry: Entry<'_>) -> Result<Policy, Problem> {
    let policy: Value = serde_json::from_str(entry.value)
        .map_err(|error| Problem::new(entry.line, format!("the policy is no JSON in one line: {error}")))?;
    Policy::parse(&policy).map_err(|problem| Problem::new(entry.line, format!("the policy {problem}")))
}
