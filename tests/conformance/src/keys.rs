//! What every `Keys` has to keep.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken promise is a panic"
)]

use std::sync::Arc;

use legwork_core::{envelope::DataKey, secret::Secret};
use legwork_ports::keys::{Keys, KeysError};

/// A key service to be tried.
#[derive(Debug, Clone)]
pub struct KeysBench {
    /// The service.
    pub one: Arc<dyn Keys>,
    /// The same service as another process would open it.
    pub other: Arc<dyn Keys>,
    /// A service with other keys.
    pub stranger: Arc<dyn Keys>,
}

/// Makes one `#[tokio::test]` of each function of [`keys`](crate::keys).
///
/// The argument is a function that returns a [`KeysBench`](crate::keys::KeysBench) and a value
/// that keeps it alive.
#[macro_export]
macro_rules! keys_suite {
    ($make:path) => {
        $crate::keys_suite!($make:
            a_wrapped_key_opens_with_its_bound_data,
            a_wrapped_key_opens_in_another_process,
            a_wrapped_key_does_not_open_with_other_bound_data,
            a_wrapped_key_does_not_open_at_another_service,
            a_flipped_bit_is_noticed,
            a_wrapped_key_of_another_length_does_not_open,
            a_key_wrapped_twice_looks_different,
            a_wrapped_key_does_not_show_the_key,
        );
    };
    ($make:path: $($name:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            let (bench, _alive) = $make();
            $crate::keys::$name(&bench).await;
        })*
    };
}

/// A key that is easily told from others.
fn key() -> DataKey {
    Secret::new(std::array::from_fn(|index| u8::try_from(index).unwrap_or_default()))
}

impl KeysBench {
    async fn wrap(&self, bound: &[u8]) -> Vec<u8> {
        self.one.wrap(&key(), bound).await.expect("the key is wrapped")
    }
}

#[track_caller]
fn assert_rejected(opened: Result<DataKey, KeysError>) {
    match opened {
        Err(KeysError::Rejected) => {}
        Err(error) => panic!("not rejected: {error}"),
        Ok(_) => panic!("it opened"),
    }
}

/// A wrapped key opens with the same bound bytes, whatever they are.
pub async fn a_wrapped_key_opens_with_its_bound_data(bench: &KeysBench) {
    for bound in [b"task-1".as_slice(), b"", b"\0\xff", &[b'x'; 128]] {
        let wrapped = bench.wrap(bound).await;

        let opened = bench.one.unwrap(&wrapped, bound).await.expect("it opens");

        assert_eq!(opened, key());
    }
}

/// A wrapped key opens wherever the service is asked.
pub async fn a_wrapped_key_opens_in_another_process(bench: &KeysBench) {
    let wrapped = bench.wrap(b"task-1").await;

    assert_eq!(bench.other.unwrap(&wrapped, b"task-1").await.expect("it opens"), key());
}

/// A wrapped key does not open with other bound bytes.
pub async fn a_wrapped_key_does_not_open_with_other_bound_data(bench: &KeysBench) {
    let wrapped = bench.wrap(b"task-1").await;

    for bound in [b"task-2".as_slice(), b"", b"task-1 ", b"task-"] {
        assert_rejected(bench.one.unwrap(&wrapped, bound).await);
    }
}

/// A wrapped key of another service does not open.
pub async fn a_wrapped_key_does_not_open_at_another_service(bench: &KeysBench) {
    let wrapped = bench.wrap(b"task-1").await;

    assert_rejected(bench.stranger.unwrap(&wrapped, b"task-1").await);
}

/// A single flipped bit, wherever it is, keeps it from opening.
pub async fn a_flipped_bit_is_noticed(bench: &KeysBench) {
    let wrapped = bench.wrap(b"task-1").await;

    for index in 0..wrapped.len() {
        let bit = 1_u8 << (index % 8);
        let flip = |(at, byte): (usize, &u8)| if at == index { byte ^ bit } else { *byte };
        let changed: Vec<u8> = wrapped.iter().enumerate().map(flip).collect();
        assert_rejected(bench.one.unwrap(&changed, b"task-1").await);
    }
}

/// What is shorter or longer than it was does not open.
pub async fn a_wrapped_key_of_another_length_does_not_open(bench: &KeysBench) {
    let wrapped = bench.wrap(b"task-1").await;

    for length in (0..wrapped.len()).chain([wrapped.len() + 1]) {
        let changed: Vec<u8> = wrapped.iter().copied().chain([0]).take(length).collect();
        assert_rejected(bench.one.unwrap(&changed, b"task-1").await);
    }
}

/// Two calls with the same arguments return different bytes.
pub async fn a_key_wrapped_twice_looks_different(bench: &KeysBench) {
    let (one, other) = (bench.wrap(b"task-1").await, bench.wrap(b"task-1").await);

    assert_ne!(one, other);
}

/// The wrapped key does not hold the key itself.
pub async fn a_wrapped_key_does_not_show_the_key(bench: &KeysBench) {
    let wrapped = bench.wrap(b"task-1").await;

    let shown = wrapped.windows(8).any(|part| key().expose().windows(8).any(|of_key| of_key == part));

    assert!(!shown);
}
