//! What the plugin was shown, it was shown once.

use std::collections::HashSet;

use super::Checked;
use crate::kill::keys::Key;
use crate::kill::truth::Truth;

/// Every change of a hot key has one effect, and nothing else has.
pub(super) fn check_effects(truth: &Truth, checked: &mut Checked) {
    let mut due: HashSet<(usize, u64)> = HashSet::new();
    for commit in &truth.commits {
        for (key, version) in &commit.effects {
            checked.effects += 1;
            if !due.remove(&(key.number(), *version)) {
                checked.violation(|| {
                    format!(
                        "version {} is the effect of {key:?} at version {version}, which is not due",
                        commit.version
                    )
                });
            }
        }
        if commit.version >= truth.followed_from {
            let changed = commit.puts | commit.deletes;
            let hot = Key::all().filter(|key| key.is_hot() && changed & key.bit() != 0);
            due.extend(hot.map(|key| (key.number(), commit.version)));
        }
    }
    if let Some((key, version)) = due.iter().min_by_key(|(_, version)| *version) {
        checked.violation(|| {
            format!("{} effects are missing, the first of key {key} at version {version}", due.len())
        });
    }
}
