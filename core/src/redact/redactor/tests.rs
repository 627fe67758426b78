//! What is masked, in every spelling, and what is left.

use std::{format, vec};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;

use super::*;

fn credential(secret: &str) -> Redactor {
    Redactor::new([(SecretKind::Credential, secret)])
}

#[test]
fn short_and_common_environment_secrets_are_not_sought() {
    let redactor =
        Redactor::new(["result", "123456", "production", "Password"].map(|s| (SecretKind::Environment, s)));

    assert!(redactor.is_empty());
    assert_eq!(redactor.mask_text("production result 123456"), "production result 123456");
}

#[test]
fn an_empty_credential_masks_nothing() {
    assert_eq!(credential("").mask_text("abc"), "abc");
    assert_eq!(credential(" \n").mask_text("a \n b"), "a \n b");
}

#[test]
fn secrets_that_overlap_are_masked_together() {
    let redactor = Redactor::new(["abcdefgh", "fghijklm"].map(|s| (SecretKind::Environment, s)));

    assert_eq!(redactor.mask_text("<abcdefghijklm>"), "<***>");
}

#[test]
fn the_longer_of_two_secrets_is_masked_whole() {
    let redactor = Redactor::new(["token-abc", "token-abc-long"].map(|s| (SecretKind::Credential, s)));

    assert_eq!(redactor.mask_text("token-abc-long token-abc"), "*** ***");
}

#[test]
fn a_key_is_masked_by_its_lines() {
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\r\nb3BlbnNzaC1rZXktdjEA\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
    let redactor = credential(key);

    assert_eq!(redactor.mask_text("> b3BlbnNzaC1rZXktdjEA <"), "> *** <");
    assert_eq!(redactor.mask_text(key.trim_end()), "***");
    assert_eq!(redactor.mask_text("AAAA"), "AAAA");
}

#[test]
fn a_secret_that_repeats_itself_is_masked_once() {
    let redactor = credential(&"a".repeat(2000));

    assert_eq!(redactor.mask_text(&"a".repeat(100_000)), "***");
}

#[test]
fn a_request_full_of_secrets_stays_within_the_limits() {
    let many: Vec<String> = (0..1000).map(|n| format!("value/{n}/ü\nand another line {n}")).collect();

    let redactor = Redactor::new(many.iter().map(|s| (SecretKind::Environment, s.as_str())));

    assert!(redactor.left_out() > 0);
    assert!(redactor.spellings.len() <= MAX_SPELLINGS);
    assert!(many.iter().all(|secret| redactor.mask_text(secret) == "***"));
}

#[test]
fn huge_secrets_cost_a_short_one_none_of_its_spellings() {
    let huge: Vec<String> = (0..10_u32)
        .map(|one| {
            let pieces = (0..8000_u32).map(|n| format!("{:x}.", n.wrapping_mul(2_654_435_761) ^ one));
            pieces.collect::<Vec<_>>().concat()
        })
        .collect();
    let secrets = huge.iter().map(String::as_str).chain(["zebra/secret"]);

    let redactor = Redactor::new(secrets.map(|s| (SecretKind::Credential, s)));

    assert!(redactor.left_out() > 0);
    for spelling in spelled("zebra/secret") {
        assert_eq!(redactor.mask_text(&spelling), "***");
    }
}

#[test]
fn its_debug_form_shows_no_secret() {
    assert!(!format!("{:?}", credential("hunter2hunter2")).contains("hunter2"));
}

fn spelled(secret: &str) -> Vec<String> {
    let json = |text: &str| {
        let quoted = serde_json::to_string(text).unwrap();
        quoted.strip_prefix('"').unwrap().strip_suffix('"').unwrap().to_string()
    };
    let url: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    vec![
        secret.to_string(),
        json(secret),
        json(&json(secret)),
        url.replace('+', "%20"),
        url,
        crate::hex::encode(secret.as_bytes()),
    ]
}

proptest! {
    #[test]
    fn no_spelling_of_a_secret_is_left(
        secret in "[!-)+-~äß\"\\\\/ \n]{8,40}", before in "[a-z ]{0,9}", after in "[a-z ]{0,9}",
    ) {
        prop_assume!(secret.trim().len() >= MIN_SECRET_BYTES);
        let redactor = credential(&secret);

        for spelling in spelled(secret.trim()) {
            let masked = redactor.mask_text(&format!("{before}{spelling}{after}")).into_owned();

            prop_assert!(!masked.contains(&spelling), "{spelling:?} is in {masked:?}");
            prop_assert!(masked.contains(MASK));
        }
    }

    #[test]
    fn base64_is_masked_wherever_the_secret_stands(
        secret in "[A-Za-z0-9_/+-]{12,60}", before in "[ -~]{0,9}", after in "[ -~]{0,9}",
    ) {
        let redactor = credential(&secret);

        let encoded = STANDARD.encode(format!("{before}{secret}{after}"));
        let masked = redactor.mask_text(&encoded);

        prop_assert!(masked.contains(MASK));
        prop_assert!(masked.len() <= encoded.len() - (secret.len() - 4) * 4 / 3 + MASK.len());
    }

    #[test]
    fn text_without_secrets_passes(text in "[a-z\n\"\\\\]{0,200}") {
        prop_assert_eq!(credential("SECRET-SECRET").mask_text(&text), text.as_str());
    }
}
