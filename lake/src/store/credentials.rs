//! Credentials in a file, read again when it changes: whoever renews them writes the file, and nothing is started again.
//!
//! The file is one of AWS's shared credentials files; of several profiles in it the first is taken
//! (<https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>).
//!
//! What always holds: a request is signed with what the file last held; a file that cannot be used is logged, and what
//! it held before is used on.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use object_store::{CredentialProvider, Result, aws::AwsCredential};
use weir_station::watched::{FileFault, Watched};

const EXPECTED: &str =
    "lines `aws_access_key_id = …`, `aws_secret_access_key = …` and, for temporary ones, `aws_session_token = …`";

/// The credentials in a file.
#[derive(Debug)]
pub(super) struct CredentialsFile(Watched<AwsCredential>);

impl CredentialsFile {
    /// Reads the file for the first time.
    pub(super) fn open(file: &Path) -> Result<Self, FileFault> {
        let named: PathBuf = file.to_owned();
        Watched::open(vec![file.to_owned()], move || read(&named)).map(Self)
    }
}

#[async_trait]
impl CredentialProvider for CredentialsFile {
    type Credential = AwsCredential;

    /// Looks at the file for each request: that is one `stat`.
    async fn get_credential(&self) -> Result<std::sync::Arc<AwsCredential>> {
        self.0.look();
        Ok(self.0.current())
    }
}

fn read(file: &Path) -> Result<AwsCredential, FileFault> {
    let bytes = FileFault::read(file, EXPECTED)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| FileFault::new(file, "is no text", EXPECTED))?;
    parse(text).map_err(|missing| FileFault::new(file, format!("has no {missing}"), EXPECTED))
}

/// The first profile, or what stands before all profiles; else the key that is missing.
fn parse(text: &str) -> Result<AwsCredential, &'static str> {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let profile = lines().skip_while(|line| line.starts_with('[')).take_while(|line| !line.starts_with('['));
    let (mut key_id, mut secret_key, mut token) = (None, None, None);
    for (key, value) in profile.filter_map(|line| line.split_once('=')) {
        let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        match key.trim() {
            "aws_access_key_id" => key_id = value,
            "aws_secret_access_key" => secret_key = value,
            "aws_session_token" => token = value,
            _ => {}
        }
    }
    Ok(AwsCredential {
        key_id: key_id.ok_or("aws_access_key_id")?,
        secret_key: secret_key.ok_or("aws_secret_access_key")?,
        token,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_profile_is_taken() {
        let text = "# mine\n[default]\naws_access_key_id = A\naws_secret_access_key=s=1\nregion = x\n\n\
                    [other]\naws_access_key_id = B\naws_session_token = t\n";
        let read = parse(text).unwrap();
        assert_eq!((read.key_id.as_str(), read.secret_key.as_str(), read.token), ("A", "s=1", None));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(parse("[default]\naws_access_key_id = A\n").unwrap_err(), "aws_secret_access_key");
        assert_eq!(parse("aws_access_key_id =\naws_secret_access_key = s").unwrap_err(), "aws_access_key_id");
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again_and_a_broken_one_leaves_what_was() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("credentials");
        let write = |text: &str| {
            // Renamed into its place, as whoever renews credentials does.
            let fresh = directory.path().join("fresh");
            fs::write(&fresh, text).unwrap();
            fs::rename(fresh, &file).unwrap();
        };
        write("aws_access_key_id = A\naws_secret_access_key = s\n");
        let credentials = CredentialsFile::open(&file).unwrap();
        assert_eq!(credentials.get_credential().await.unwrap().key_id, "A");
        write("aws_access_key_id = renewed\naws_secret_access_key = s\naws_session_token = t\n");
        let renewed = credentials.get_credential().await.unwrap();
        assert_eq!((renewed.key_id.as_str(), renewed.token.as_deref()), ("renewed", Some("t")));
        write("torn");
        assert_eq!(credentials.get_credential().await.unwrap().key_id, "renewed");
    }
}
