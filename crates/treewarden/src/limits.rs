//! The usage limits of the accounts that a host's sessions use, for the sessions that ask for them.
//!
//! The decisions are [`treewarden_core::holds`]'. This file tells accounts apart, and reads the clock. It is below the sessions,
//! and must never hold or show a credential: an account is a number here, made with a key that is drawn anew for each host.

use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use treewarden_core::holds::{Holds, Slot};
use treewarden_proto::spec::Environment;

use crate::clock::Clock;

/// The variables that say whose account a CLI uses, whatever its config directory holds.
const CREDENTIALS: [&str; 3] = ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"];

/// The limits that hold for one model, and leave the account's others alone (`rateLimitType`).
const OF_A_MODEL: [&str; 2] = ["seven_day_opus", "seven_day_sonnet"];

/// Whose limits concern a session: its account's, and those of its model there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    whole: u64,
    model: u64,
}

/// A session's places in the order in which it goes on when the limits are lifted.
pub(crate) type Slots = [Option<Slot>; 2];

/// The limits; see the [module](self).
#[derive(Debug)]
pub(crate) struct Limits {
    /// Nothing else is locked under it.
    holds: Mutex<Holds<u64>>,
    clock: Arc<dyn Clock>,
    key: RandomState,
}

impl Limits {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { holds: Mutex::default(), clock, key: RandomState::new() }
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The account that a CLI uses with this environment and config directory, and this model.
    pub(crate) fn account(
        &self,
        environment: &Environment,
        config_dir: &Path,
        model: Option<&str>,
    ) -> Account {
        let given = CREDENTIALS.map(|name| environment.get(name).filter(|value| !value.is_empty()));
        // Without any of them it is the login that the config directory holds.
        let login = given.iter().all(Option::is_none).then_some(config_dir.as_os_str());
        let server: Option<&OsStr> = environment.get("ANTHROPIC_BASE_URL");
        let whole = self.key.hash_one((given, login, server));
        Account { whole, model: self.key.hash_one((whole, model)) }
    }

    fn lock(&self) -> MutexGuard<'_, Holds<u64>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session of the account met a limit of this type, which is lifted after so long; `true` if that was not known.
    pub(crate) fn reached(&self, account: Account, kind: Option<&str>, left: Duration) -> bool {
        let of_a_model = kind.is_some_and(|kind| OF_A_MODEL.contains(&kind));
        let now = self.clock.now();
        self.lock().reached(if of_a_model { account.model } else { account.whole }, now, now + left)
    }

    /// How long whoever may wait has to; `None` is to go on now.
    pub(crate) fn pass(&self, account: Account, slots: &mut Slots) -> Option<Duration> {
        let now = self.clock.now();
        let mut holds = self.lock();
        let [whole, model] = slots;
        let (whole, model) = (holds.pass(&account.whole, now, whole), holds.pass(&account.model, now, model));
        whole.max(model)
    }

    /// How long a limit holds; `None` if none does.
    pub(crate) fn left(&self, account: Account) -> Option<Duration> {
        let now = self.clock.now();
        let holds = self.lock();
        holds.left(&account.whole, now).max(holds.left(&account.model, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let mut environment = Environment::default();
        for (name, value) in variables {
            environment.insert(*name, *value);
        }
        environment
    }

    #[test]
    fn an_account_is_its_credentials_or_else_the_login_of_the_config_directory() {
        let limits = Limits::new(Arc::new(SystemClock));
        let of = |variables: &[(&str, &str)], dir: &str| {
            limits.account(&environment(variables), Path::new(dir), None).whole
        };
        let key = ("ANTHROPIC_API_KEY", "one");
        assert_eq!(
            of(&[key], "/a"),
            of(&[key], "/b"),
            "the key says whose it is, wherever the transcripts are"
        );
        assert_ne!(of(&[key], "/a"), of(&[("ANTHROPIC_API_KEY", "two")], "/a"));
        assert_ne!(of(&[key], "/a"), of(&[("ANTHROPIC_AUTH_TOKEN", "one")], "/a"));
        assert_ne!(of(&[key], "/a"), of(&[key, ("ANTHROPIC_BASE_URL", "http://gateway")], "/a"));
        assert_eq!(of(&[], "/a"), of(&[("ANTHROPIC_API_KEY", "")], "/a"));
        assert_ne!(of(&[], "/a"), of(&[], "/b"));
    }

    #[test]
    fn a_limit_of_one_model_leaves_the_others_of_its_account_alone() {
        let limits = Limits::new(Arc::new(SystemClock));
        let of = |model| limits.account(&Environment::default(), Path::new("/a"), Some(model));
        assert!(limits.reached(of("opus"), Some("seven_day_opus"), Duration::from_secs(600)));
        assert!(limits.left(of("opus")).is_some());
        assert_eq!(limits.left(of("haiku")), None);
        assert!(limits.reached(of("opus"), Some("five_hour"), Duration::from_secs(600)));
        assert!(limits.left(of("haiku")).is_some());
        assert!(limits.pass(of("haiku"), &mut Slots::default()).is_some());
    }

    #[test]
    fn no_credential_is_shown() {
        let limits = Limits::new(Arc::new(SystemClock));
        let account =
            limits.account(&environment(&[("ANTHROPIC_API_KEY", "sk-secret")]), Path::new("/a"), None);
        limits.reached(account, None, Duration::from_secs(600));
        assert!(!format!("{limits:?} {account:?}").contains("secret"));
    }
}
