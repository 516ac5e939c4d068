//! The file of credentials.

use std::fs;

use super::*;
use crate::sigv4::CredentialStore;

const KEYS: &str = "aws_access_key_id = AKID\naws_secret_access_key = hidden-one\n";

#[test]
fn an_identity_is_all_that_its_section_says() {
    let text = format!(
        "# people\n[alice]\n{KEYS}account_id=123456789012\nuser_arn = arn:aws:iam::123456789012:user/a\nUser_Id = AIDA\n\
         principal_org_id = o-1\npolicy = {{\"Statement\": []}}\n\n; machines\r\n[bob]\naws_access_key_id = AKIB\n\
         aws_secret_access_key = a=b#c;d\n"
    );
    let identities = Identities::parse(&text).unwrap();
    let alice = Signer::new(identities.find("AKID").cloned().unwrap());
    assert_eq!((alice.access_key(), alice.account_id(), alice.user_id()), ("AKID", "123456789012", "AIDA"));
    assert_eq!((alice.user_arn(), alice.principal_org_id()), ("arn:aws:iam::123456789012:user/a", Some("o-1")));
    assert!(alice.policy().is_some());
    let bob = Signer::new(identities.named("bob").cloned().unwrap());
    assert_eq!((bob.access_key(), bob.account_id(), bob.user_id()), ("AKIB", "000000000000", "AKIB"));
    assert_eq!(bob.user_arn(), "arn:aws:iam::000000000000:user/bob");
    assert!(bob.policy().is_none() && bob.principal_org_id().is_none());
    assert!(identities.find("").is_none() && identities.named("nobody").is_none());
}

#[test]
fn the_account_is_that_of_the_arn() {
    let text = format!("[a]\n{KEYS}user_arn = arn:aws:sts::210987654321:assumed-role/r/s\n");
    let identities = Identities::parse(&text).unwrap();
    assert_eq!(Signer::new(identities.named("a").cloned().unwrap()).account_id(), "210987654321");
}

#[test]
fn a_fault_names_the_line_and_what_would_be_right_and_repeats_no_value() {
    for (text, expected) in [
        (format!("{KEYS}[a]"), "line 1: stands before the first [section]"),
        ("[a".to_owned(), "line 1: is no section; a section is [name]"),
        ("[]".to_owned(), "line 1: is no section; a section is [name]"),
        ("[a]\nhidden-one".to_owned(), "line 2: has no equals sign: key = value"),
        ("[a]\n  hidden-one = 1".to_owned(), "line 2: is indented; settings stand at the beginning of a line"),
        (format!("[a]\n{KEYS}[a]\n"), "line 4: section [a] stands in line 1 already"),
        (format!("[a]\n{KEYS}aws_access_key_id = b"), "line 4: sets what line 2 has set already"),
        (format!("[a]\n{KEYS}[b]\n{KEYS}"), "line 4: [b] has the access key of [a]"),
        (
            format!("[a]\n{KEYS}polcy = hidden-one"),
            "line 4: is none of the keys aws_access_key_id, aws_secret_access_key",
        ),
        ("[a]\naws_access_key_id = A".to_owned(), "line 1: [a] has no aws_secret_access_key"),
        ("[a]\naws_access_key_id = hidden/one".to_owned(), "line 2: the value is not an access key's id"),
        (
            "[a]\naws_access_key_id = A\naws_secret_access_key =".to_owned(),
            "line 3: the value is not a secret access key",
        ),
        (format!("[a]\n{KEYS}account_id = 12"), "line 4: the value is not 12 digits"),
        (format!("[a]\n{KEYS}user_arn = alice"), "line 4: the value is not an ARN such as"),
        (format!("[a]\n{KEYS}expiration = hidden-one"), "line 4: the value is not a time in UTC such as"),
        (format!("[a]\n{KEYS}policy = hidden-one"), "line 4: the policy is no JSON in one line: "),
        (format!("[a]\n{KEYS}policy = []"), "line 4: the policy has no Statement"),
    ] {
        let problem = Identities::parse(&text).unwrap_err().0;
        assert!(problem.starts_with(expected), "{text}: {problem}");
        assert!(!problem.contains("hidden"), "{problem}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let text = format!("[a]\n{KEYS}aws_session_token = hidden-two\n");
    let identities = Identities::parse(&text).unwrap();
    let shown = format!("{identities:?} {:?}", identities.named("a").unwrap().secret_key());
    assert!(shown.contains("AKID") && !shown.contains("hidden"), "{shown}");
}

#[test]
fn a_changed_file_is_read_again_and_a_wrong_one_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("credentials");
    let fault = CredentialStore::open(&file).unwrap_err().to_string();
    assert!(fault.contains("cannot be read") && fault.contains("expected sections such as: [alice]"), "{fault}");
    fs::write(&file, "[a]\n").unwrap();
    let fault = CredentialStore::open(&file).unwrap_err().to_string();
    assert!(fault.contains("credentials: line 1: [a] has no aws_access_key_id; expected"), "{fault}");
    fs::write(&file, format!("[a]\n{KEYS}")).unwrap();
    let store = CredentialStore::open(&file).unwrap();
    assert!(store.current().find("AKID").is_some());
}
