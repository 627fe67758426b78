//! What is presumed, and what is refused.

use super::*;

const GOOGLE: &[(&str, &str)] = &[
    ("LEGWORK_PLATFORM", "gcp"),
    ("PROJECT_ID", "p"),
    ("REGION", "europe-west1"),
    ("KMS_KEY_RING", "r"),
    ("KMS_KEY_NAME", "k"),
    ("CLOUDRUN_JOB_NAME", "worker"),
    ("GCS_LOGS_BUCKET", "logs"),
    ("CLOUDRUN_CALLBACK_SECRET", "0123456789abcdef"),
];

/// Reads Google's settings with these in place of, or besides, the usual ones; an empty one is not set.
fn google(more: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let pairs = GOOGLE.iter().chain(more).copied();
    Config::parse(&Values::from_pairs(pairs))
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn of_google(config: &Config) -> &GoogleConfig {
    match &config.platform {
        Platform::Google(google) => google,
        Platform::Local => panic!("local"),
    }
}

#[test]
fn google_cloud_presumes_what_fits_cloud_run() {
    let config = google(&[]).unwrap();

    assert_eq!((config.host.as_str(), config.port), ("0.0.0.0", 8080));
    assert!(matches!(config.api_token, TokenSetting::Off));
    assert!(!config.callback_allow_private && !config.request_limits.callback_allow_private);
    assert_eq!(config.log.flush_after, Duration::from_secs(1));
    assert_eq!(config.payload_retention, Duration::ZERO);
    assert_eq!(config.reconciler, ReconcilerSetting::Request);
    assert_eq!(config.missing(), None);
}

#[test]
fn names_are_put_together_and_the_key_is_where_the_job_is() {
    let config = google(&[]).unwrap();
    let elsewhere = google(&[("KMS_LOCATION", "europe")]).unwrap();

    assert_eq!(of_google(&config).key, "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k");
    assert_eq!(of_google(&config).job, "projects/p/locations/europe-west1/jobs/worker");
    assert_eq!(of_google(&elsewhere).key, "projects/p/locations/europe/keyRings/r/cryptoKeys/k");
}

#[test]
fn all_that_google_needs_is_asked_for_at_once() {
    let problems = Config::parse(&Values::from_pairs([("LEGWORK_PLATFORM", "gcp")])).unwrap_err();

    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for name in ["PROJECT_ID", "REGION", "KMS_KEY_RING", "KMS_KEY_NAME", "CLOUDRUN_JOB_NAME"] {
        assert!(text.iter().any(|line| line.starts_with(&format!("{name} is not set"))), "{name}: {text:?}");
    }
    assert_eq!(text.len(), 5, "{text:?}");
}

#[test]
fn without_bucket_or_secret_no_task_is_accepted() {
    let no_bucket = google(&[("GCS_LOGS_BUCKET", "")]).unwrap();
    let no_secret = google(&[("CLOUDRUN_CALLBACK_SECRET", "")]).unwrap();

    assert_eq!(no_bucket.missing(), Some(MissingSetting::Bucket));
    assert_eq!(no_secret.missing(), Some(MissingSetting::CallbackSecret));
}

#[test]
fn a_name_that_would_lead_elsewhere_is_refused() {
    for bad in ["a/b", "../x", "a b", "-x", "ü"] {
        let problems = google(&[("CLOUDRUN_JOB_NAME", bad)]).unwrap_err();

        assert!(problems[0].contains("CLOUDRUN_JOB_NAME must be a name"), "{problems:?}");
    }
}

#[test]
fn tokens_are_not_sent_in_the_clear() {
    let endpoint = |text, anonymous| {
        google(&[("GCS_ENDPOINT", text), ("LEGWORK_GCP_ANONYMOUS", anonymous)])
            .map(|config| of_google(&config).endpoints.storage.clone().unwrap())
    };

    assert_eq!(endpoint("https://x.example/", "false").unwrap(), "https://x.example");
    assert_eq!(endpoint("http://127.0.0.1:9", "false").unwrap(), "http://127.0.0.1:9");
    assert_eq!(endpoint("http://emulator:9", "true").unwrap(), "http://emulator:9");
    assert!(endpoint("http://emulator:9", "false").unwrap_err()[0].contains("GCS_ENDPOINT"));
    assert!(endpoint("https://x.example/path", "true").is_err());
    assert!(endpoint("ftp://x.example", "true").is_err());
}

#[test]
fn a_workspace_cannot_be_kept_where_its_disk_goes_away() {
    let problems = google(&[("KEEP_WORKSPACE", "true")]).unwrap_err();

    assert!(problems[0].contains("KEEP_WORKSPACE"), "{problems:?}");
}

#[test]
fn an_open_service_on_this_machine_is_refused_and_one_behind_cloud_run_is_not() {
    let open = [("LEGWORK_API_TOKEN", "off"), ("HOST", "0.0.0.0"), ("HOME", "/home/x")];

    let local = Config::parse(&Values::from_pairs(open)).unwrap_err();

    assert!(local[0].0.contains("would open the service"), "{local:?}");
    assert!(google(&open).is_ok());
}

#[test]
fn another_platform_is_refused() {
    let problems =
        Config::parse(&Values::from_pairs([("LEGWORK_PLATFORM", "azure"), ("HOME", "/h")])).unwrap_err();

    assert!(problems[0].0.contains("must be local or gcp"), "{problems:?}");
}
